"""What all commands share: names, several values per option, errors, the recorded command."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cmr_hub.cli.command import Option, recorded_command, set_up_logging
from cmr_hub.cli.main import RENAMED, SECTIONS, application, main
from cmr_hub.cli.types import DatasetName, MethodName, MethodNames, MethodOrRecipe
from cmr_hub.errors import DatasetError, UnknownNameError
from cmr_hub.utils.processes import Process
from command_line import parse

TRAIN = ["train", "--method", "cca", "--dataset", "emoji", "--output-dir", "out"]


def test_every_command_is_named_as_it_is_listed():
    root = click.Context(application)
    names = application.list_commands(root)
    assert [application.get_command(root, name).name for name in names] == names
    assert all(application.get_command(root, name).get_short_help_str() for name in names)


@pytest.mark.parametrize("word", ["--seeds", "--seed"])
def test_an_option_takes_several_values_after_one_flag(word):
    assert parse([*TRAIN, word, "0", "1", "2", "--half"]).params["seeds"] == (0, 1, 2)
    assert parse([*TRAIN, word, "0", word, "4"]).params["seeds"] == (0, 4)
    assert parse([*TRAIN, f"{word}=3"]).params["seeds"] == (3,)
    assert parse(TRAIN).params["seeds"] == (0,)


def test_values_may_be_negative():
    assert parse([*TRAIN, "--bits", "-1", "2"]).params["bits"] == (-1, 2)
    assert parse([*TRAIN, "--learning-rate", "-1e-3"]).params["learning_rate"] == -1e-3


def test_names_may_be_written_with_underscores():
    words = ["train", "--method", "cca", "--dataset", "emoji", "--output_dir", "out", "--batch_size", "4"]
    assert parse(words).params["batch_size"] == 4


def test_settings_are_yaml():
    given = ["loss_eta=0.2", "name=sgd", "is_deep=false", "rate=1.0e-3", "other=1e-3", "sizes=[1, 2]", "text='1e-3'"]
    assert parse([*TRAIN, "--config", *given, "--config", "more=a=b"]).params["config"] == {
        **{"loss_eta": 0.2, "name": "sgd", "is_deep": False, "rate": 1e-3, "other": 1e-3, "sizes": [1, 2]},
        **{"text": "1e-3", "more": "a=b"},
    }


@pytest.mark.parametrize("given", ["loss_eta", "=2", "sizes=[1", "day=2024-13-45", f"deep={'[' * 2000}"])
def test_settings_that_cannot_be_read(given):
    with pytest.raises(click.BadParameter, match=r"NAME=VALUE|no YAML"):
        parse([*TRAIN, "--config", given])


def test_an_encoder_is_a_name_or_a_name_with_options():
    params = parse([*TRAIN, "--image-encoder", "vgg19", "--text-encoder", "{name: word2vec, window: 3}"]).params
    assert params["image_encoder"] == "vgg19"
    assert params["text_encoder"] == {"name": "word2vec", "window": 3}


def test_an_encoder_is_a_folder_or_a_family_with_a_model(tmp_path):
    words = ["--image-encoder", str(tmp_path), "--text-encoder", f"{{name: transformers, model: {tmp_path}}}"]
    params = parse([*TRAIN, *words]).params
    assert params["image_encoder"] == params["text_encoder"] == f"transformers/{tmp_path}"


@pytest.mark.parametrize("given", ["{name: word2vec", "{window: 3}", "", "[word2vec]", "2024-13-45"])
def test_an_encoder_that_cannot_be_read(given):
    with pytest.raises(click.BadParameter) as raised:
        parse([*TRAIN, "--text-encoder", given])
    assert raised.value.param.name == "text_encoder"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        ([*TRAIN, "--sedes", "1"], "No such option '--sedes'. (Did you mean one of: '--fsdp', '--seeds'?)"),
        (["evaluate", "--protcols", "a"], "No such option '--protcols'. Did you mean '--protocols'?"),
        (["train", "--method", "cca"], "Missing option '--dataset'"),
        ([*TRAIN, "--seeds", "one"], "Invalid value for '--seeds': 'one' is not a valid integer."),
        ([*TRAIN, "--seeds"], "Option '--seeds' requires an argument."),
        ([*TRAIN, "--seeds", "--half"], "Option '--seeds' requires an argument."),
        ([*TRAIN, "--seeds", "-1"], "Invalid value for '--seeds': -1 is not in the range 0<=x<=4294967295."),
        ([*TRAIN, "--seeds", "4294967296"], "Invalid value for '--seeds': 4294967296 is not in the range"),
        ([*TRAIN, "--patience", "0"], "Invalid value for '--patience': 0 is not in the range x>=1."),
        ([*TRAIN, "more"], "Got unexpected extra argument (more)"),
        ([*TRAIN, "--captions", "all"], "Invalid value for '--captions': 'all' is not one of 'set', 'each'."),
        (["map", "--dataset", "emoji"], "Give --dataset and --checkpoint together, or --gallery alone."),
        (["map", "--gallery", "x", "--checkpoint", "y"], "Give --dataset and --checkpoint together"),
        (["train-quantizer", "--output-dir", "x"], "Give --gallery or --vectors, one of the two."),
        (["train-quantizer", "--output-dir", "x", "--gallery", "y", "--vectors", "z"], "one of the two."),
    ],
)
def test_wrong_options_say_what_is_wrong(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["train", "--method", "dscrm", "--dataset", "emoji", "--output-dir", "x"],
            "method named 'dscrm'. Did you mean",
        ),
        (
            ["train", "--method", "cca", "--dataset", "emoij", "--output-dir", "x"],
            "data set named 'emoij'. Did you mean",
        ),
        (["reproduce", "--dataset", "wiki", "--methods", "cca", "klhs"], "method named 'klhs'. Did you mean 'klsh'"),
        (["prepare", "pascall"], "data set named 'pascall'. Did you mean 'pascal'"),
    ],
)
def test_an_unknown_name_is_an_error_on_one_line(words, said, capsys):
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"UnknownNameError: There is no {said}")


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [
        (MethodName(), "SM", "semantic_matching"),
        (MethodOrRecipe(), "dscmr-hash", "dscmr_hash"),
        (MethodOrRecipe(), "a/SM.yaml", "a/SM.yaml"),
        (MethodNames(), "IsoHash", "isotropic"),
        (MethodNames(), "all", "all"),
        (DatasetName(), "Flickr8k", "flickr8k"),
        (DatasetName(), "owner/name", "owner/name"),
    ],
)
def test_names_in_other_spellings_and_repos_of_the_hub(kind, given, name):
    assert kind.convert(given, None, None) == name
    if not given.endswith(".yaml"):
        kind.check(name)


@pytest.mark.parametrize("name", ["./photos", "/data/photos", "a/b/c"])
def test_a_folder_is_no_repo_of_the_hub(name):
    with pytest.raises(UnknownNameError):
        DatasetName().check(name)


def test_errors_are_one_line(tmp_path, capsys):
    assert main(["evaluate", "--checkpoint", str(tmp_path / "no"), "--dataset", "emoji"]) == 1
    assert capsys.readouterr().err.startswith("CheckpointNotFoundError: ")


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--checkpoint", "outputs/mine", "--dataset", "emoji"],
        ["publish", "--checkpoint", "outputs/mine", "--repo-id", "me/mine", "--license", "other"],
        ["finetune", "--checkpoint", "outputs/mine", "--dataset", "emoji", "--output-dir", "x"],
    ],
)
def test_a_checkpoint_that_is_not_there_is_looked_for_here(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert re.search(rf"There is no folder '?outputs/mine'? \(looked in {tmp_path}\)", said)
    assert "cmr/acmr-emoji" not in said


def test_bars_of_weights_are_hidden():
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.set_tqdm_hook(None)
    try:
        set_up_logging(is_main=True)
        assert transformers_logging.tqdm(total=1).disable
    finally:
        transformers_logging.set_tqdm_hook(before)


def test_a_folder_that_cannot_be_written_is_an_error_on_one_line(tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    assert main(["new-method", "toy", "--package", str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"NotADirectoryError: {file}/file/toy: Not a directory"


def test_words_after_two_dashes_are_no_options():
    assert parse(["table", "--", "--seeds", "--protocols"]).params["runs"] == (Path("--seeds"), Path("--protocols"))


def test_an_interrupted_command_says_how_to_continue(monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("cmr_hub.experiments.prepare.prepare", interrupt)
    assert main(["prepare", "pascal"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted. What is complete is saved. ")


def test_progress_for_programs_ends_with_the_error(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise DatasetError("nothing there")

    monkeypatch.setattr("cmr_hub.experiments.prepare.prepare", fail)
    assert main(["prepare", "pascal", "--progress", "json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"stage": "error", "fraction": 0.0, "message": "nothing there"}


def test_what_is_work_for_one_process_is_refused_to_several(monkeypatch, capsys):
    monkeypatch.setattr("cmr_hub.cli.command.this_process", lambda: Process(rank=0, count=2))
    assert main(["publish", "--checkpoint", "mine", "--repo-id", "me/mine"]) == 1
    together = "train, finetune, answer, ablate, gallery"
    assert capsys.readouterr().err == (
        f"InputError: 'publish' is work for one process; several do {together} together.\n"
    )


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_command_still_works_and_says_its_new_name(old, new, capsys):
    with pytest.raises(click.exceptions.Exit):
        parse([old, "--help"])
    captured = capsys.readouterr()
    assert captured.err == f"cmr {old} is deprecated, use cmr {new}.\n"
    assert captured.out.startswith(f"Usage: cmr {new} ")
    assert old not in [name for names in SECTIONS.values() for name in names]


def old_names():
    root = click.Context(application)
    for name in application.list_commands(root):
        for option in application.get_command(root, name).params:
            for old in option.renamed_from if isinstance(option, Option) else ():
                yield name, old, option.opts[0]


@pytest.mark.parametrize(("command", "old", "new"), list(old_names()))
def test_an_old_option_still_works_and_says_its_new_name(command, old, new, capsys):
    root = click.Context(application)
    read = application.get_command(root, command).read_words(root, [old, "1"])
    assert read[0][0] == new
    assert capsys.readouterr().err == f"{old} is deprecated, use {new}.\n"


def test_the_recorded_command_has_todays_names_and_not_where_files_are_here():
    words = ["train", "--method", "cca", "--dataset=wiki", "--data-dir", "/home/me/wiki", "--output-dir", "a b"]
    words += ["--data_dir=/home/me", "--seed", "1", "2", "--weight_decay", "0.1", "--half"]
    with parse(words):
        assert recorded_command() == (
            "cmr train --method cca --dataset wiki --output-dir 'a b' --seeds 1 2 --weight-decay 0.1 --half"
        )


def test_the_old_program_is_an_alias():
    done = subprocess.run(
        [sys.executable, "-m", "training", "reproduce", "--dataset", "wikki", "--seeds", "2"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    notice, error = done.stderr.splitlines()
    assert notice == "--seeds 2 as a number of seeds is deprecated, use --seeds 0 1."
    assert error.startswith("UnknownNameError: There is no data set named 'wikki'")


def test_seeds_are_a_list_and_in_the_old_command_their_number(capsys):
    words = ["reproduce", "--dataset", "wiki"]
    assert parse([*words, "--seeds", "3"]).params["seeds"] == (3,)
    assert parse([*words, "--seeds", "3"], counts_seeds=True).params["seeds"] == (0, 1, 2)
    assert "--seeds 3 as a number of seeds is deprecated, use --seeds 0 1 2." in capsys.readouterr().err
    assert parse([*words, "--seeds", "0", "4"], counts_seeds=True).params["seeds"] == (0, 4)
    assert parse(words, counts_seeds=True).params["seeds"] == (0, 1, 2)
    with pytest.raises(click.BadParameter, match="there must be one seed at least, not 0"):
        parse([*words, "--seeds", "0"], counts_seeds=True)


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ([], "ev", {"evaluate"}),
        (["evaluate"], "--pro", {"--protocols"}),
        (["train", "--method"], "dscmr", {"dscmr", "dscmr_hash"}),
        (["train", "--seeds", "0", "1", "--dataset"], "wi", {"wiki"}),
        (["prepare"], "pascal", {"pascal", "pascal-dscmr"}),
        (["train"], "--weight-d", {"--weight-decay"}),
        (["completion"], "z", {"zsh"}),
    ],
)
def test_shells_complete_commands_options_and_names(words, incomplete, found):
    from click.shell_completion import BashComplete

    complete = BashComplete(application, {}, "cmr", "_CMR_COMPLETE")
    assert {item.value for item in complete.get_completions(words, incomplete)} == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_asks_the_command(shell, capsys):
    assert main(["completion", shell]) == 0
    assert f"_CMR_COMPLETE={shell}_complete" in capsys.readouterr().out
