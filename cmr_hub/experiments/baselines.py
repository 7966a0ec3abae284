"""What answers to questions are to be held against: no look at the image, and a classifier a question."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cmr_hub.training.datasets import Pairs, Rows
from cmr_hub.utils.extras import require

require("sklearn", "train", "A classifier per question")
from sklearn.linear_model import LogisticRegression  # noqa: E402

ROWS_AT_ONCE = 256  # of regions' features, that is 64 MB
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisations, of which validation questions choose


def majority_answers(train: Sequence[str], answers: np.ndarray, asked: Sequence[str]) -> np.ndarray:
    """The answer that each question has most often in training (of equals the first of the classes).

    Args:
        train: the `m` training questions.
        answers: `(m,)` integers, their answers.
        asked: `n` questions.

    Returns:
        `(n,)` integers.

    Example:
    ```python
    >>> majority_answers(["a?", "a?", "a?", "b?"], np.array([0, 1, 1, 0]), ["b?", "a?"]).tolist()
    [0, 1]
    ```
    """
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for question, answer in zip(train, answers.tolist(), strict=True):
        counts[question][answer] += 1
    most = {question: max(sorted(seen), key=seen.__getitem__) for question, seen in counts.items()}
    return np.array([most[question] for question in asked])


def blinded(pairs: Pairs, train: Pairs) -> Pairs:
    """The same questions about one image, the mean of the training questions' images."""
    images: dict[str, Any] = {}
    for name, rows in train.images.items():
        mean = torch.stack([batch.double().sum(dim=0) for batch in _batches(rows)]).sum(dim=0) / len(rows)
        images[name] = mean.float().expand(len(pairs), *mean.shape)
    return Pairs(pairs.caption_to_image, labels=pairs.labels, **{**pairs.texts, **images})


def regression_answers(questions: Mapping[str, Sequence[str]], pairs: dict[str, Pairs]) -> np.ndarray:
    """The answers of a logistic regression a question, on the mean of an image's regions.

    It learns from the same training questions as a model does; of several strengths of regularisation the one that
    answers the most validation questions rightly is taken, for all questions together.

    Args:
        questions: "train", "validation" and "test" -> the questions, which "train" has all.
        pairs: likewise, with region features `(n, regions, dim)` and one-hot labels.

    Returns:
        `(n,)` integers, answers to the test questions.
    """
    pooled = {split: _pooled(of_split) for split, of_split in pairs.items()}
    mean, deviation = pooled["train"].mean(axis=0), pooled["train"].std(axis=0)
    pooled = {split: (features - mean) / np.maximum(deviation, 1e-6) for split, features in pooled.items()}
    answers = {split: of_split.required_labels.argmax(dim=1).numpy() for split, of_split in pairs.items()}
    rows = {split: _rows_by_question(asked) for split, asked in questions.items()}

    def predicted(strength: float) -> dict[str, np.ndarray]:
        found = {split: np.empty_like(answers[split]) for split in ("validation", "test")}
        for question, learned in rows["train"].items():
            regression = LogisticRegression(C=strength, max_iter=1000)
            regression.fit(pooled["train"][learned], answers["train"][learned])
            for split, values in found.items():
                if question in rows[split]:
                    values[rows[split][question]] = regression.predict(pooled[split][rows[split][question]])
        return found

    candidates = [predicted(strength) for strength in STRENGTHS]
    best = max(candidates, key=lambda found: (found["validation"] == answers["validation"]).mean())
    return best["test"]


def _rows_by_question(asked: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, question in enumerate(asked):
        rows[question].append(row)
    return rows


def _pooled(pairs: Pairs) -> np.ndarray:
    (features,) = pairs.images.values()
    return torch.cat([batch.mean(dim=1) for batch in _batches(features)]).numpy()


def _batches(rows: Rows) -> Iterator[torch.Tensor]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
