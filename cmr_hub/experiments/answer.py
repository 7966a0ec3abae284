"""Train a method that answers, on questions made from a data set's captions and classes, and measure it."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import DatasetDict
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerState, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from cmr_hub.data.base import check_splits
from cmr_hub.errors import InputError
from cmr_hub.evaluation import decimals
from cmr_hub.hub.weights import weights_digest
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.retrieval.retriever import Retriever
from cmr_hub.training.datasets import FeatureSplits, Pairs
from cmr_hub.training.recipe import Recipe
from cmr_hub.training.resuming import ResumableTrainer, last_state
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun, refuse_weights
from cmr_hub.training.splits import with_validation
from cmr_hub.training.train import make_features, make_model, training_arguments
from cmr_hub.training.trainer import EpochLog
from cmr_hub.utils.files import atomic_file, check_may_be_folder
from cmr_hub.utils.markdown import markdown_table
from cmr_hub.utils.processes import this_process

from .baselines import blinded, majority_answers, regression_answers
from .questions import Words, make_questions

logger = logging.getLogger(__name__)

ANSWERS_NAME = "answers.json"
ROWS_AT_ONCE = 256


@dataclass
class AnswerRun:
    """What a checkpoint folder remembers of a training on questions.

    Attributes:
        run: how it was made.
        questions: split -> how many questions.
        accuracy: share of the test questions answered rightly: by the method, under its title; by the method "blind",
            every image replaced by the mean of the training images; by the "majority answer" to the same question
            in training; and by a "logistic regression" a question, on the mean of an image's regions.
        by_question: question -> the same, of this question alone.
    """

    run: TrainingRun
    questions: Mapping[str, int]
    accuracy: Mapping[str, float]
    by_question: Mapping[str, Mapping[str, float]]

    def table(self) -> str:
        """Markdown: one row per question, all of them together last."""
        n = self.questions["test"]
        rows = {**dict(sorted(self.by_question.items())), "all": self.accuracy}
        return "\n".join(
            [
                f"Accuracy on {n:,} test questions made from captions and classes, as often yes as no; the standard "
                f"error of all together is at most {decimals(0.5 / n**0.5)}, of a single question far more.",
                "",
                markdown_table(
                    ["question", *self.accuracy],
                    [[name, *(decimals(row[who]) for who in self.accuracy)] for name, row in rows.items()],
                ),
            ]
        )

    def save(self, folder: Path) -> None:
        """Write into a checkpoint folder."""
        with atomic_file(folder / ANSWERS_NAME) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n")


def answer(
    recipe: Recipe,
    dataset: DatasetDict,
    dataset_name: str,
    words: Words,
    output_dir: Path,
    *,
    share: float,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
) -> AnswerRun:
    """Train one checkpoint on questions about a data set's images and measure it on those about the test split's.

    Args:
        recipe: of a model that answers.
        dataset: splits "train" and "test", and "validation" where the source defines one.
        dataset_name: as `cmr_hub.data` knows it.
        words: the questions, and the words that mean yes; see [`make_questions`].
        output_dir: receives model, processor and `answers.json`.
        share: of how many of a split's images each question is asked at most; see [`make_questions`].
        seed: of everything that chance decides.
        resume: go on from the last saved epoch of an interrupted run in `output_dir`.
        overwrite: train over what `output_dir` holds, but for an interrupted run that `resume` goes on with.
        command: for the record.

    Raises:
        InputError: the recipe's model answers no questions, none can be made from the data set, or `output_dir` holds
            a run that is not to be overwritten, and `resume` is not set or asks for another.
    """
    output_dir = Path(output_dir)
    folder = output_dir / TRAINER_FOLDER
    check_may_be_folder(output_dir)
    if not overwrite:
        refuse_weights(output_dir)
    check_splits(dataset, ["train", "test"], dataset_name)
    questions = make_questions(with_validation(dataset), words, share)
    features = make_features(recipe.changed(captions="each"), questions, dataset_name)
    set_seed(seed)
    model = make_model(recipe, features.processor, questions)
    if not model.answers_questions:
        raise InputError(f"{recipe.title} answers no questions as its recipe and --config set it up.")
    model.start_from(features.processor)
    sizes = {split: len(asked) for split, asked in questions.items()}
    listed = ", ".join(f"{size:,} {split}" for split, size in sizes.items())
    logger.info("%s on questions about %s: %s; seed %d", recipe.title, dataset_name, listed, seed)
    run = TrainingRun.of(recipe, questions, dataset_name, seed, command)
    last = last_state(folder, run.request, resume=resume, overwrite=overwrite)
    started = time.perf_counter()
    run.note_epochs(_fit(model, recipe, features, folder, seed, last))
    run.seconds = round(time.perf_counter() - started, 1)

    def finish() -> AnswerRun:
        Retriever(model, features.processor).save_pretrained(output_dir)
        run.weights = weights_digest(output_dir)
        stored = Retriever.from_pretrained(output_dir).model
        measured = AnswerRun(run, sizes, *_measure(recipe.title, stored, questions, features))
        logger.info("%d s of training\n%s", run.seconds, measured.table())
        measured.save(output_dir)
        shutil.rmtree(folder, ignore_errors=True)  # last: until then the run can be resumed
        return measured

    return this_process().run_on_main(finish)


def _fit(
    model: CMRModel, recipe: Recipe, features: FeatureSplits, folder: Path, seed: int, last: str | None
) -> TrainerState:
    """Train, and keep the epoch that answers the most validation questions rightly."""
    trainer = ResumableTrainer(
        model,
        training_arguments(recipe, folder, seed, metric="accuracy", labels="labels"),
        data_collator=cast(Any, model.select_inputs),
        train_dataset=features["train"],
        eval_dataset=features["validation"],
        compute_metrics=_accuracy,
        callbacks=[EpochLog("accuracy"), *model.training_callbacks()],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if recipe.early_stopping_patience is not None:
        trainer.add_callback(EarlyStoppingCallback(recipe.early_stopping_patience))
    trainer.train(resume_from_checkpoint=last, ignore_keys_for_eval=["loss_terms"])
    return trainer.state


def _accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Of `(n, answers)` logits against one-hot answers."""
    logits, answers = cast(np.ndarray, prediction.predictions), cast(np.ndarray, prediction.label_ids)
    right = logits.argmax(axis=1) == answers.argmax(axis=1)
    return this_process().run_on_main(lambda: {"accuracy": float(right.mean())})


