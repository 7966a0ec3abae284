import json
import logging

import pytest
from datasets import DatasetDict

from cmr_hub.cli.main import main as cmr
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.experiments import ablate as ablate_module
from cmr_hub.experiments.ablate import ablate, slug, with_average
from cmr_hub.results.markdown import ablation_markdown
from cmr_hub.results.schema import AblationSource
from cmr_hub.training.recipe import Ablation, Variant, load_recipe
from cmr_hub.training.run import TRAINER_FOLDER
from tables import unpadded
from toys import feature_dataset


@pytest.fixture
def dataset():
    return DatasetDict(
        train=feature_dataset(90), validation=feature_dataset(30, 1, "val"), test=feature_dataset(30, 2, "test")
    )


CITED = {"image_to_text/map": 0.4, "text_to_image/map": 0.3}
LAYERS = Ablation(
    "Hidden layer",
    rows={
        "narrow (4)": Variant(config={"hidden_dim": 4}, published=CITED),
        "wide": Variant(config={"hidden_dim": 32}),
    },
    published=AblationSource("A paper, Table 1", "wiki"),
)
TEXTS = Ablation(
    "Text vectors",
    rows={
        "bow": Variant(encoders={"text": EncoderSpec("bow")}, published={"image_to_text/map": 0.5}),
        "released": Variant(),
    },
)


def toy_recipe(*ablations):
    return load_recipe("dscmr").changed(
        encoders={"image": "precomputed", "text": "precomputed"},
        config={"hidden_dim": 8, "embed_dim": 4},
        training={"num_train_epochs": 1},
        ablations=ablations,
    )


@pytest.fixture
def trainings(monkeypatch):
    """The folders that are trained, as they are."""
    folders, train = [], ablate_module.train
    monkeypatch.setattr(
        ablate_module, "train", lambda *args, **kwargs: folders.append(args[3]) or train(*args, **kwargs)
    )
    return folders


def test_every_row_of_every_table_is_measured_over_the_seeds(dataset, tmp_path):
    table, texts = ablate(toy_recipe(LAYERS, TEXTS), dataset, "toy", tmp_path, seeds=[0, 1])
    stored = [
        json.loads((tmp_path / "hidden-layer" / "narrow-4" / f"seed-{seed}" / "training_run.json").read_text())
        for seed in (0, 1)
    ]
    assert [run["recipe"]["config"]["hidden_dim"] for run in stored] == [4, 4]
    assert table.rows[0].values["map"] == [run["results"][0]["metrics"]["map"] for run in stored]
    assert [row.name for row in (*table.rows, *texts.rows)] == ["narrow (4)", "wide", "bow", "released"]


def test_a_table_of_several_protocols_is_trained_once_and_is_one_table_for_each(dataset, tmp_path, trainings):
    both = Ablation(TEXTS.title, rows=TEXTS.rows, protocols=("instance", "dscmr"))
    tables = ablate(toy_recipe(both), dataset, "toy", tmp_path, protocol="djsrh")
    assert [folder.parent.name for folder in trainings] == ["bow", "released"]
    assert [(table.title, table.protocol) for table in tables] == [(TEXTS.title, "instance"), (TEXTS.title, "dscmr")]
    for table, metric in zip(tables, ("mean_recall", "map"), strict=True):
        bow, released = table.rows
        assert not bow.values
        assert bow.reason
        assert len(released.values[metric]) == 1


def test_a_row_that_the_data_set_cannot_give_says_why_and_stops_no_other(dataset, tmp_path):
    (table,) = ablate(toy_recipe(TEXTS), dataset, "toy", tmp_path)
    bow, released = table.rows
    assert (bow.values, bow.published) == ({}, {"image_to_text/map": 0.5})
    assert "takes raw texts, in a column 'texts'" in bow.reason
    assert len(released.values["map"]) == 1
    text = unpadded(ablation_markdown(table))
    assert "| bow | – | – | – | .500 | – | – |" in text
    assert f"bow cannot be measured here: {bow.reason}" in text


