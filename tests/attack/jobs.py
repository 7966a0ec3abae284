"""Jobs that write to disk and are stopped in the middle: preparation, work, and what must hold afterwards."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from datasets import Dataset, DatasetDict

import cmr_hub
from attempts import Failure
from closeness import assert_results
from cmr_hub import Gallery
from cmr_hub.errors import CMRError
from cmr_hub.evaluation import evaluate
from cmr_hub.retrieval import gallery_building
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.train import train
from saved import (
    SHARD_ROWS,
    Answer,
    Saved,
    answers_of,
    everything,
    pixel_retriever,
    raw_items,
    same,
    store_features,
    transformers_retriever,
    vectors_retriever,
)
from toys import feature_dataset

TOLERANCE = 1e-3  # of metrics
ROWS_AT_ONCE = 4  # embedded between two updates of the progress bar


class Job(ABC):
    """A job that is stopped.

    Args:
        scratch: a folder for what the check compares with.

    Attributes:
        group: kind of what is written.
        name: of what is written, within its group.
        peak: disk space that the job needs at most, in terms of the space of its result.
    """

    group: str
    name: str
    peak = 1.0

    def __init__(self, scratch: Path):
        self.scratch = scratch

    def start(self, folder: Path) -> None:  # noqa: B027  there may be nothing before
        """Write what is in the folder before."""

    @abstractmethod
    def work(self, folder: Path) -> None:
        """Do the work that is stopped."""

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Check what must hold afterwards, and that the work can be done again.

        Raises:
            Failure: something was lost, or is half old and half new.
        """


class Save(Job):
    """Save the second variant over the first."""

    def __init__(self, scratch: Path, saved: Saved):
        super().__init__(scratch)
        self.saved, self.group, self.name = saved, f"save a {saved.group}", saved.name

    def start(self, folder: Path) -> None:
        self.saved.save(folder, 0)

    def work(self, folder: Path) -> None:
        self.saved.save(folder, 1)

    def check(self, folder: Path) -> None:
        found = self.saved.ask(folder)
        if not any(same(found, answer) for answer in self._answers):
            raise Failure("what is there is neither the old nor the new")
        self.work(folder)
        if not same(self.saved.ask(folder), self._answers[1]):
            raise Failure("saved again, it is not the new one")
        _check_files(folder, self._files)

    @cached_property
    def _answers(self) -> list[Answer]:
        return [self.saved.ask(path) for path in self._clean]

    @cached_property
    def _files(self) -> list[str]:
        return _files(self._clean[1])

    @cached_property
    def _clean(self) -> list[Path]:
        """Folders of both variants, whose saves were not stopped."""
        return [self.saved.make(self.scratch / self.name, variant) for variant in (0, 1)]


class Build(Job):
    """Build a gallery shard by shard."""

    group = "build"

    def __init__(
        self, scratch: Path, name: str, source: Callable[[], Dataset], retriever: Callable[[], cmr_hub.Retriever]
    ):
        super().__init__(scratch)
        self.name, self._source, self._retriever = name, source, retriever

    def work(self, folder: Path) -> None:
        self._build(folder)

    def check(self, folder: Path) -> None:
        try:
            opened = Gallery.from_pretrained(folder, retriever=self._retriever())
        except CMRError:
            pass
        else:
            if not same(answers_of(opened), self._expected):
                raise Failure("a part is taken for the whole gallery")
        if not same(answers_of(self._build(folder)), self._expected):
            raise Failure("built on, it is another gallery")
        self._check_left(folder)

    def _check_left(self, folder: Path) -> None:
        left = [path for path in _files(folder) if "partial" in path or path.startswith(".")]
        if left:
            raise Failure(f"left behind: {', '.join(left)}")

    def _build(self, folder: Path, items: Dataset | None = None) -> Gallery:
        options = {"name": "Built", "shard_rows": SHARD_ROWS, "show_progress": False, "remove_missing": True}
        with patch.object(gallery_building, "CHUNK_ROWS", ROWS_AT_ONCE):
            return Gallery.build(self._source() if items is None else items, self._retriever(), folder, **options)

    @cached_property
    def _expected(self) -> Answer:
        return answers_of(Gallery.from_dataset(self._source(), self._retriever(), name="Built", cache=False))


class Update(Build):
    """Bring a gallery up to date: some of its items are gone, and others are new."""

    group = "update"

    def start(self, folder: Path) -> None:
        self._build(folder, self._before)

    @property
    def _before(self) -> Dataset:
        items = self._source()
        return items.select([row for row in range(len(items)) if row % 3 != 1])

    def work(self, folder: Path) -> None:
        self._build(folder, self._after)

    @property
    def _after(self) -> Dataset:
        items = self._source()
        return items.select([row for row in range(len(items)) if row % 4 != 2])

    def check(self, folder: Path) -> None:
        opened = Gallery.from_pretrained(folder, retriever=self._retriever())
        if not any(same(answers_of(opened), expected) for expected in self._both):
            raise Failure("what is there is neither the old nor the new")
        if not same(answers_of(self._build(folder, self._after)), self._both[1]):
            raise Failure("brought up to date again, it is not the new one")
        self._check_left(folder)

    @cached_property
    def _both(self) -> list[Answer]:
        galleries = (
            self._build(self.scratch / self.name / str(n), s) for n, s in enumerate((self._before, self._after))
        )
        return [answers_of(gallery) for gallery in galleries]


