from dataclasses import replace

import pytest

from cmr_hub.errors import InputError, TrainingError
from cmr_hub.results import read_results
from cmr_hub.results.record import compare, write_results
from small_results import small_results, small_row


def test_written_and_read_again(tmp_path):
    results = small_results()
    write_results(results, tmp_path / "wiki.json")
    assert read_results(tmp_path / "wiki.json") == results


def test_the_same_figures_compare():
    assert compare(small_results(), small_results()).endswith(
        f"{len(small_results().table.rows)} rows are those of the repository."
    )


def test_a_part_of_the_methods_compares_too():
    assert "1 rows" in compare(
        small_results(rows=[small_row("cca", 0.3)]),
        small_results(rows=[small_row("cca", 0.3), small_row("dscmr", 0.4)]),
    )


def test_another_figure_is_named_with_the_versions():
    stored = small_results(rows=[small_row("cca", 0.3, versions={"torch": ["2.14.0"]})])
    with pytest.raises(TrainingError) as error:
        compare(small_results(rows=[small_row("cca", 0.31)]), stored)
    assert "3 figures are not those of the repository" in str(error.value)
    assert "- CCA, dscmr, map: .310 instead of .300 (with {'torch': ['2.15.0']} instead of" in str(error.value)


def test_a_difference_beyond_what_is_printed_counts():
    with pytest.raises(TrainingError, match=r"map: \.300 instead of \.300"):
        compare(small_results(rows=[small_row("cca", 0.30001)]), small_results(rows=[small_row("cca", 0.3)]))


def test_nothing_to_compare_with():
    with pytest.raises(InputError, match="has none, where wiki was measured on"):
        compare(small_results(), None)
    with pytest.raises(InputError, match="has some of"):
        compare(small_results(), replace(small_results(), pairs={"train": 1, "test": 1}))
    with pytest.raises(InputError, match="no results of some of these methods"):
        compare(small_results(rows=[small_row("dscmr", 0.3)]), small_results(rows=[small_row("cca", 0.3)]))


def test_rows_that_are_measured_again_take_the_place_of_the_earlier_ones():
    earlier = small_results(rows=[small_row("cca", 0.3), small_row("dscmr", 0.4)], seconds=60.0, command="all")
    again = small_results(rows=[small_row("cca", 0.5)], seconds=1.0, command="cca alone")
    merged = again.merged(earlier)
    assert [(row.method, row.metrics["dscmr"]["map"].mean) for row in merged.table.rows] == [
        ("cca", 0.5),
        ("dscmr", 0.4),
    ]
    assert (merged.seconds, merged.command) == (60.0, "all")
    assert again.merged(None) == again
    assert again.merged(replace(earlier, pairs={"train": 1, "test": 1})) == again
