"""Every field of TrainingArguments is an option of the commands that train."""

import dataclasses

import click
import pytest
from transformers import TrainingArguments

from cmr_hub.cli.main import main
from cmr_hub.cli.training_arguments import field_types, given_training_arguments
from command_line import parse

TRAIN = ["train", "--method", "dscmr", "--dataset", "emoji", "--output-dir", "out"]


def test_every_field_is_known_without_importing_transformers():
    assert {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(TrainingArguments) if field.init} == {
        flag for flag, kind in field_types().items() if kind != "switch"
    }


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["--weight-decay", "0.1"], {"weight_decay": 0.1}),
        (["--weight_decay=1e-2"], {"weight_decay": 0.01}),
        (["--max-steps", "-1", "--warmup-steps", "5"], {"max_steps": -1, "warmup_steps": 5.0}),
        (["--full-determinism"], {"full_determinism": True}),
        (["--full-determinism", "false"], {"full_determinism": False}),
        (["--no-dataloader-pin-memory"], {"dataloader_pin_memory": False}),
        (["--lr-scheduler-type", "cosine"], {"lr_scheduler_type": "cosine"}),
        (["--label-names", "a", "b"], {"label_names": ["a", "b"]}),
        ([], {}),
    ],
)
def test_a_field_is_read_by_the_arguments_own_type(words, arguments):
    with parse([*TRAIN, "--half", *words, "--seeds", "1", "2"]) as ctx:
        assert given_training_arguments() == arguments
        assert ctx.params["seeds"] == (1, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--weigth-decay", "0.1"],
            "No such option '--weigth-decay'. (Did you mean one of: '--eval-delay', '--weight-",
        ),
        (["--weight-decay", "low"], "'low' is not of type float"),
        (["--max-steps", "1.5"], "'1.5' is not of type int"),
        (["--full-determinism", "maybe"], "'maybe' is not of type bool"),
        (["--weight-decay"], "'--weight-decay' requires an argument"),
        (["--weight-decay", "1", "2"], "'--weight-decay' takes one value, not 1 2"),
        (["--no-dataloader-pin-memory", "yes"], "'--no-dataloader-pin-memory' does not take a value"),
    ],
)
def test_a_wrong_field_is_refused_when_the_command_line_is_read(words, said):
    with pytest.raises(click.UsageError) as raised:
        parse([*TRAIN, *words])
    assert said in raised.value.format_message()


def test_a_value_that_only_the_arguments_own_parser_knows_is_a_usage_error(capsys):
    assert main([*TRAIN, "--lr-scheduler-type", "sideways"]) == 2
    said = capsys.readouterr().err
    assert "TrainingArguments: " in said
    assert "sideways" in said


def test_other_commands_have_no_such_options(capsys):
    assert main(["evaluate", "--checkpoint", "x", "--dataset", "emoji", "--weight-decay", "0.1"]) == 2
    assert "No such option '--weight-decay'" in capsys.readouterr().err


def test_options_override_settings_and_shortcuts():
    words = ["--epochs", "3", "--training", "num_train_epochs=4", "weight_decay=0.2", "--num-train-epochs", "5"]
    with parse([*TRAIN, *words]) as ctx:
        from cmr_hub.cli.options import TrainingSettings

        settings = TrainingSettings(ctx.params["epochs"], training=ctx.params["training"])
        assert settings.arguments(learning_rate=0.1, batch_size=None) == {
            **{"num_train_epochs": 5.0, "learning_rate": 0.1, "weight_decay": 0.2}
        }