class Store(Job):
    """Store the features of images."""

    group, name = "store features", "features"

    def work(self, folder: Path) -> None:
        store_features(folder, transformers_retriever(self.scratch, 0))

    def check(self, folder: Path) -> None:
        self._check_rows(store_features(folder, transformers_retriever(self.scratch, 0)))
        left = [path for path in _files(folder) if "/." in path or path.startswith(".")]
        if left:
            raise Failure(f"left behind: {', '.join(left)}")

    def _check_rows(self, found: Answer) -> None:
        if not same(found, store_features(self.scratch / "features", transformers_retriever(self.scratch, 0))):
            raise Failure("stored features are others than those of the encoder")


class Train(Job):
    """Train a method by gradient; go on with `resume`.

    Args:
        over: the seed of a finished run that is in the folder already, if any.
    """

    group = "train"
    peak = 8.0  # the optimiser's states

    def __init__(self, scratch: Path, over: int | None = None):
        super().__init__(scratch)
        self.over, self.name = over, "anew" if over is None else "over a finished run"
        self._runs: dict[int, TrainingRun] = {}

    def start(self, folder: Path) -> None:
        if self.over is not None:
            shutil.copytree(self._finished(self.over), folder)

    def work(self, folder: Path) -> None:
        self._train(folder, 0)

    def check(self, folder: Path) -> None:
        self._check_record(folder)
        run = self._train(folder, 0, resume=True)
        finished = self._finished(0)
        _check_alike(run, self._runs[0])
        self._check_record(folder)
        _check_files(folder, _files(finished))

    def _check_record(self, folder: Path) -> None:
        """The record of a run is one of the weights next to it."""
        try:
            record, retriever = TrainingRun.load(folder), cmr_hub.from_pretrained(folder)
        except CMRError:
            return
        measured = evaluate(retriever, _pairs()["test"], "dscmr").metrics
        for name, value in record.results[0]["metrics"].items():
            if abs(measured[name] - value) > TOLERANCE:
                raise Failure(f"the record says {name} {value}, and the weights next to it have {measured[name]:.4f}")

    def _finished(self, seed: int) -> Path:
        """A run that nobody stopped."""
        folder = self.scratch / f"{self.name}-{seed}"
        if seed not in self._runs:
            self._runs[seed] = self._train(folder, seed)
        return folder

    @staticmethod
    def _train(folder: Path, seed: int, **options: Any) -> TrainingRun:
        return train(_recipe(), _pairs(), "toy", folder, seed=seed, overwrite=True, **options)


def _check_alike(found: TrainingRun, expected: TrainingRun) -> None:
    try:
        assert_results(found.results, expected.results)
    except AssertionError as error:
        raise Failure(f"resumed, the run comes to other results: {str(error)[:200]}") from error


def _recipe() -> Recipe:
    recipe = load_recipe("dscmr").changed(encoders={"image": "precomputed", "text": "precomputed"})
    settings = {"num_train_epochs": 4, "learning_rate": 3e-3, "per_device_train_batch_size": 20}
    return recipe.changed(config={"hidden_dim": 16, "embed_dim": 8}, training=settings)


def _pairs() -> DatasetDict:
    return DatasetDict(
        train=feature_dataset(60), validation=feature_dataset(30, 1, "val"), test=feature_dataset(40, 2, "test")
    )


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _check_files(folder: Path, expected: list[str]) -> None:
    if extra := set(_files(folder)) - set(expected):
        raise Failure(f"left behind: {', '.join(sorted(extra)[:5])}")


def all_jobs(folder: Path) -> dict[str, Job]:
    """All kinds of work by their names.

    Args:
        folder: scratch space.
    """

    def gallery(name: str, rows: Callable[[int], Dataset], retriever: Callable[[], cmr_hub.Retriever]) -> Saved:
        def save(path: Path, variant: int) -> None:
            made = Gallery.from_dataset(rows(variant), retriever(), name=f"Variant {variant}", cache=False)
            made.save_pretrained(path)

        return Saved(
            "gallery", name, save, lambda path: answers_of(Gallery.from_pretrained(path, retriever=retriever()))
        )

    def vectors(variant: int) -> Dataset:
        return feature_dataset(40 - 20 * variant, seed=variant)

    def closed_form() -> cmr_hub.Retriever:
        return vectors_retriever("cca", 0)

    def pixels(variant: int) -> Dataset:
        return raw_items(folder / f"pixels-{os.getpid()}-{variant}", variant)

    own = folder / f"jobs-{os.getpid()}"
    saved = [kind for kind in everything(own / "made") if kind.group not in ("gallery", "features")]
    saved += [gallery("vectors", vectors, closed_form), gallery("pixels", pixels, lambda: pixel_retriever(0))]
    jobs: list[Job] = [
        *(Save(own, kind) for kind in saved),
        Build(own, "built vectors", lambda: vectors(0), closed_form),
        Update(own, "updated vectors", lambda: vectors(0), closed_form),
        Build(own, "built codes", lambda: vectors(0), lambda: vectors_retriever("sh", 0)),
        Store(own),
        Train(own),
        Train(own, over=1),
    ]
    return {job.name: job for job in jobs}
