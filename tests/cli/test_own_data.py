"""People's own folders, from a table to a measured checkpoint."""

import json
from pathlib import Path

import pytest

import cmr_hub
from cmr_hub.cli.main import main
from cmr_hub.experiments import choose
from cmr_hub.training import datasets as features_module
from cmr_hub.training.run import TrainingRun
from own_data import fashion
from peoples_folders import FOLDERS, excel_folder

FAST = ["--method", "scm_semantic", "--text-encoder", "bow", "--image-encoder", "{name: efficientnet-lite0}"]


def cmr(*words):
    return main([str(word) for word in words])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOLDERS)
def test_folder_becomes_a_measured_checkpoint(tmp_path, kind):
    data = ["--dataset", "folder", "--data-dir", FOLDERS[kind](tmp_path / "mine", 15)]
    assert cmr("train", *data, "--output-dir", tmp_path / "out", *FAST, "--dataset-option", "split=train") == 0
    measured = ["--checkpoint", tmp_path / "out", "--split", "train", "--protocols", "dscmr", "instance"]
    assert cmr("evaluate", *data, *measured, "--dataset-option", "split=train", "--json", tmp_path / "found.json") == 0
    by_class, by_instance = json.loads((tmp_path / "found.json").read_text())
    assert by_class["metrics"]["map"] > 0.9  # chance is a third
    assert by_instance["protocol"] == "instance"


@pytest.mark.slow
def test_the_best_of_quick_methods_is_trained(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(choose, "LABELLED", ("cca", "scm_semantic"))  # CCA's 50 pairs are more than 30 texts have
    data = [
        "--dataset",
        "folder",
        "--data-dir",
        excel_folder(tmp_path / "mine", 30),
        "--dataset-option",
        "split=train",
    ]
    assert cmr("train", *data, "--output-dir", tmp_path / "out", "--method", "auto", *FAST[2:]) == 0
    assert "CCA is left out" in caplog.text
    assert "SCM (semantic) is trained." in caplog.text
    assert TrainingRun.load(tmp_path / "out").method == "scm_semantic"


@pytest.mark.slow
def test_a_folder_becomes_a_published_checkpoint_that_searches(tmp_path, monkeypatch, capsys):
    """The commands of docs/own-data.md, run from the folder that they name their paths from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choose, "LABELLED", ("unified",))  # one of the three that are compared
    fashion(Path("products"), 96)
    data = ["--dataset", "folder", "--data-dir", "products"]
    checkpoint = ["--checkpoint", "outputs/products"]
    assert cmr("train", "--method", "auto", *data, "--output-dir", "outputs/products") == 0
    assert cmr("evaluate", *checkpoint, *data) == 0
    assert cmr("gallery", *checkpoint, "--source", "products", "--output-dir", "galleries/products") == 0
    capsys.readouterr()
    assert cmr("search", "a red dress", "--gallery", "galleries/products", "-k", 3, "--json") == 0
    assert "products/dress" in capsys.readouterr().out
    publish = ["publish", *checkpoint, "--repo-id", "me/products", "--output-dir", "published"]
    assert cmr(*publish) == 1
    assert "add --license with an identifier of the Hub" in capsys.readouterr().err
    assert cmr(*publish, "--license", "cc-by-4.0", "--data-title", "Products") == 0
    assert "mean_recall (protocol instance)" in Path("published/README.md").read_text()
    monkeypatch.chdir("/")
    retriever = cmr_hub.from_pretrained(tmp_path / "published")
    gallery = cmr_hub.Gallery.from_pretrained(tmp_path / "galleries" / "products", retriever=retriever)
    hits = gallery.search(text="a red dress", target="image", k=3)
    assert any({"red", "dress"} <= set(hit.labels) for hit in hits)  # chance is one in twelve


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", "'folder' has no train split here, only test. Say which pairs are of it by a column split"),
        ("train", "6 training pairs are too few to hold some out"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_it_is_encoded(tmp_path, monkeypatch, capsys, split, message):
    monkeypatch.setattr(features_module, "make_pairs", lambda *args: pytest.fail("pairs are encoded"))
    data = ["--dataset", "folder", "--data-dir", excel_folder(tmp_path, 6), "--dataset-option", f"split={split}"]
    assert cmr("train", "--method", "dscmr", *data, "--output-dir", tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_test_split_alone_is_measured(tmp_path, capsys):
    data = ["--dataset", "folder", "--data-dir", excel_folder(tmp_path, 6), "--dataset-option", "split=test"]
    assert cmr("evaluate", "--checkpoint", "cmr/dscmr-emoji", *data, "--json", tmp_path / "found.json") == 0
    (entry,) = json.loads((tmp_path / "found.json").read_text())
    assert entry["split"] == "test"
    assert cmr("evaluate", "--checkpoint", "cmr/dscmr-emoji", *data, "--protocols", "djsrh") == 1
    assert "'folder' has no train split here, only test" in capsys.readouterr().err
