"""Yes/no questions about the images of a data set, answered from its captions and classes.

The answers are made, not human: yes where a caption or the class names what is asked for, no where neither does. That
captions are silent about a thing is weak evidence that it is not there, so some of the noes are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from cmr_hub.data.base import TEXTS, hash_order
from cmr_hub.data.columns import read_column
from cmr_hub.data.labels import class_names, has_labels, label_matrix
from cmr_hub.errors import InputError

from .naming import Words, pattern_of, plain, read_words

ANSWERS = ("no", "yes")
FEATURES = Features(
    {"id": Value("string"), "image": Image(), "texts": TEXTS, "label": ClassLabel(names=list(ANSWERS))}
)


def make_questions(dataset: DatasetDict, words: Words, share: float) -> DatasetDict:
    """Questions about the images of each split, in the columns of any other data set.

    In every split each question is asked of as many images where the answer is yes as of images where it is no:
    the question alone is uninformative. Which images, a hash of their ids decides.

    Args:
        dataset: splits with the columns `id`, `image`, `texts` and, where there are classes, `label` or `labels`.
        words: question -> the words (or several words in a row) that mean yes, in the singular or as they stand: a
            plural in "s" or "es" counts as well.
        share: a question is asked of at most this share of a split's images for either answer.

    Returns:
        The same splits. A row is a question about an image: `id`, `image`, `texts` (the question alone), `label`
        ("no" or "yes").

    Raises:
        InputError: a column is missing, or there is a split where no question that training asks has both answers.

    Example:
    ```python
    >>> from cmr_hub.data import load_dataset
    >>> questions = make_questions(load_dataset("emoji"), {"is there a cat in the image?": ["cat"]}, share=0.03)
    >>> questions["train"][0]["texts"], questions["train"].features["label"].names
    (['is there a cat in the image?'], ['no', 'yes'])
    ```
    """
    asked = {split: _ask(images, words, share) for split, images in dataset.items()}
    learned = {entry.question for entry in asked["train"]}
    questions = DatasetDict()
    for split, entries in asked.items():
        entries = [entry for entry in entries if entry.question in learned]
        if not entries:
            raise InputError(
                f"No question has both answers in the {split} split: ask for things that captions or classes of some "
                f"of its images name and of others do not, or ask about a greater share of them than {share}."
            )
        questions[split] = _to_dataset(dataset[split], entries)
    return questions


def default_questions(dataset: str) -> Words:
    """The questions that are kept for a data set, and what means yes.

    Raises:
        InputError: there are none.
    """
    kept = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    if dataset not in kept:
        raise InputError(
            f"No questions are kept for {dataset!r}, only for {', '.join(kept)}: write some into a YAML file, and "
            "name it with --questions."
        )
    return kept[dataset]


def read_questions(path: Path) -> Words:
    """Questions from a YAML file of lines as `is there a cat in the image?: [cat, kitten]`.

    Raises:
        InputError: the file is missing or holds something else.
    """
    return read_words(path, "is there a cat in the image?: [cat, kitten]")


class _Asked(NamedTuple):
    """A question about the image in a row of a split; the answer by its place in `ANSWERS`."""

    question: str
    row: int
    answer: int


def _ask(images: Dataset, words: Words, share: float) -> list[_Asked]:
    """The questions of one split, in an order fixed by ids."""
    missing = [column for column in ("id", "image", "texts") if column not in images.column_names]
    if missing:
        raise InputError(
            f"Questions are made from images and captions, and the data set has no column {missing[0]!r}, only "
            f"{', '.join(images.column_names)}."
        )
    ids = images["id"][:]
    said = [plain(texts + classes) for texts, classes in zip(images["texts"][:], _classes(images), strict=True)]
    most = int(share * len(images))
    asked = []
    for question, naming in words.items():
        pattern = pattern_of(naming)
        rows: tuple[list[int], list[int]] = ([], [])
        for row in _shuffled([f"{item} {question}" for item in ids]):
            rows[pattern.search(said[row]) is not None].append(row)
        balanced = min(most, *map(len, rows))
        asked += [_Asked(question, row, answer) for answer in (0, 1) for row in rows[answer][:balanced]]
    return [asked[place] for place in _shuffled([f"{entry.question} {ids[entry.row]}" for entry in asked])]


def _shuffled(names: Sequence[str]) -> list[int]:
    """Places in `names`, in an order fixed by the names alone."""
    return sorted(range(len(names)), key=[hash_order(name) for name in names].__getitem__)


def _classes(images: Dataset) -> list[list[str]]:
    """The class names of each image; none where the data set has no classes."""
    if not has_labels(images.column_names):
        return [[]] * len(images)
    names = class_names(images)
    return [[names[column] for column in row.nonzero()[0]] for row in label_matrix(images)]


def _to_dataset(source: Dataset, asked: Sequence[_Asked]) -> Dataset:
    ids, images = source["id"][:], read_column(source, "image")
    columns = {
        "id": [f"{ids[entry.row]}: {entry.question}" for entry in asked],
        "image": [images[entry.row] for entry in asked],
        "texts": [[entry.question] for entry in asked],
        "label": [entry.answer for entry in asked],
    }
    return Dataset.from_dict(columns, features=FEATURES, split=source.split)
