import json
import re
import shutil

import pytest

from cmr_hub.errors import CheckpointError, InputError, UnknownNameError
from cmr_hub.evaluation import MeanStd, get_protocol
from cmr_hub.experiments.table import find_checkpoints, make_tables, same_recipe
from cmr_hub.hub import bundled_folder
from cmr_hub.hub.weights import weights_digest
from cmr_hub.results.markdown import table_markdown
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from tables import unpadded

DEFAULT = {"loss_eta": 0.1}


def measured(protocol, *values, split="test"):
    """One entry of results; mAP I→T and T→I, or R@1/5/10 of both directions and their mean."""
    if protocol == "instance":
        names = [f"{way}/recall@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
        metrics = dict(zip(names, values, strict=True)) | {"image_to_text/median_rank": 7.0}
        metrics |= {"mean_recall": sum(values) / 6, "image_to_text/mean_recall": sum(values[:3]) / 3}
        metrics |= {f"recall@{k}": (values[i] + values[i + 3]) / 2 for i, k in enumerate((1, 5, 10))}
    else:
        metrics = {"image_to_text/map": values[0], "text_to_image/map": values[1], "map": sum(values) / 2}
    description = get_protocol(protocol).describe()
    return {"protocol": protocol, "description": description, "split": split, "metrics": metrics, "seeds": []}


WEIGHTS = bundled_folder() / "cca-wiki"


def finished(
    folder, results, *, method="dscmr", dataset="wiki", seed=0, text="glove", config=DEFAULT, dtype="float32", **run
):
    """A checkpoint folder as far as a table reads it."""
    recipe = {
        "encoders": {"image": "efficientnet-lite0", "text": text},
        "config": config,
        "training": {},
        "early_stopping_patience": None,
        "published": run.pop("published", {}),
    }
    run = {"versions": {"torch": "2.15.0"}, "epochs": 9, "seconds": 100.0} | run
    folder.mkdir(parents=True)
    TrainingRun(method, dataset, seed, "", recipe, results=results, **run).save(folder)
    (folder / "config.json").write_text(json.dumps({"dtype": dtype, "embed_dim": config.get("embed_dim")}))
    return folder


def rows(table):
    """The Markdown table as lists of cells, head first."""
    lines = [line for line in unpadded(table_markdown(table)).splitlines() if line.startswith("|")]
    assert set(lines.pop(1)) == set("|-")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_row_a_method_best_first(tmp_path):
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        finished(tmp_path / f"dscmr/seed-{seed}", [measured("dscmr", value, 0.4)], seed=seed, seconds=100.0 + seed)
    source = {"source": "Someone, 2010", "metrics": {"text_to_image/map": 0.196, "image_to_text/map": 0.249}}
    closed = {"method": "cca", "config": {}, "epochs": None, "seconds": 0.1, "published": source}
    finished(tmp_path / "cca", [measured("dscmr", 0.25, 0.9)], **closed)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    published = "Someone, 2010: mAP .249 / .196"
    assert rows(table) == [
        ["method", "supervision", "mAP I→T", "mAP T→I", "mAP average", "seeds", "seconds", "published"],
        ["CCA", "unsupervised", ".250", "**.900**", "**.575**", "closed form", "0.1", published],
        ["DSCMR", "supervised", "**.600** ± .100", ".400 ± .000", ".500 ± .050", "0, 1, 2", "101", "–"],
    ]
    text = unpadded(table_markdown(table))
    assert text.startswith("## wiki, test split\n\n- dscmr: mAP@all")
    assert "versions" not in text


def test_each_data_set_has_the_columns_that_were_measured_on_it(tmp_path):
    recalls = (0.01, 0.05, 0.1, 0.02, 0.06, 0.11)
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)], dataset="emoji")
    finished(tmp_path / "b", [measured("dscmr", 0.5, 0.4), measured("instance", *recalls)], dataset="rsicd")
    emoji, rsicd = make_tables(find_checkpoints([tmp_path]))
    assert (list(emoji.protocols), list(rsicd.protocols)) == (["dscmr"], ["dscmr", "instance"])


