import json

import pytest
from msgspec.structs import replace

from cmr_hub.errors import CheckpointError
from cmr_hub.results import NotMeasured, list_results, read_results
from cmr_hub.results.schema import SCHEMA_VERSION
from cmr_hub.results.store import merged, write_results
from small_results import small_results, small_row


def test_written_and_read_again(tmp_path):
    results = small_results()
    write_results(results, tmp_path / "wiki.json")
    assert read_results(tmp_path / "wiki.json") == results


def test_rows_that_are_measured_again_take_the_place_of_the_earlier_ones():
    earlier = small_results(rows=[small_row("cca", 0.3), small_row("dscmr", 0.4)], seconds=60.0, command="all")
    again = small_results(rows=[small_row("cca", 0.5)], seconds=1.0, command="cca alone")
    together = merged(again, earlier)
    assert [(row.method, row.metrics["dscmr"]["map"].mean) for row in together.table.rows] == [
        ("cca", 0.5),
        ("dscmr", 0.4),
    ]
    assert (together.seconds, together.command) == (60.0, "all")
    assert merged(again, None) == again
    assert merged(again, replace(earlier, pairs={"train": 1, "test": 1})) == again


def test_rows_of_other_encoders_stand_next_to_each_other():
    earlier = small_results(rows=[small_row("cca", 0.3, text="glove"), small_row("dscmr", 0.2, text="glove")])
    again = small_results(rows=[small_row("cca", 0.1, text="bow"), small_row("dscmr", 0.4, text="glove")])
    rows = merged(again, earlier).table.rows
    assert [(row.method, str(row.encoders["text"]), row.metrics["dscmr"]["map"].mean) for row in rows] == [
        *(("dscmr", "glove", 0.4), ("cca", "glove", 0.3), ("cca", "bow", 0.1))
    ]


def test_a_command_that_makes_all_rows_is_that_of_the_whole():
    old = [small_row("cca", 0.3, text="glove"), small_row("dscmr", 0.2, text="glove")]
    earlier = small_results(rows=old, seconds=60.0, command="first")
    again = small_results(rows=[small_row("cca", 0.1, text="bow")], seconds=5.0, command="both")
    planned = {row.key for row in (*old, *again.table.rows)}
    for keys, expected in ((planned, ("both", 65.0)), (planned - {old[0].key}, ("first", 60.0))):
        together = merged(again, earlier, keys)
        assert (together.command, together.seconds) == expected
        assert len(together.table.rows) == 3
    once = merged(again, earlier, planned)
    assert merged(again, once, planned).seconds == once.seconds


def test_what_had_no_row_is_settled_by_a_row_of_its_encoders_alone():
    own, glove, other = (
        NotMeasured("cca", "CCA", "failed"),
        NotMeasured("cca", "CCA, glove", "failed", {"text": "glove"}),
        NotMeasured("cca", "CCA, bow", "failed", {"text": "bow"}),
    )
    earlier = small_results(rows=[small_row("dscmr", 0.2)], not_measured=[own, glove, other])
    again = replace(other, reason="failed again")
    new = small_results(rows=[small_row("cca", 0.3, text="glove")], not_measured=[again])
    assert merged(new, earlier).not_measured == [again]


def test_a_reason_gives_way_to_one_that_names_more_of_the_encoders():
    earlier = small_results(not_measured=[NotMeasured("cca", "CCA, glove", "failed", {"text": "glove"})])
    full = NotMeasured("cca", "CCA, glove", "failed", {"image": "efficientnet-lite0", "text": "glove"})
    assert merged(small_results(not_measured=[full]), earlier).not_measured == [full]


def changed(path, change):
    """A file of results with one thing in it changed."""
    write_results(small_results(), path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(machin="mine"), "unknown field `machin`"),
        (lambda content: content.pop("pairs"), "missing required field `pairs`"),
        (lambda content: content["table"]["rows"][1].update(seconds="1e-3"), r"Expected `float`.*rows\[1\]\.seconds"),
        (lambda content: content["table"]["rows"][0].update(seeds=[0.5]), r"Expected `int`.*rows\[0\]\.seeds"),
        (lambda content: content["table"]["rows"][0]["published"].pop("source"), "metrics need their source"),
        (lambda content: content["table"]["rows"][0]["published"].update(sorce=""), "unknown field `sorce`"),
        (lambda content: content["table"]["rows"][0]["metrics"]["dscmr"]["map"].pop("mean"), "field `mean`"),
    ],
)
def test_a_file_that_does_not_follow_the_schema_is_named_with_the_field(tmp_path, change, message):
    with pytest.raises(CheckpointError, match=rf"wiki\.json is damaged.*{message}"):
        read_results(changed(tmp_path / "wiki.json", change))


def test_a_newer_schema_says_to_upgrade(tmp_path):
    path = changed(tmp_path / "wiki.json", lambda content: content.update(schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(CheckpointError, match="upgrade cmr_hub"):
        read_results(path)


def test_a_file_of_before_there_were_versions_is_of_the_first(tmp_path):
    path = changed(tmp_path / "wiki.json", lambda content: content.pop("schema_version"))
    assert read_results(path) == small_results()


def test_the_shipped_files_are_as_they_would_be_written(tmp_path):
    for results in list_results():
        write_results(results, tmp_path / "again.json")
        assert read_results(tmp_path / "again.json") == results
