"""Experiments as YAML: read strictly, overridden by the command line, the same as the commands of the results."""

import re
import shlex
from pathlib import Path

import pytest

from cmr_hub.cli.experiment import AblateExperiment, ReproduceExperiment
from cmr_hub.cli.main import main
from cmr_hub.experiments.encoder_choice import RECIPES_OWN, EncoderChoice
from cmr_hub.results import list_results
from cmr_hub.utils.decoding import decode
from cmr_hub.utils.located_yaml import load_yaml
from command_line import parse

TRAINING = Path(__file__).parents[2] / "training"
REPRODUCE = sorted((TRAINING / "reproduce").glob("*.yaml"))
ABLATE = sorted((TRAINING / "ablate").glob("*.yaml"))


def written(tmp_path, text):
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_stands_for_the_options(tmp_path):
    text = "dataset: pascal\ndataset_option: {complete_classes: true}\nmethods: [cca, sh]\nseeds: [1]\nbits: [8]\n"
    text += "text_encoder: {name: word2vec, window: 3}\noutput_dir: out"
    params = parse(["reproduce", "--experiment", written(tmp_path, text)]).params
    options = ["--dataset", "pascal", "--dataset-option", "complete_classes=true", "--methods", "cca", "sh"]
    options += ["--seeds", "1", "--bits", "8", "--text-encoder", "{name: word2vec, window: 3}", "--output-dir", "out"]
    assert params == parse(["reproduce", *options]).params
    assert params["seeds"] == (1,)


def test_several_choices_of_encoders(tmp_path):
    text = "dataset: pascal\nencoders: [{}, {text: {name: word2vec, window: 3}, methods: [cca]}]"
    params = parse(["reproduce", "--experiment", written(tmp_path, text)]).params
    options = ["--encoders", "{}", "{text: {name: word2vec, window: 3}, methods: [cca]}"]
    assert params == parse(["reproduce", "--dataset", "pascal", *options]).params
    assert params["encoders"][1] == EncoderChoice(text={"name": "word2vec", "window": 3}, methods=["cca"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--encoders", "{}", "--text-encoder", "glove"], "Give --encoders, or --image-encoder and --text-encoder"),
        (["--encoders", "{text: glovv}"], "There is no text encoder named 'glovv'. Did you mean 'glove'?"),
        (["--encoders", "{text: glove, methods: [ccaa]}"], "There is no method named 'ccaa'"),
        (["--encoders", "{txet: glove}"], "There is no field of encoders named 'txet'. Did you mean 'text'?"),
        (["--encoders", "glove"], "write a mapping such as {text: glove}, not 'glove'"),
        (["--encoders", "{"], "is no YAML"),
    ],
)
def test_encoders_that_cannot_be_meant(capsys, given, said):
    assert main(["reproduce", "--dataset", "pascal", *given]) in (1, 2)
    assert said in capsys.readouterr().err


def test_options_override_the_file_wherever_they_stand(tmp_path):
    path = written(tmp_path, "method: acmr\ndataset: wiki\nseeds: [0, 1]\nprotocol: djsrh\noutput_dir: out")
    for words in (["--experiment", path, "--seeds", "5"], ["--seeds", "5", "--experiment", path]):
        params = parse(["ablate", *words]).params
        assert (params["seeds"], params["protocol"], params["output_dir"]) == ((5,), "djsrh", Path("out"))


def test_settings_of_an_ablation(tmp_path):
    text = "method: acmr\ndataset: wiki\noutput_dir: out\ntext_encoder: {name: word2vec, window: 3}\n"
    text += "config: {triplet: batch_sum, margin: 0.1}\ntraining: {num_train_epochs: 5}\n"
    params = parse(["ablate", "--experiment", written(tmp_path, text)]).params
    options = ["--method", "acmr", "--dataset", "wiki", "--output-dir", "out"]
    options += ["--text-encoder", "{name: word2vec, window: 3}", "--training", "num_train_epochs=5"]
    options += ["--config", "triplet=batch_sum", "margin=0.1"]
    assert params == parse(["ablate", *options]).params
    assert params["config"] == {"triplet": "batch_sum", "margin": 0.1}


def test_what_neither_gives_is_the_default(tmp_path):
    params = parse(["reproduce", "--experiment", written(tmp_path, "dataset: wiki")]).params
    assert params == parse(["reproduce", "--dataset", "wiki"]).params


def test_seeds_of_a_file_are_a_list_in_the_old_command_too(tmp_path):
    path = written(tmp_path, "dataset: wiki\nseeds: [3]")
    assert parse(["reproduce", "--experiment", path], counts_seeds=True).params["seeds"] == (3,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: wiki\nsedes: [0]", "{path}, line 2: There is no field named 'sedes'. Did you mean 'seeds'"),
        (
            "dataset: wiki\nseeds: ['0']",
            "{path}, line 2: seeds[0] must be a whole number, and is '0'.",
        ),
        ("dataset: wiki\nseeds: 3", "{path}, line 2: seeds must be a list, and is 3."),
        ("seeds: [0]", "{path}, line 1: it lacks the field 'dataset'."),
        ("dataset: wikki", "There is no data set named 'wikki'. Did you mean 'wiki'?"),
    ],
)
def test_a_wrong_file_is_an_error_on_one_line(tmp_path, capsys, text, said):
    path = written(tmp_path, text)
    assert main(["reproduce", "--experiment", path]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said.format(path=path) in line


def test_the_recorded_command_names_the_file(tmp_path):
    from cmr_hub.cli.command import recorded_command

    path = written(tmp_path, "method: acmr\ndataset: wiki\noutput_dir: out")
    with parse(["ablate", "--experiment", path]):
        assert recorded_command() == f"cmr ablate --experiment {path}"


@pytest.mark.parametrize("path", REPRODUCE, ids=lambda path: path.stem)
def test_each_table_of_the_results_has_its_experiment(path):
    experiment = decode(ReproduceExperiment, load_yaml(path))
    assert experiment.dataset == path.stem
    (stored,) = [results for results in list_results() if results.dataset == path.stem]
    assert set(experiment.bits) <= {row.bits for row in stored.table.rows}
    assert tuple(experiment.seeds) in {tuple(row.seeds) for row in stored.table.rows}
    _, command = stored.command.split(" reproduce ")
    of_command = parse(["reproduce", *shlex.split(command)], counts_seeds=True).params
    of_file = parse(["reproduce", "--experiment", str(path)]).params
    measured, planned = (params.pop("encoders") or (RECIPES_OWN,) for params in (of_command, of_file))
    assert all(choice in planned for choice in measured)  # more may be planned than is measured so far
    assert of_file == {**of_command, "output_dir": Path("outputs", "reproduce", path.stem)}


def test_every_data_set_with_results_has_an_experiment():
    assert {path.stem for path in REPRODUCE} == {results.dataset for results in list_results()}


@pytest.mark.parametrize("path", ABLATE, ids=lambda path: path.stem)
def test_an_ablation_is_named_after_its_method_and_data_set(path):
    experiment = decode(AblateExperiment, load_yaml(path))
    assert re.fullmatch(rf"{experiment.method}-{experiment.dataset}(-\w+)?", path.stem)  # and what else is special
    parse(["ablate", "--experiment", str(path)])