def test_protocols_stand_side_by_side(tmp_path):
    recalls = (0.01, 0.05, 0.1, 0.02, 0.06, 0.11)
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4), measured("instance", *recalls)])
    entries = [measured("dscmr", 0.3, 0.2), measured("instance", 0.02, *recalls[1:])]
    finished(tmp_path / "b", entries, method="cca", config={}, epochs=None)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    head, dscmr, cca = rows(table)
    assert head[5:12] == ["R@1 I→T", "R@5 I→T", "R@10 I→T", "R@1 T→I", "R@5 T→I", "R@10 T→I", "mR"]
    assert dscmr[5:7] == [".010", "**.050**"]
    assert cca[5:7] == ["**.020**", "**.050**"]
    listed = [line for line in table_markdown(table).splitlines() if line.startswith("- ")]
    assert [line[:9] for line in listed] == ["- dscmr: ", "- instanc"]
    assert table.to_dict()["rows"][0]["metrics"]["instance"]["image_to_text/median_rank"]["mean"] == 7.0
    json.dumps(table.to_dict())


def test_a_protocol_that_only_some_were_measured_under_has_a_table_of_its_own(tmp_path):
    recalls = (0.01, 0.05, 0.1, 0.02, 0.06, 0.11)
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4), measured("instance", *recalls)])
    finished(tmp_path / "b", [measured("dscmr", 0.3, 0.2)], method="cca", config={}, epochs=None)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    shared, own = unpadded(table_markdown(table)).split("### Under instance")
    assert "| R@1" not in shared
    assert "| DSCMR | supervised | .010 | .050 |" in own  # nothing to compare: none is bold
    assert "CCA" not in own


def test_rows_are_in_the_order_of_the_mean_recall_and_published_ones_stand_beside(tmp_path):
    source = {
        "source": "Someone, 2019",
        "protocol": "instance",
        "metrics": {"mean_recall": 0.3, "text_to_image/recall@1": 0.1},
    }
    finished(tmp_path / "a", [measured("instance", 0.3, 0.3, 0.3, 0.0, 0.0, 0.0)], published=source)
    finished(tmp_path / "b", [measured("instance", *[0.2] * 6)], method="cca", config={}, epochs=None)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert [row[0] for row in rows(table)] == ["method", "CCA", "DSCMR"]
    assert rows(table)[2][-1] == "Someone, 2019: mR .300, R@1 .100"


def test_runs_measured_before_there_was_a_mean_recall_are_tabulated(tmp_path):
    for name, recalls in (("a", (0.2,) * 6), ("b", (0.3,) * 6)):
        entry = measured("instance", *recalls)
        old = {metric: value for metric, value in entry["metrics"].items() if "mean_recall" not in metric}
        description = "instance: R@k and rank of the own pair"
        finished(tmp_path / name, [entry | {"metrics": old, "description": description}], config={"loss_eta": name})
    (table,) = make_tables(find_checkpoints([tmp_path]))
    head, best, _ = rows(table)
    assert "mR" not in head
    assert best[0].startswith("DSCMR (loss_eta=b")
    finished(tmp_path / "c", [measured("instance", *recalls)], config={"loss_eta": "c"})
    with pytest.raises(InputError, match=r"measure both again with .* --protocols instance --record"):
        make_tables(find_checkpoints([tmp_path]))


def test_one_protocol_and_another_split_can_be_asked_for(tmp_path):
    entries = [
        measured("dscmr", 0.5, 0.4),
        measured("djsrh", 0.2, 0.3),
        measured("dscmr", 0.8, 0.8, split="validation"),
    ]
    checkpoints = find_checkpoints([finished(tmp_path / "a", entries)])
    (both,) = make_tables(checkpoints)
    assert rows(both)[0][2:8] == [
        *("dscmr mAP I→T", "dscmr mAP T→I", "dscmr mAP average"),
        *("djsrh mAP I→T", "djsrh mAP T→I", "djsrh mAP average"),
    ]
    (alone,) = make_tables(checkpoints, ["djsrh"])
    assert rows(alone)[1][2:5] == [".200", ".300", ".250"]
    (validation,) = make_tables(checkpoints, split="validation")
    assert rows(validation)[1][2:5] == [".800", ".800", ".800"]


