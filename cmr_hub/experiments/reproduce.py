"""Train all methods on one data set, each with the same seeds on the same splits, and tabulate what they measure."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from cmr_hub.data import info, load_dataset
from cmr_hub.data.base import check_splits, describe_sizes
from cmr_hub.data.columns import COLUMNS
from cmr_hub.data.labels import has_labels
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import CheckpointError, CMRError, InputError
from cmr_hub.evaluation import Protocol, get_protocol
from cmr_hub.methods import METHODS
from cmr_hub.results import NotMeasured, Reproduction
from cmr_hub.results.schema import RowKey
from cmr_hub.training.datasets import FeatureSplits
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.splits import HELD_OUT
from cmr_hub.training.train import make_features, train
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.damaged import set_aside
from cmr_hub.utils.files import atomic_file

from .encoder_choice import RECIPES_OWN, EncoderChoice, one_line
from .run_cache import cached_run
from .table import Checkpoint, find_checkpoints, make_tables
from .workers import machine, work

logger = logging.getLogger(__name__)

BITS = (16, 32, 64, 128)
SEEDS = 3
BY_CLASS = {
    "real-valued": ("dscmr",),
    "binary": ("dscmr-tie-aware", "dcmh-tie-aware", "djsrh-tie-aware"),
}
NOT_TRAINED = "it has not been trained yet; the command above trains it."
BY_INSTANCE = {"real-valued": "instance", "binary": "instance-tie-aware"}


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        dataset: name of the data set.
        data_dir: where its files are; downloaded otherwise.
        methods: names in the registry.
        seeds: of each method that chance has a part in.
        bits: code lengths of hashing methods.
        choices: the encoders that each method is measured with, one row each; by default the recipes' own.
        options: what the data set's loader takes in addition to its folder.
        output_dir: receives `[<encoders>/]<method>[/<n>-bits]/seed-<n>`.
        trains: whether what is not finished is trained; without it, what is finished is tabulated.
    """

    dataset: str
    data_dir: Path | None
    output_dir: Path
    methods: Sequence[str]
    seeds: Sequence[int] = tuple(range(SEEDS))
    bits: Sequence[int] = BITS
    choices: Sequence[EncoderChoice] = (RECIPES_OWN,)
    options: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = True

    def tasks(self, columns: Collection[str] = ()) -> list[Task]:
        """The trainings, choice by choice of encoders and method by method.

        A choice that says the same of a method as an earlier one, as where the recipe has the encoder already, is left
        out of that method.

        Args:
            columns: those of the data set, which decide whether released features take the place of encoders.
        """
        known: list[tuple[str, tuple[str, ...]]] = []
        tasks = []
        for choice in self.choices:
            for method in (name for name in self.methods if not choice.methods or name in choice.methods):
                used = self._recipe(method, choice, columns).encoders
                encoders = tuple(str(used[modality]) for modality in COLUMNS)
                if (method, encoders) not in known:
                    known.append((method, encoders))
                    tasks += [
                        Task(method, bits, seed, choice, encoders)
                        for bits in self._lengths(method)
                        for seed in (self.seeds if METHODS[method].is_stochastic else self.seeds[:1])
                    ]
        return tasks

    def _lengths(self, method: str) -> Sequence[int | None]:
        """Those of a hashing method; one that the data set sets a length of its own for has that too."""
        if not METHODS[method].is_hashing:
            return [None]
        general, here = (load_recipe(method, name).config.get("embed_dim") for name in (None, self.dataset))
        own = [int(here)] if here is not None and here != general and tuple(self.bits) == BITS else []
        return sorted({*self.bits, *own})

    def load(self) -> DatasetDict:
        """The data."""
        return load_dataset(self.dataset, self.data_dir, **self.options)

    def command(self, task: Task | None = None) -> str:
        """The command line that does this, or one method of it with its encoders, as anyone would type it."""
        words = ["cmr", "reproduce", "--dataset", self.dataset]
        methods = [task.method] if task else None if set(self.methods) == set(METHODS) else self.methods
        words += ["--methods", *methods] if methods else []
        words += [] if tuple(self.seeds) == tuple(range(SEEDS)) else ["--seeds", *map(str, self.seeds)]
        words += [] if tuple(self.bits) == BITS else ["--bits", *map(str, self.bits)]
        choices = [task.choice] if task else self.choices
        if len(choices) == 1 and not (choices[0].methods and task is None):
            for modality, encoder in choices[0].encoders.items():
                words += [f"--{modality}-encoder", one_line(encoder)]
        else:
            words += ["--encoders", *map(str, choices)]
        words += ["--dataset-option"] * bool(self.options)
        words += [f"{name}={json.dumps(value)}" for name, value in self.options.items()]
        return shlex.join(words)

    def recipe(self, task: Task, dataset: DatasetDict) -> Recipe:
        """How one of them is trained on the data as they are."""
        recipe = self._recipe(task.method, task.choice, dataset["train"].column_names)
        return recipe if task.bits is None else recipe.with_bits(task.bits)

    def _recipe(self, method: str, choice: EncoderChoice, columns: Collection[str]) -> Recipe:
        recipe = load_recipe(method, self.dataset).for_columns(columns)
        return recipe.changed(encoders=choice.encoders)  # what is asked for is not put aside, but said to be missing


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        method, bits, seed: what is trained.
        choice: the encoders that replace the recipe's.
        encoders: the image and the text encoder, as people write them.
    """

    method: str
    bits: int | None
    seed: int
    choice: EncoderChoice = RECIPES_OWN
    encoders: tuple[str, ...] = ()

    @property
    def row_key(self) -> RowKey:
        """The key of its row of results; see [`~cmr_hub.results.schema.Row`]."""
        return self.method, self.bits, self.encoders

    @property
    def folder(self) -> Path:
        """Where it is in the output folder."""
        length = () if self.bits is None else (f"{self.bits}-bits",)
        return Path(self.choice.folder, self.method, *length, f"seed-{self.seed}")

    @property
    def used(self) -> dict[str, str]:
        """Modality -> encoder, as people write it."""
        return dict(zip(COLUMNS, self.encoders, strict=False))

    @property
    def replaced(self) -> dict[str, str]:
        """Modality -> encoder that the recipe's is replaced by, as people write it."""
        return {modality: str(EncoderSpec.parse(encoder)) for modality, encoder in self.choice.encoders.items()}

    @property
    def row_title(self) -> str:
        """The method with the encoders that are not the recipe's: "DCMH, glove"."""
        return ", ".join([METHODS[self.method].title, *self.replaced.values()])

    @property
    def title(self) -> str:
        """For people: "DCMH, 16 bits, seed 0"."""
        parts = [self.row_title]
        parts += [] if self.bits is None else [f"{self.bits} bits"]
        return ", ".join(parts + ([f"seed {self.seed}"] if METHODS[self.method].is_stochastic else []))


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: which.
        kept: whether it was done before.
        seconds: of the whole, features and measuring included.
        reason: why there is none.
        failed: whether that is a fault of the program, and not one of the data or the settings.
    """

    task: Task
    kept: bool = False
    seconds: float = 0.0
    reason: str = ""
    failed: bool = False


class Worker:
    """One process's data, and the features of the method that it had last."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.dataset = plan.load()
        self._features: dict[str, FeatureSplits] = {}

    def do(self, task: Task) -> Outcome:
        """Train and measure, unless it has been done."""
        started = time.perf_counter()
        folder = self.plan.output_dir / task.folder
        try:
            recipe = self.plan.recipe(task, self.dataset)
            protocols = [get_protocol(name) for name in protocols_for(recipe, self.dataset)]
            asked = TrainingRun.of(recipe, self.dataset, self.plan.dataset, task.seed)
            if cached_run(asked, folder, protocols):
                return Outcome(task, kept=True)
            if not self.plan.trains:
                return Outcome(task, reason=NOT_TRAINED)
            features = self._features_of(recipe)
            train(
                recipe,
                self.dataset,
                self.plan.dataset,
                folder,
                seed=task.seed,
                protocols=protocols,
                resume=True,
                overwrite=True,
                command=self.plan.command(task),
                features=features,
                held_out=HELD_OUT,
            )
        except CMRError as error:
            return Outcome(task, reason=str(error))
        except Exception as error:  # one failure in many hours of training must not cost the others
            logger.exception("%s failed", task.title)
            return Outcome(task, reason=f"{type(error).__name__}: {error}", failed=True)
        return Outcome(task, seconds=time.perf_counter() - started)

    def _features_of(self, recipe: Recipe) -> FeatureSplits:
        encoders = {modality: spec.to_dict() for modality, spec in recipe.encoders.items()}
        key = json.dumps([encoders, recipe.captions, recipe.augmentations, recipe.train_rows], sort_keys=True)
        if key not in self._features:
            self._features.clear()  # two at a time may be too large
            self._features[key] = make_features(recipe, self.dataset, self.plan.dataset, HELD_OUT)
        return self._features[key]


