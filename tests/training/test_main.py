import json
import sys

import pytest

from cmr_hub.errors import DatasetError, InputError
from training import __main__ as command_line


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


def test_progress_for_programs_ends_with_the_error(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise DatasetError("nothing there")

    monkeypatch.setattr("training.prepare.prepare", fail)
    monkeypatch.setattr(sys, "argv", ["training", "prepare", "pascal", "--progress", "json"])
    assert command_line.main() == 1
    assert json.loads(capsys.readouterr().out) == {"stage": "error", "fraction": 0.0, "message": "nothing there"}