def test_a_table_a_data_set(tmp_path):
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)], dataset="wiki")
    finished(tmp_path / "b", [measured("dscmr", 0.7, 0.6)], dataset="emoji")
    tables = make_tables(find_checkpoints([tmp_path / "a", tmp_path / "b"]))
    assert [(table.dataset, len(table.rows)) for table in tables] == [("emoji", 1), ("wiki", 1)]


@pytest.mark.parametrize(
    ("changes", "titles"),
    [
        ({"text": "bow"}, {"DSCMR"}),  # encoders have columns of their own
        ({"text": {"name": "glove", "dim": 50}}, {"DSCMR"}),
        ({"config": {"loss_eta": 0.2}}, {"DSCMR (loss_eta=0.1)", "DSCMR (loss_eta=0.2)"}),
        ({"dtype": "float16"}, {"DSCMR (dtype=float32)", "DSCMR (dtype=float16)"}),
    ],
)
def test_other_settings_are_never_averaged(tmp_path, changes, titles):
    finished(tmp_path / "a/seed-0", [measured("dscmr", 0.5, 0.4)], seed=0)
    finished(tmp_path / "a/seed-1", [measured("dscmr", 0.7, 0.4)], seed=1)
    finished(tmp_path / "b/seed-1", [measured("dscmr", 0.2, 0.1)], seed=1, **changes)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert {row.title for row in table.rows} == titles
    assert [row.seeds for row in table.rows] == [[0, 1], [1]]
    assert table.rows[0].settings == find_checkpoints([tmp_path / "a/seed-1"])[0].settings != table.rows[1].settings
    assert table.rows[0].metrics["dscmr"]["image_to_text/map"] == MeanStd(pytest.approx(0.6), pytest.approx(0.02**0.5))
    assert table.rows[1].metrics["dscmr"]["image_to_text/map"] == MeanStd(0.2, None)


def test_an_equal_setting_written_otherwise_is_no_difference(tmp_path):
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)], seed=0, config={"loss_eta": 1}, text={"name": "glove"})
    finished(tmp_path / "b", [measured("dscmr", 0.7, 0.4)], seed=1, config={"loss_eta": 1.0})
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert [(row.title, row.seeds) for row in table.rows] == [("DSCMR", [0, 1])]


def test_a_seed_twice_names_both_folders(tmp_path):
    for name in ("first", "second"):
        finished(tmp_path / name, [measured("dscmr", 0.5, 0.4)], seed=3)
    with pytest.raises(InputError, match=r"first and .*second are of the same method, settings and seed \(dscmr, 3\)"):
        make_tables(find_checkpoints([tmp_path]))


def test_one_folder_named_twice_counts_once(tmp_path):
    folder = finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)])
    (table,) = make_tables(find_checkpoints([tmp_path, folder]))
    assert table.rows[0].runs == 1


def test_a_mean_over_some_of_the_runs_says_so(tmp_path):
    recalls = (0.1,) * 6
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4), measured("instance", *recalls)], seed=0)
    finished(tmp_path / "b", [measured("dscmr", 0.7, 0.4)], seed=1)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert rows(table)[1][5] == ".100 (1 of 2 runs)"


def test_seeds_of_a_closed_form_are_one_figure(tmp_path):
    for seed in (0, 1):
        closed = {"method": "cca", "config": {}, "epochs": None}
        finished(tmp_path / str(seed), [measured("dscmr", 0.5, 0.4)], seed=seed, **closed)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert rows(table)[1][2:6] == [".500", ".400", ".450", "closed form"]


def test_other_library_versions_are_said(tmp_path):
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)], seed=0, versions={"torch": "2.14.0", "numpy": "2.4.6"})
    finished(tmp_path / "b", [measured("dscmr", 0.5, 0.4)], seed=1, versions={"torch": "2.15.0", "numpy": "2.4.6"})
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert unpadded(table_markdown(table)).endswith("different versions of libraries: torch 2.14.0, 2.15.0.\n")