class Clock:
    """Wall time of all that was trained in an output folder, however often it was interrupted."""

    def __init__(self, path: Path):
        self.path = path
        self.seconds = 0.0
        if path.exists():
            try:
                self.seconds = float(read_json(path)["seconds"])
            except (CheckpointError, KeyError, TypeError, ValueError) as error:
                set_aside(path, f"gives no seconds ({error})")
        self._last = time.perf_counter()

    def note(self, outcome: Outcome) -> None:
        """Count the time since the last outcome, unless nothing was done for this one."""
        now = time.perf_counter()
        if not outcome.kept:
            self.seconds += now - self._last
            with atomic_file(self.path) as scratch:
                scratch.write_text(json.dumps({"seconds": round(self.seconds, 1)}))
        self._last = now


def reproduce(plan: Plan, *, jobs: int = 1, earlier: Reproduction | None = None) -> tuple[Reproduction, list[Outcome]]:
    """Train and measure everything that is planned.

    Each training is done by one process with one thread, so that its figures hang neither on how many cores there are
    nor on what else is trained. All learn from the same pairs: of a data set without a validation split the same tenth
    is held out of closed forms too, which choose nothing on it. What is done is kept, a training that was interrupted
    goes on from its last saved epoch, and what fails on these data is told at the end and stops nothing else.

    Args:
        plan: what.
        jobs: how many processes train at a time.
        earlier: results on these data; what took long in them is begun first, and what they have is not said to be
            missing where nothing is trained.

    Returns:
        What the finished trainings measured, and what became of each.

    Raises:
        UnknownNameError: there is no such method or data set.
        DatasetError, DownloadError: the data are not to be had.
        InputError: nothing is planned, or nothing of it can be done; says why.
    """
    if not plan.seeds or jobs < 1:
        raise InputError(f"{len(plan.seeds)} seeds and {jobs} trainings at a time: one of each at least.")
    dataset = plan.load()  # downloads once, before workers ask for it
    check_splits(dataset, ["train", "test"], plan.dataset)
    tasks = longest_first(plan.tasks(dataset["train"].column_names), earlier)
    clock = Clock(plan.output_dir / "clock.json")
    outcomes: list[Outcome] = []
    for outcome in work(partial(Worker, plan), tasks, min(jobs, len(tasks))):
        outcomes.append(outcome)
        clock.note(outcome)
        what = outcome.reason or ("kept" if outcome.kept else f"{outcome.seconds:.1f} s")
        logger.info("%d/%d  %s: %s", len(outcomes), len(tasks), outcome.task.title, what)
    done = [plan.output_dir / outcome.task.folder for outcome in outcomes if not outcome.reason]
    pairs = {split: len(rows) for split, rows in dataset.items()}
    stored = earlier if earlier and earlier.pairs == pairs else None
    missing = not_measured([one for one in outcomes if one.reason != NOT_TRAINED or not is_stored(one.task, stored)])
    if not done:
        reasons = "\n".join(f"- {one.title}: {one.reason}" for one in missing or not_measured(outcomes))
        raise InputError(f"None of these methods has results on {plan.dataset!r}:\n{reasons}")
    checkpoints = find_checkpoints(done)
    (table,) = make_tables(checkpoints, shared_first(checkpoints))
    results = Reproduction(
        table=table,
        pairs=pairs,
        complete=not describe_sizes(info(plan.dataset), pairs),
        command=plan.command(),
        seconds=round(clock.seconds, 1),
        machine=machine(jobs),
        not_measured=missing,
    )
    return results, outcomes


