import pytest
from msgspec.structs import replace

from cmr_hub.errors import InputError, TrainingError
from cmr_hub.evaluation import MeanStd
from cmr_hub.results.check import compare
from small_results import CLEAN, PAPER, small_results, small_row


def test_the_same_figures_compare():
    results = small_results()
    figures = sum(len(spreads) for row in results.table.rows for spreads in row.metrics.values())
    assert compare(results, results).startswith(
        f"All {figures} figures of 6 rows are within 0.001 of the repository's."
    )


def test_a_part_of_the_methods_compares_too():
    assert "3 figures of 1 rows" in compare(
        small_results(rows=[small_row("cca", 0.3)]),
        small_results(rows=[small_row("cca", 0.3), small_row("dscmr", 0.4)]),
    )


def test_what_processors_round_otherwise_is_said_and_no_error():
    """KLSH on Wikipedia, as measured on two machines."""
    stored = small_results(rows=[small_row("cca", 0.3), small_row("klsh", 0.2505667, bits=16)])
    told = compare(small_results(rows=[small_row("cca", 0.3), small_row("klsh", 0.2506333, bits=16)]), stored)
    assert "The largest difference is 6.7e-05: KLSH, 16 bits, precomputed, dscmr, " in told
    assert "instead of" in told


def test_a_larger_difference_is_named_with_its_row_and_the_versions():
    stored = small_results(rows=[small_row("cca", 0.3, versions={"torch": ["2.14.0"]}), small_row("gma", 0.2)])
    with pytest.raises(TrainingError) as error:
        compare(small_results(rows=[small_row("cca", 0.31), small_row("gma", 0.2)]), stored)
    said = str(error.value)
    assert "3 of 6 figures differ by more than 0.001 from the repository's:" in said
    assert (
        "- CCA, precomputed, dscmr, map: 0.310000 instead of 0.300000 (with {'torch': ['2.15.0']} instead of" in said
    )
    assert "GMA" not in said


def test_the_tolerance_is_an_argument():
    new, old = (small_results(rows=[small_row("cca", value)]) for value in (0.3005, 0.3))
    with pytest.raises(TrainingError, match=r"by more than 0\.0001"):
        compare(new, old, tolerance=1e-4)
    assert "within 0.01" in compare(new, old, tolerance=1e-2)


@pytest.mark.parametrize(("deviation", "stored"), [(0.03, 0.01), (None, 0.01), (0.01, None)])
def test_deviations_are_compared_too(deviation, stored):
    with pytest.raises(TrainingError, match="CCA, precomputed, dscmr, map"):
        compare(
            small_results(rows=[small_row("cca", 0.3, deviation)]), small_results(rows=[small_row("cca", 0.3, stored)])
        )


@pytest.mark.parametrize(("moved", "is_other"), [(0.5, False), (1.5, True)])
def test_a_rank_may_move_by_one(moved, is_other):
    old = small_row("cca", 0.3)
    ranks = [MeanStd(rank, None) for rank in (20.0, 20.0 + moved)]
    stored, new = (replace(old, metrics={CLEAN: {**old.metrics[CLEAN], "image_to_text/mean_rank": r}}) for r in ranks)
    if is_other:
        with pytest.raises(TrainingError, match=r"mean_rank: 21\.500000 instead of 20\.000000"):
            compare(small_results(rows=[new]), small_results(rows=[stored]))
    else:
        assert "largest difference is 0:" in compare(small_results(rows=[new]), small_results(rows=[stored]))


def test_a_figure_that_the_repository_lacks_is_named():
    new, stored = small_row("cca", 0.3, protocols=(CLEAN, PAPER)), small_row("cca", 0.3)
    with pytest.raises(TrainingError, match=rf"CCA, precomputed, {PAPER}, map: 0\.300000 instead of none"):
        compare(small_results(rows=[new]), small_results(rows=[stored]))


def test_a_row_is_compared_with_that_of_its_encoders():
    stored = small_results(rows=[small_row("cca", 0.3, text="glove"), small_row("cca", 0.4, text="bow")])
    assert "largest difference is 0:" in compare(small_results(rows=[small_row("cca", 0.4, text="bow")]), stored)
    with pytest.raises(TrainingError, match=r"CCA, precomputed and glove, dscmr, map: 0\.400000 instead of 0\.300000"):
        compare(small_results(rows=[small_row("cca", 0.4, text="glove")]), stored)
    with pytest.raises(
        InputError, match=r"no results of these methods with these encoders.*: CCA, precomputed and tfidf"
    ):
        compare(small_results(rows=[small_row("cca", 0.4, text="tfidf")]), stored)


def test_nothing_to_compare_with():
    with pytest.raises(InputError, match="has none, where wiki was measured on"):
        compare(small_results(), None)
    with pytest.raises(InputError, match="has some of"):
        compare(small_results(), replace(small_results(), pairs={"train": 1, "test": 1}))
    with pytest.raises(InputError, match=r"no results of these methods with these encoders.*: DSCMR, precomputed"):
        compare(small_results(rows=[small_row("dscmr", 0.3)]), small_results(rows=[small_row("cca", 0.3)]))
