"""The commands, run on small data."""

import json
import signal

import numpy as np
import pytest
from datasets import DatasetDict
from PIL import Image

from cmr_hub import Gallery, Retriever
from cmr_hub.cli.main import main
from cmr_hub.training.run import TrainingRun
from cmr_hub.utils.hub import bundled_folder
from tables import unpadded
from toys import feature_dataset, feature_retriever
from two_parts import dataset_of_halves, retriever_of_halves


def cmr(*words):
    return main([str(word) for word in words])


def test_a_table_of_the_bundled_checkpoints(tmp_path):
    output, figures = tmp_path / "RESULTS.md", tmp_path / "figures.json"
    assert cmr("table", bundled_folder(), "--output", output, "--json", figures) == 0
    tables = {table["dataset"]: table for table in json.loads(figures.read_text())}
    assert {"emoji", "wiki"} <= set(tables)
    (dscmr,) = [row for row in tables["wiki"]["rows"] if row["method"] == "dscmr"]
    recorded = TrainingRun.load(bundled_folder() / "dscmr-wiki").results[0]["metrics"]
    assert {name: spread["mean"] for name, spread in dscmr["metrics"]["dscmr"].items()} == recorded
    text = output.read_text(encoding="utf-8")
    assert text.index("## emoji, test split") < text.index("## wiki, test split")
    assert "| mAP I→T | mAP T→I | mAP average | seeds | seconds |" in unpadded(text)


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--checkpoint", "x", "--dataset", "emoji", "--json"),
        ("curves", "--checkpoints", "x", "--dataset", "emoji", "--output"),
        ("table", "x", "--output"),
    ],
)
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_done(words, tmp_path, capsys):
    assert cmr(*words, tmp_path) == 2
    assert f"File '{tmp_path}' is a directory" in capsys.readouterr().err


def test_a_figure_of_a_bundled_checkpoint(tmp_path):
    output, coordinates = tmp_path / "tsne.png", tmp_path / "tsne.json"
    where = ("--checkpoint", "cmr/cca-emoji", "--dataset", "emoji", "--output", output)
    assert cmr("figure", *where, "--max-pairs", 40, "--perplexity", 10, "--json", coordinates) == 0
    with Image.open(output) as image:
        assert image.size == (1620, 650)
    written = json.loads(coordinates.read_text())
    assert (written["checkpoint"], written["split"], written["perplexity"]) == ("cmr/cca-emoji", "test", 10.0)
    assert len(written["items"]) == 40


def test_a_catalyser_for_a_gallery(tmp_path, capsys):
    gallery = Gallery.from_dataset(feature_dataset(300), feature_retriever())
    np.save(tmp_path / "vectors.npy", gallery.embeds["image"])
    where = ("--vectors", tmp_path / "vectors.npy", "--output-dir", tmp_path / "catalyser")
    small = ("--output-dim", 8, "--epochs", 2, "--koleo", 0.1, "--config", "hidden_dim=16", "r2=10")
    assert cmr("train-quantizer", *where, *small) == 0
    run = json.loads((tmp_path / "catalyser" / "spread_run.json").read_text())
    assert run["command"].startswith("cmr train-quantizer --vectors")
    assert (run["settings"]["koleo"], len(run["history"])) == (0.1, 2)
    options = {"catalyser": str(tmp_path / "catalyser"), "r2": 10}
    gallery = Gallery.from_dataset(feature_dataset(300), feature_retriever(), index="lattice", index_options=options)
    assert len(gallery.search(item="item-3", k=5, rerank=50)) == 5
    assert cmr("train-quantizer", *where, "--config", "kolea=2") == 1
    assert "no field of QuantizerSettings named 'kolea'. Did you mean 'koleo'?" in capsys.readouterr().err


def test_a_gallery_of_images(tmp_path):
    for i in range(5):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (30, 30), (50 * i, 90, 120)).save(tmp_path / "images" / f"{i}.png")
    where = ("--source", tmp_path / "images", "--output-dir", tmp_path / "gallery", "--index", "exact")
    more = ("--index-option", "dtype=float16", "--shard-rows", 2, "--refer", "--name", "Five")
    handler = signal.getsignal(signal.SIGTERM)
    assert cmr("gallery", "--checkpoint", "cmr/dscmr-emoji", *where, *more) == 0
    signal.signal(signal.SIGTERM, handler)
    gallery = Gallery.from_pretrained(tmp_path / "gallery")
    assert repr(gallery) == "Gallery('Five', items=5, retriever='cmr/dscmr-emoji', index='exact')"
    assert gallery.index.options == {"dtype": "float16"}
    assert gallery.search(text="a smiling cat", k=5)[0].id.endswith(".png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "tsne.gif"], ".png, .pdf, .svg, which tsne.gif does not end in"),
        (["--output", "tsne.png", "--split", "tset"], "'emoji' has no tset split here, only train, validation, test"),
        (["--output", "tsne.png", "--max-pairs", "5"], "Perplexity 30 does not fit 10 points"),
    ],
)
def test_figures_that_cannot_be_drawn(monkeypatch, capsys, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    assert cmr("figure", "--checkpoint", "cmr/cca-emoji", "--dataset", "emoji", *options) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("InputError: ")
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_several_code_lengths_in_one_command(tmp_path, caplog):
    words = ["train", "--method", "sh", "--dataset", "emoji", "--output-dir", tmp_path, "--bits", 8, 16]
    caplog.set_level("INFO")
    assert cmr(*words, "--protocols", "dscmr-tie-aware") == 0
    for bits in (8, 16):
        run = TrainingRun.load(tmp_path / f"{bits}-bits")
        assert run.recipe["config"]["embed_dim"] == bits
    assert "| task | method | supervision | 8 bits | 16 bits |" in unpadded(caplog.text)


def test_code_lengths_are_checked_before_anything_is_trained(tmp_path, capsys):
    words = ["train", "--method", "sh", "--dataset", "emoji", "--output-dir", tmp_path / "out", "--bits", 8, 12]
    assert cmr(*words) == 1
    assert "embed_dim is 12. The nearest is 8." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_digests_are_compared_and_renewed(tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    feature_retriever().save_pretrained(tmp_path)
    assert cmr("checksums", tmp_path) == 0
    assert "files are as they were saved" in caplog.text
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("{", "{ ", 1))
    assert cmr("checksums", tmp_path) == 1
    assert "config.json has" in capsys.readouterr().err
    assert cmr("checksums", tmp_path, "--write") == 0
    assert cmr("checksums", tmp_path) == 0
    (tmp_path / "checksums.json").unlink()
    assert cmr("checksums", tmp_path) == 1
    assert "--write` makes it" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.name for path in bundled_folder().iterdir()))