def is_stored(task: Task, stored: Reproduction | None) -> bool:
    """Whether results have a row of a task, or say why there can be none."""
    if stored is None:
        return False
    reasons = [one for one in stored.not_measured if one.reason != NOT_TRAINED]
    return task.row_key in {row.key for row in stored.table.rows} or any(
        one.is_of(task.method, task.used) for one in reasons
    )


def longest_first(tasks: Sequence[Task], earlier: Reproduction | None) -> list[Task]:
    """Tasks by how long they took, so that at the end no process waits for a long one; what is not known first.

    Those of other encoders come after all of one choice of encoders, so that texts are not encoded again and again.
    """
    took = {(row.method, row.bits): row.seconds for row in earlier.table.rows} if earlier else {}
    choices = list(dict.fromkeys(task.choice.folder for task in tasks))

    def order(task: Task) -> tuple[int, float]:
        return choices.index(task.choice.folder), -took.get((task.method, task.bits), float("inf"))

    return sorted(tasks, key=order)


def not_measured(outcomes: Sequence[Outcome]) -> list[NotMeasured]:
    """What has no row, one line per method, encoders and reason, with the code lengths where others could."""
    groups: dict[tuple[str, str, str], list[Task]] = {}
    for outcome in outcomes:
        if outcome.reason:
            key = (outcome.task.method, outcome.task.row_title, outcome.reason)
            groups.setdefault(key, []).append(outcome.task)
    missing = []
    for (method, title, reason), tasks in groups.items():
        bits = sorted({task.bits for task in tasks if task.bits is not None})
        listed = f" ({', '.join(map(str, bits))} bits)" if bits else ""
        missing.append(NotMeasured(method, title + listed, reason, tasks[0].used))
    return sorted(missing, key=lambda one: (one.method, one.title))


