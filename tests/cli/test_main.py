import json
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from cmr_hub import Gallery
from cmr_hub.cli import main as command_line
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.training.train import TrainingRun
from cmr_hub.utils.hub import bundled_folder
from cmr_hub.utils.processes import Process
from tables import unpadded
from toys import feature_dataset, feature_retriever


def test_settings_are_yaml():
    given = ["loss_eta=0.2", "optim=sgd", "fp16=false", "lr=1.0e-3"]
    assert command_line.parse_settings(given) == {"loss_eta": 0.2, "optim": "sgd", "fp16": False, "lr": 1e-3}
    with pytest.raises(InputError, match="NAME=VALUE, not 'loss_eta'"):
        command_line.parse_settings(["loss_eta"])


def test_an_encoder_is_a_name_or_a_name_with_options():
    given = ["train", "--method", "cca", "--dataset", "emoji", "--output-dir", "x", "--image-encoder", "vgg19"]
    given += ["--text-encoder", "{name: word2vec, algorithm: cbow}"]
    options = command_line.build_parser().parse_args(given)
    assert options.image_encoder == "vgg19"
    assert options.text_encoder == {"name": "word2vec", "algorithm": "cbow"}


@pytest.mark.parametrize("given", ["{name: word2vec", "{window: 3}"])
def test_an_encoder_that_cannot_be_read(given, capsys):
    with pytest.raises(SystemExit):
        command_line.build_parser().parse_args(["train", "--text-encoder", given])
    assert "argument --text-encoder" in capsys.readouterr().err


def test_the_recorded_command_leaves_out_where_files_are_here(monkeypatch):
    words = ["train", "--dataset", "wiki", "--data-dir", "/home/me/wiki", "--seed", "1"]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    assert command_line.recorded_command() == "python -m training train --dataset wiki --seed 1"


def test_errors_are_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["training", "evaluate", "--checkpoint", str(tmp_path / "no"), "--dataset", "emoji"]
    )
    assert command_line.main() == 1
    assert capsys.readouterr().err.startswith("CheckpointNotFoundError: ")


def test_what_is_work_for_one_process_is_refused_to_several(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "this_process", lambda: Process(rank=0, count=2))
    monkeypatch.setattr(sys, "argv", ["training", "publish", "--checkpoint", "mine", "--repo-id", "me/mine"])
    assert command_line.main() == 1
    assert capsys.readouterr().err.startswith("InputError: 'publish' is work for one process; several do train, ")


def test_progress_for_programs_ends_with_the_error(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise DatasetError("nothing there")

    monkeypatch.setattr("cmr_hub.experiments.prepare.prepare", fail)
    monkeypatch.setattr(sys, "argv", ["training", "prepare", "pascal", "--progress", "json"])
    assert command_line.main() == 1
    assert json.loads(capsys.readouterr().out) == {"stage": "error", "fraction": 0.0, "message": "nothing there"}


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["training", *map(str, words)])
    return command_line.main()


def test_a_table_of_the_bundled_checkpoints(monkeypatch, tmp_path):
    output, figures = tmp_path / "RESULTS.md", tmp_path / "figures.json"
    assert call(monkeypatch, "table", bundled_folder(), "--output", output, "--json", figures) == 0
    tables = {table["dataset"]: table for table in json.loads(figures.read_text())}
    assert {"emoji", "wiki"} <= set(tables)
    (dscmr,) = [row for row in tables["wiki"]["rows"] if row["method"] == "dscmr"]
    recorded = TrainingRun.load(bundled_folder() / "dscmr-wiki").results[0]["metrics"]
    assert {name: spread["mean"] for name, spread in dscmr["metrics"]["dscmr"].items()} == recorded
    text = output.read_text(encoding="utf-8")
    assert text.index("## emoji, test split") < text.index("## wiki, test split")
    assert "| mAP I→T | mAP T→I | mAP average | seeds | seconds |" in unpadded(text)


def test_a_figure_of_a_bundled_checkpoint(monkeypatch, tmp_path):
    output, coordinates = tmp_path / "tsne.png", tmp_path / "tsne.json"
    where = ("--checkpoint", "cmr/cca-emoji", "--dataset", "emoji", "--output", output)
    assert call(monkeypatch, "figure", *where, "--most", 40, "--perplexity", 10, "--json", coordinates) == 0
    with Image.open(output) as image:
        assert image.size == (1620, 650)
    written = json.loads(coordinates.read_text())
    assert (written["checkpoint"], written["split"], written["perplexity"]) == ("cmr/cca-emoji", "test", 10.0)
    assert len(written["items"]) == 40