def test_bundled_checkpoints_are_as_they_were_saved(name):
    assert cmr("checksums", f"cmr/{name}") == 0


@pytest.fixture
def halves(monkeypatch):
    """Commands find a checkpoint of two parts, and the items of its data set."""
    dataset = DatasetDict(train=dataset_of_halves(seed=1), test=dataset_of_halves())
    monkeypatch.setattr("cmr_hub.cli.options.DatasetChoice.load", lambda choice: dataset)
    monkeypatch.setattr(Retriever, "from_pretrained", lambda checkpoint: retriever_of_halves())
    return ("--dataset", "emoji", "--checkpoint", "halves")


def test_protocols_are_measured_at_each_focus(tmp_path, halves):
    protocols = ("--protocols", "dscmr", "instance-tie-aware(at=(1, 5))", "--focus", 0, 0.5, 1)
    assert cmr("evaluate", *halves, *protocols, "--json", tmp_path / "measured.json") == 0
    measured = {entry["protocol"]: entry["metrics"] for entry in json.loads((tmp_path / "measured.json").read_text())}
    assert list(measured) == [
        *(f"dscmr(focus={focus})" for focus in (0, 0.5, 1)),
        *(f"instance-tie-aware(at=(1, 5), focus={focus})" for focus in (0, 0.5, 1)),
    ]
    by_focus = [metrics["map"] for name, metrics in measured.items() if name.startswith("dscmr(")]
    assert by_focus == sorted(by_focus, reverse=True)


def test_curves_are_drawn_at_a_focus(tmp_path, halves):
    output, points = tmp_path / "curves.png", tmp_path / "points.json"
    words = ("--output", output, "--json", points, "--protocol", "dcmh(focus=1)")
    assert cmr("curves", *halves, *words, "--focus", 0) == 0
    assert json.loads(points.read_text())["protocol"] == "dcmh(focus=0)"


def test_a_checkpoint_of_one_part_has_no_focus(capsys):
    words = ("evaluate", "--checkpoint", "cmr/cca-emoji", "--dataset", "emoji", "--protocols", "dscmr(focus=1)")
    assert cmr(*words) == 1
    assert "'dscmr(focus=1)' has a focus, which weighs a class part and an item part" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        (("--focus", "2"), 2, "2.0 is not in the range 0<=x<=1"),
        (("--focus", "-1"), 2, "-1.0 is not in the range 0<=x<=1"),
        (("--focus", "a"), 2, "'a' is not a valid float"),
        (("--focus", "nan"), 1, "focus=nan is not a number from 0"),
        (("--protocols", "dscmr(focus=2)"), 1, "focus=2 is not a number from 0"),
        (("--protocols", "dscmr(focus"), 1, "write them as in Python, such as 'dscmr(focus=0)'"),
        (("--protocols", "dscmrr(focus=0)"), 1, "There is no protocol named 'dscmrr'"),
    ],
)
def test_other_focuses_are_refused(capsys, option, code, message):
    assert cmr("evaluate", "--checkpoint", "cmr/cca-emoji", "--dataset", "emoji", *option) == code
    assert message in capsys.readouterr().err


def test_the_space_with_a_gallery_and_a_checkpoint_of_ones_own(tmp_path, monkeypatch):
    retriever = feature_retriever()
    retriever.save_pretrained(tmp_path / "mine")
    retriever.name = str(tmp_path / "mine")
    Gallery.from_dataset(feature_dataset(8), retriever, name="Holiday").save_pretrained(tmp_path / "holiday")
    built, launched = [], []
    monkeypatch.setattr("cmr_hub.space.build_app", lambda catalogue, prepare: built.append((catalogue, prepare)))
    monkeypatch.setattr("cmr_hub.space.launch", lambda app, **options: launched.append(options))
    own = ("--gallery", tmp_path / "holiday", "--checkpoint", tmp_path / "mine")
    assert cmr("serve", *own, "--prepare", "wiki", "--port", 7861) == 0
    ((catalogue, prepare),) = built
    assert catalogue.default == "holiday"
    assert [known.repo_id for known in catalogue.checkpoints] == [str(tmp_path / "mine")]
    assert list(prepare) == ["wiki"]
    assert launched == [{"server_name": None, "server_port": 7861, "inbrowser": False}]


def test_serving_a_folder_that_holds_no_gallery(tmp_path, capsys):
    assert cmr("serve", "--gallery", tmp_path) == 1
    assert str(tmp_path) in capsys.readouterr().err