def shared_first(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """The protocols that were measured under, those of many runs before those of few."""
    counts = Counter(entry["protocol"] for checkpoint in checkpoints for entry in checkpoint.run.results)
    by_class = [name for names in BY_CLASS.values() for name in names]
    known = [name for name in (*by_class, *BY_INSTANCE.values()) if name in counts]
    return list(dict.fromkeys([*known, *(name for name, _ in counts.most_common())]))


def protocols_for(recipe: Recipe, dataset: DatasetDict) -> list[str]:
    """Under what a method is measured: the same protocols as all of its kind, and those of its paper.

    The first also chooses the epoch: by class where there are classes, but by instance for what learns from single
    captions.
    """
    columns = set(dataset["train"].column_names)
    model = METHODS[recipe.method]
    by_class = BY_CLASS[model.representation] if has_labels(columns) else ()
    by_instance = (BY_INSTANCE[model.representation],) if has_captions(dataset) or not by_class else ()
    shared = (*by_instance, *by_class) if recipe.captions == "each" else (*by_class, *by_instance)
    own = [name for name in recipe.protocols if _is_defined(get_protocol(name), dataset)]
    return list(dict.fromkeys([*shared, *own]))


def _is_defined(protocol: Protocol, dataset: DatasetDict) -> bool:
    """Whether the data have what a protocol needs: classes, also for the part that a focus weighs; several texts."""
    needs_classes = protocol.relevance == "class" or protocol.focus is not None
    has_classes = has_labels(dataset["train"].column_names)
    return (has_classes or not needs_classes) and (protocol.captions != "each" or has_captions(dataset))


def has_captions(dataset: DatasetDict) -> bool:
    """Whether items have several texts, by which the very item can be asked for."""
    test = dataset["test"]
    return "texts" in test.column_names and max(map(len, test["texts"][:]), default=0) > 1
