import json

import pytest

import cmr_hub
from cmr_hub.cli.main import main as cmr
from cmr_hub.errors import InputError
from cmr_hub.experiments.answer import ANSWERS_NAME, AnswerRun, answer
from cmr_hub.hub.weights import weights_digest
from cmr_hub.retrieval import answering
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from cmr_hub.training.train import train
from tables import unpadded
from toys import COLOURS, raw_dataset

WORDS = {f"is there a {colour} square in the image?": [f"{colour} square"] for colour in COLOURS}


def quick(**training):
    """r-DAN, on nine regions an image."""
    return (
        load_recipe("dan")
        .for_answering()
        .changed(
            encoders={"image": {"name": "efficientnet-lite0", "grid": 3}, "text": "tokens"},
            config={"embed_dim": 48, "word_dim": 8, "dropout": 0.0},
            training={"num_train_epochs": 8, "per_device_train_batch_size": 16, "learning_rate": 1e-2, **training},
        )
    )


@pytest.fixture
def dataset(tmp_path, private_cache):
    (tmp_path / "images").mkdir()
    return raw_dataset(tmp_path / "images")


@pytest.mark.slow
def test_from_questions_to_a_measured_checkpoint(dataset, tmp_path):
    run = answer(quick(), dataset, "toy", WORDS, tmp_path / "out", share=1.0)
    assert run.questions == {"train": 108, "validation": 36, "test": 36}
    assert run.accuracy["DAN"] > 0.8
    assert run.accuracy["logistic regression"] > 0.8
    # As often yes as no, of each question: what does not look at the image is right half the time.
    for accuracies in (run.accuracy, *run.by_question.values()):
        assert accuracies["blind"] == accuracies["majority answer"] == 0.5
    assert set(run.by_question) == set(WORDS)
    stored = json.loads((tmp_path / "out" / ANSWERS_NAME).read_text())
    assert stored["accuracy"] == run.accuracy
    assert stored["run"]["weights"] == weights_digest(tmp_path / "out")
    assert not (tmp_path / "out" / TRAINER_FOLDER).exists()

    retriever = cmr_hub.from_pretrained(tmp_path / "out")
    parts = retriever.model, retriever.processor
    row = dataset["test"][0]
    chances = {question: answering.answer(*parts, row["image"], question)["yes"] for question in WORDS}
    (colour,) = set(COLOURS) & set(row["texts"][0].split())
    assert max(chances, key=chances.get) == f"is there a {colour} square in the image?"


def test_the_answers_of_a_finished_run_are_not_replaced_unasked(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"holds a checkpoint, model\.safetensors: give another .*--overwrite"):
        answer(quick(), None, "toy", WORDS, tmp_path, share=1.0)


def test_the_table_ends_in_all_questions_together():
    who = {"DAN": 0.8, "majority answer": 0.5}
    run = AnswerRun(TrainingRun("dan", "toy", 0, "", {}, {}), {"test": 100}, who, {"b?": who, "a?": who})
    assert unpadded(run.table()).splitlines() == [
        "Accuracy on 100 test questions made from captions and classes, as often yes as no; the standard error of all "
        "together is at most .050, of a single question far more.",
        "",
        "| question | DAN | majority answer |",
        "|------------|-------|-------------------|",
        "| a? | .800 | .500 |",
        "| b? | .800 | .500 |",
        "| all | .800 | .500 |",
    ]


def test_only_recipes_that_say_so_answer(dataset, tmp_path):
    with pytest.raises(InputError, match="CCA answers no questions: its recipe has no `answering`"):
        load_recipe("cca").for_answering()
    matching = quick().changed(config={"variant": "m-dan"})
    with pytest.raises(InputError, match="DAN answers no questions as its recipe and --config set it up"):
        answer(matching, dataset, "toy", WORDS, tmp_path / "out", share=1.0)


def test_a_model_that_answers_is_not_trained_to_be_searched(dataset, tmp_path):
    with pytest.raises(InputError, match="cmr answer"):
        train(quick(), dataset, "toy", tmp_path / "out", protocols=["instance"])


def test_the_command(monkeypatch, dataset, tmp_path):
    given = {}
    monkeypatch.setattr("cmr_hub.data.load_dataset", lambda name, folder: dataset)
    monkeypatch.setattr("cmr_hub.experiments.answer.answer", lambda *args, **options: given.update(options, args=args))
    questions = tmp_path / "questions.yaml"
    questions.write_text("is there a cat?: [cat]\n")
    words = ["answer", "--method", "dan", "--dataset", "folder", "--output-dir", str(tmp_path / "out"), "--share", "1"]
    words += ["--questions", str(questions), "--epochs", "3", "--config", "steps=1", "embed_dim=64", "--seed", "5"]
    assert cmr(words) == 0
    recipe, *others = given.pop("args")
    assert recipe.config["variant"] == "r-dan"
    assert (recipe.config["steps"], recipe.training["num_train_epochs"]) == (1, 3)
    assert others == [dataset, "folder", {"is there a cat?": ["cat"]}, tmp_path / "out"]
    assert (given["share"], given["seed"], given["resume"]) == (1.0, 5, False)


def test_a_data_set_without_questions_says_what_to_do(monkeypatch, capsys, tmp_path):
    words = ["answer", "--method", "dan", "--dataset", "emoji", "--output-dir", str(tmp_path / "out")]
    assert cmr(words) == 1
    assert "No questions are kept for 'emoji'" in capsys.readouterr().err
