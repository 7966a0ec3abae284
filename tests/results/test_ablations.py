import json
from pathlib import Path

import pytest

import cmr_hub
from cmr_hub.errors import CheckpointError
from cmr_hub.evaluation import MeanStd, get_protocol
from cmr_hub.results import ablations
from cmr_hub.results.ablations import list_ablations, read_ablations
from cmr_hub.results.schema import AblationRow, AblationSource, AblationTable

METHODS = Path(cmr_hub.__file__).parent / "methods"
SHIPPED = sorted(METHODS.glob("*/ablations-*.json"))


def test_a_table_survives_being_written_and_read(tmp_path):
    rows = [
        AblationRow("with", {"map": [0.5, 0.6], "image_to_text/map": [0.5, 0.6]}, {"map": 0.4}),
        AblationRow("without", {}, {}, "no such column"),
    ]
    described = get_protocol("dcmh").describe()
    table = AblationTable("Terms", "cca", "wiki", [0, 1], "dcmh", rows, AblationSource("A paper"), described)
    path = tmp_path / "ablations-wiki.json"
    path.write_text(json.dumps([table.to_dict()]))
    assert read_ablations(path) == [table]
    assert table.primary_metric == "map"


def test_tables_of_which_nothing_was_measured_are_left_out(tmp_path, monkeypatch):
    measured, other = AblationRow("with", {"map": [0.5]}, {}), AblationRow("without", {}, {}, "no such column")
    described = get_protocol("dscmr").describe()
    tables = [
        AblationTable(title, "cca", "wiki", [0], "dscmr", rows, AblationSource(), described)
        for title, rows in {"All": [measured], "Some": [measured, other], "None": [other]}.items()
    ]
    folder = tmp_path / "methods" / "cca"
    folder.mkdir(parents=True)
    (folder / "ablations-wiki.json").write_text(json.dumps([table.to_dict() for table in tables]))
    monkeypatch.setattr(ablations, "__file__", str(tmp_path / "results" / "ablations.py"))
    assert list_ablations() == tables[:2]


def test_acmr_ships_the_three_tables_of_the_slides():
    tables = [table for table in list_ablations() if table.method == "acmr"]
    assert {table.title for table in tables} == {"Text vectors", "Alignment loss", "Loss terms"}
    assert all(table.seeds == [0, 1, 2] and table.published.source for table in tables)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_shipped_is_as_the_methods_own_page_has_it(path: Path):
    readme = (path.parent / "README.md").read_text(encoding="utf-8")
    for table in read_ablations(path):
        assert (table.method, f"ablations-{table.dataset}") == (path.parent.name, path.stem)
        for row in table.rows:
            if row.values:
                figures = [
                    str(MeanStd.of(row.values[f"{way}map"])) for way in ("image_to_text/", "text_to_image/", "")
                ]
                assert f"| {' | '.join(figures)} |" in readme, (table.title, row.name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it is no JSON"),
        ('{"title": 1}', "Expected `array`, got `object`"),
        ('[{"title": "Terms"}]', r"missing required field `method` - at `\$\[0\]`"),
    ],
)
def test_a_damaged_file_is_named_with_the_field(tmp_path: Path, content: str, reason: str):
    path = tmp_path / "ablations-wiki.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=rf"ablations-wiki\.json is damaged.*{reason}"):
        read_ablations(path)