def test_a_map_is_of_a_gallery_or_of_a_data_set_and_a_checkpoint(monkeypatch, capsys):
    assert call(monkeypatch, "map", "--dataset", "emoji") == 1
    assert call(monkeypatch, "map", "--gallery", "folder", "--checkpoint", "cmr/dscmr-emoji") == 1
    assert capsys.readouterr().err.count("--dataset and --checkpoint together, or --gallery alone") == 2


def test_a_catalyser_for_a_gallery(monkeypatch, tmp_path, capsys):
    gallery = Gallery.from_dataset(feature_dataset(300), feature_retriever())
    np.save(tmp_path / "vectors.npy", gallery.embeds["image"])
    where = ("--vectors", tmp_path / "vectors.npy", "--output-dir", tmp_path / "catalyser")
    small = ("--output-dim", 8, "--epochs", 2, "--koleo", 0.1, "--config", "hidden_dim=16", "r2=10")
    assert call(monkeypatch, "spread", *where, *small) == 0
    run = json.loads((tmp_path / "catalyser" / "spread_run.json").read_text())
    assert run["command"].startswith("python -m training spread --vectors")
    assert (run["settings"]["koleo"], len(run["history"])) == (0.1, 2)
    options = {"catalyser": str(tmp_path / "catalyser"), "r2": 10}
    gallery = Gallery.from_dataset(feature_dataset(300), feature_retriever(), index="lattice", index_options=options)
    assert len(gallery.search(item="item-3", k=5, rerank=50)) == 5
    assert call(monkeypatch, "spread", *where, "--config", "lambda=2") == 1
    assert "no field 'lambda'" in capsys.readouterr().err


def test_a_gallery_of_images(monkeypatch, tmp_path):
    for i in range(5):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (30, 30), (50 * i, 90, 120)).save(tmp_path / "images" / f"{i}.png")
    where = ("--source", tmp_path / "images", "--output-dir", tmp_path / "gallery", "--index", "exact")
    more = ("--index-option", "dtype=float16", "--shard-rows", 2, "--refer", "--name", "Five")
    handler = signal.getsignal(signal.SIGTERM)
    assert call(monkeypatch, "gallery", "--checkpoint", "cmr/dscmr-emoji", *where, *more) == 0
    signal.signal(signal.SIGTERM, handler)
    gallery = Gallery.from_pretrained(tmp_path / "gallery")
    assert repr(gallery) == "Gallery('Five', items=5, retriever='cmr/dscmr-emoji', index='exact')"
    assert gallery.index.options == {"dtype": "float16"}
    assert gallery.search(text="a smiling cat", k=5)[0].id.endswith(".png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "tsne.gif"], ".png, .pdf, .svg, which tsne.gif does not end in"),
        (["--output", "tsne.png", "--split", "tset"], "'emoji' has no split 'tset', only train, validation, test"),
        (["--output", "tsne.png", "--most", "5"], "Perplexity 30 does not fit 10 points"),
    ],
)
def test_figures_that_cannot_be_drawn(monkeypatch, capsys, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "figure", "--checkpoint", "cmr/cca-emoji", "--dataset", "emoji", *options) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("InputError: ")
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_several_code_lengths_in_one_command(monkeypatch, tmp_path, caplog):
    words = ["train", "--method", "sh", "--dataset", "emoji", "--output-dir", str(tmp_path), "--bits", "8", "16"]
    monkeypatch.setattr(sys, "argv", ["training", *words, "--protocol", "dscmr-tie-aware"])
    caplog.set_level("INFO")
    assert command_line.main() == 0
    for bits in (8, 16):
        run = TrainingRun.load(tmp_path / f"{bits}-bits")
        assert run.recipe["config"]["embed_dim"] == bits
    assert "| task | method | learns from | 8 bits | 16 bits |" in unpadded(caplog.text)


def test_code_lengths_are_checked_before_anything_is_trained(monkeypatch, tmp_path, capsys):
    words = [
        "train",
        "--method",
        "sh",
        "--dataset",
        "emoji",
        "--output-dir",
        str(tmp_path / "out"),
        "--bits",
        "8",
        "12",
    ]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    assert command_line.main() == 1
    assert "embed_dim is 12. The nearest is 8." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