def test_the_table_stands_beside_the_published_figures(dataset, tmp_path):
    (table,) = ablate(toy_recipe(LAYERS), dataset, "toy", tmp_path, seeds=[0, 1])
    lines = unpadded(ablation_markdown(table)).splitlines()
    assert lines[0] == "### Hidden layer: dscmr on toy"
    assert lines[2].endswith("| average | published image → text | published text → image | published average |")
    assert lines[4].startswith("| narrow (4) | .")
    assert lines[4].endswith("| .400 | .300 | .350 |")
    assert lines[4].count("±") == 3
    assert lines[5].endswith("| – | – | – |")
    assert "Test split, seeds 0, 1; dscmr: mAP@all" in lines[7]
    assert lines[8] == "Published: A paper, Table 1, measured on wiki and not on toy"


def test_what_is_trained_is_kept_and_what_is_not_is_trained(dataset, tmp_path, trainings):
    first = ablate(toy_recipe(LAYERS), dataset, "toy", tmp_path)
    interrupted = tmp_path / "hidden-layer" / "wide" / "seed-0"
    (interrupted / "training_run.json").unlink()
    (interrupted / TRAINER_FOLDER / "checkpoint-1").mkdir(parents=True)
    trainings.clear()
    again = ablate(toy_recipe(LAYERS), dataset, "toy", tmp_path)
    assert trainings == [interrupted]
    assert again == first


def test_a_run_of_other_settings_is_trained_anew(dataset, tmp_path, trainings):
    ablate(toy_recipe(LAYERS), dataset, "toy", tmp_path)
    trainings.clear()
    ablate(toy_recipe(LAYERS).changed(config={"loss_eta": 0.3}), dataset, "toy", tmp_path)
    assert [folder.parent.name for folder in trainings] == ["narrow-4", "wide"]


def test_a_run_measured_when_its_protocol_was_defined_otherwise_is_trained_anew(dataset, tmp_path, trainings):
    ablate(toy_recipe(LAYERS), dataset, "toy", tmp_path)
    record = tmp_path / "hidden-layer" / "wide" / "seed-0" / "training_run.json"
    record.write_text(record.read_text().replace("mAP@all = ", "mAP@all is "))
    trainings.clear()
    ablate(toy_recipe(LAYERS), dataset, "toy", tmp_path)
    assert [folder.parent.name for folder in trainings] == ["wide"]


def test_mistakes_in_the_recipe_are_found_before_anything_is_trained(dataset, tmp_path, trainings):
    wrong = Ablation("Wrong", {"row": Variant(config={"hiden_dim": 4})})
    with pytest.raises(UnknownNameError, match="no config field named 'hiden_dim'"):
        ablate(toy_recipe(LAYERS, wrong), dataset, "toy", tmp_path)
    with pytest.raises(InputError, match="'dscmr' lists no ablations"):
        ablate(toy_recipe(), dataset, "toy", tmp_path)
    assert trainings == []


def test_averages_and_folders():
    assert with_average(Variant(published={"image_to_text/map": 0.5})) == {"image_to_text/map": 0.5}
    assert slug("word2vec (skip-gram)") == "word2vec-skip-gram"


def test_acmr_lists_the_three_tables_of_the_slides():
    recipe = load_recipe("acmr", "wiki")
    assert [table.title for table in recipe.ablations] == ["Text vectors", "Alignment loss", "Loss terms"]
    for table in recipe.ablations:
        assert list(table.variants(recipe)) == list(table.rows)
    published = [[with_average(row) for row in table.rows.values() if row.published] for table in recipe.ablations]
    assert [[row["map"] for row in rows] for rows in published] == [
        [0.46, 0.48, 0.48, 0.495],
        [0.495, 0.49, 0.475, 0.435],
        [0.375, 0.43, 0.495],
    ]


def test_command(dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("cmr_hub.training.recipe.load_recipe", lambda method, name: toy_recipe(LAYERS))
    monkeypatch.setattr("cmr_hub.data.load_dataset", lambda name, folder: dataset)
    output, report = tmp_path / "out", tmp_path / "report.json"
    words = ["ablate", "--method", "dscmr", "--dataset", "wiki", "--output-dir", str(output), "--json", str(report)]
    with caplog.at_level(logging.INFO):
        assert cmr(words) == 0
    assert "### Hidden layer: dscmr on wiki" in caplog.text
    (table,) = json.loads(report.read_text())
    assert (table["title"], table["protocol"], table["seeds"]) == ("Hidden layer", "dscmr", [0])
    assert table["protocol_description"].startswith("dscmr: mAP@all")
    assert [row["name"] for row in table["rows"]] == ["narrow (4)", "wide"]
    assert 0 < table["rows"][0]["values"]["map"][0] <= 1