def test_unfinished_runs_are_left_out_aloud(tmp_path, caplog):
    finished(tmp_path / "done", [measured("dscmr", 0.5, 0.4)])
    (tmp_path / "broken" / TRAINER_FOLDER).mkdir(parents=True)
    (finished(tmp_path / "again", [measured("dscmr", 0.1, 0.1)], seed=1) / TRAINER_FOLDER).mkdir()
    finished(tmp_path / ".writing-x", [measured("dscmr", 0.1, 0.1)], seed=2)  # what an interrupted save leaves
    assert [checkpoint.folder.name for checkpoint in find_checkpoints([tmp_path])] == ["done"]
    assert "broken holds an interrupted run" in caplog.text
    assert "again holds an interrupted run" in caplog.text


def test_a_record_of_other_weights_is_left_out_aloud(tmp_path, caplog):
    for name, seed in (("same", 0), ("other", 1)):
        folder = finished(tmp_path / name, [measured("dscmr", 0.5, 0.4)], seed=seed, weights=weights_digest(WEIGHTS))
        shutil.copy(WEIGHTS / "model.safetensors", folder)
    with (tmp_path / "other" / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    (checkpoint,) = find_checkpoints([tmp_path])
    assert checkpoint.folder.name == "same"
    assert "other holds the record of other weights and is left out: train it again" in caplog.text
    (table,) = make_tables([checkpoint])
    assert table.rows[0].weights == [weights_digest(WEIGHTS)]


def test_folders_without_runs(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        find_checkpoints([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"holds no finished run: no training_run\.json"):
        find_checkpoints([tmp_path])
    (tmp_path / "training_run.json").write_text("{")
    with pytest.raises(CheckpointError, match="no valid JSON"):
        find_checkpoints([tmp_path])


def test_protocols_that_cannot_be_shown(tmp_path):
    checkpoints = find_checkpoints([finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)])])
    with pytest.raises(UnknownNameError, match="Did you mean 'instance'"):
        make_tables(checkpoints, ["instanse"])
    with pytest.raises(InputError, match="None of these runs was measured under 'instance' on the test split"):
        make_tables(checkpoints, ["dscmr", "instance"])
    with pytest.raises(InputError, match=r"on the validation split\. Add --split test for those on the test split"):
        make_tables(checkpoints, split="validation")


def test_a_run_of_an_unknown_method_is_named(tmp_path):
    folder = finished(tmp_path / "old", [measured("dscmr", 0.5, 0.4)], method="forgotten")
    with pytest.raises(CheckpointError, match=r"old is of 'forgotten', which is no method of this cmr_hub \(.*cca"):
        make_tables(find_checkpoints([folder]))


def test_one_name_for_two_protocols_is_refused(tmp_path):
    finished(tmp_path / "a", [measured("dscmr", 0.5, 0.4)], seed=0)
    finished(tmp_path / "b", [measured("dscmr", 0.5, 0.4) | {"description": "dscmr: another"}], seed=1)
    with pytest.raises(InputError, match=r"a and .*b were measured under different definitions of protocol 'dscmr'"):
        make_tables(find_checkpoints([tmp_path]))


def hashed(folder, bits, *values, **run):
    """A run of a hashing method on codes of so many bits; mAP of both directions under djsrh."""
    config = {"embed_dim": bits, "regularization": run.pop("regularization", 1.0)}
    return finished(folder, [measured("djsrh", *values)], config=config, **{"method": "sh", "epochs": None, **run})