def _measure(
    title: str, model: CMRModel, questions: DatasetDict, features: FeatureSplits
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Accuracy on the test questions, of all and of each, by who answers."""
    asked: dict[str, list[str]] = {
        str(split): [texts[0] for texts in part["texts"][:]] for split, part in questions.items()
    }
    train, test = features["train"], features["test"]
    given = {
        title: predict(model, test),
        "blind": predict(model, blinded(test, train)),
        "majority answer": majority_answers(
            asked["train"], train.required_labels.argmax(dim=1).numpy(), asked["test"]
        ),
        "logistic regression": regression_answers(asked, {split: features[split] for split in asked}),
    }
    right = {who: answers == test.required_labels.argmax(dim=1).numpy() for who, answers in given.items()}
    everywhere = np.array(asked["test"])
    return _shares(right, slice(None)), {
        question: _shares(right, everywhere == question) for question in dict.fromkeys(asked["test"])
    }


def _shares(right: Mapping[str, np.ndarray], where: slice | np.ndarray) -> dict[str, float]:
    return {who: round(float(of_all[where].mean()), 4) for who, of_all in right.items()}


@torch.inference_mode()
def predict(model: CMRModel, pairs: Pairs) -> np.ndarray:
    """The most likely answer to each of `n` questions, `(n,)` integers."""
    answers = []
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        batch = model.select_inputs(pairs[start : start + ROWS_AT_ONCE])
        del batch["labels"]
        answers.append(model(**batch).pair_logits.argmax(dim=1))
    return torch.cat(answers).numpy()