def test_code_lengths_are_columns_and_directions_blocks(tmp_path):
    source = {"source": "Su et al., 2019", "protocol": "djsrh", "metrics": {"image_to_text/map": 0.179}}
    hashed(tmp_path / "sh-16", 16, 0.2, 0.3, published=source)
    hashed(tmp_path / "sh-64", 64, 0.4, 0.5, seconds=20.0)
    for seed, value in enumerate((0.5, 0.7)):
        hashed(tmp_path / f"klsh-{seed}", 64, value, 0.1, method="klsh", seed=seed)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert "### Codes: mAP under djsrh" in unpadded(table_markdown(table))
    assert "In brackets the figures published in Su et al., 2019." in unpadded(table_markdown(table))
    assert rows(table) == [
        ["task", "method", "supervision", "16 bits", "64 bits", "seeds", "seconds"],
        ["I→T", "KLSH", "unsupervised", "–", "**.600** ± .141", "0, 1", "100"],
        ["I→T", "SH", "unsupervised", ".200 (.179)", ".400", "closed form", "60"],
        ["T→I", "KLSH", "unsupervised", "–", ".100 ± .000", "0, 1", "100"],
        ["T→I", "SH", "unsupervised", ".300", "**.500**", "closed form", "60"],
    ]


def test_other_settings_of_a_hashing_method_are_other_rows(tmp_path):
    hashed(tmp_path / "one", 16, 0.2, 0.3)
    hashed(tmp_path / "other", 16, 0.3, 0.4, regularization=0.1)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert [row[1] for row in rows(table)[1:3]] == ["SH (regularization=0.1)", "SH (regularization=1.0)"]


def test_codes_and_real_valued_methods_stand_apart(tmp_path):
    finished(tmp_path / "dscmr", [measured("dscmr", 0.5, 0.6)])
    hashed(tmp_path / "sh", 16, 0.2, 0.3)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    real_valued, codes = unpadded(table_markdown(table)).split("### Codes")
    assert "DSCMR" in real_valued
    assert "SH" not in real_valued.split("| method")[1]
    assert "| mAP I→T | mAP T→I |" in real_valued
    assert "DSCMR" not in codes


def test_a_length_is_the_same_whether_the_recipe_or_the_method_gave_it(tmp_path):
    given = find_checkpoints([hashed(tmp_path / "given", 64, 0.2, 0.3)])
    (row,) = make_tables(given)[0].rows
    by_method = finished(tmp_path / "own", [], method="sh", config={"regularization": 1.0}, epochs=None)
    for bits, same in ((64, True), (32, False)):
        (by_method / "config.json").write_text(json.dumps({"dtype": "float16", "embed_dim": bits}))
        (checkpoint,) = find_checkpoints([by_method])
        assert same_recipe(row, checkpoint) is same


DATA = {"train": "135 pairs, xxh3_128 0e98", "test": "40 pairs, xxh3_128 ea53"}
OTHER_DATA = {**DATA, "test": "35 pairs, xxh3_128 12ab"}


def test_data_of_different_content_have_tables_of_their_own(tmp_path):
    for folder, data, name in (("a", DATA, "stamps"), ("b", OTHER_DATA, "fashion")):
        finished(tmp_path / folder, [measured("dscmr", 0.5, 0.4)], dataset="folder", data=data, data_name=name)
    fashion, stamps = make_tables(find_checkpoints([tmp_path]))
    assert (fashion.dataset, stamps.dataset) == ("fashion", "stamps")
    assert [row.folders for row in stamps.rows] == [[str(tmp_path / "a")]]


def test_data_of_one_name_are_told_apart(tmp_path):
    for folder, data in (("a", DATA), ("b", OTHER_DATA)):
        finished(tmp_path / folder, [measured("dscmr", 0.5, 0.4)], dataset="folder", data=data, data_name="photos")
    titles = [table.dataset for table in make_tables(find_checkpoints([tmp_path]))]
    assert len(set(titles)) == 2
    assert all(re.fullmatch(r"photos \([0-9a-f]{8}\)", title) for title in titles)


def test_a_record_without_digests_is_of_the_data_of_its_name(tmp_path):
    finished(tmp_path / "old", [measured("dscmr", 0.5, 0.4)], seed=0)
    finished(tmp_path / "new", [measured("dscmr", 0.7, 0.4)], seed=1, data=DATA)
    (table,) = make_tables(find_checkpoints([tmp_path]))
    assert [row.seeds for row in table.rows] == [[0, 1]]
