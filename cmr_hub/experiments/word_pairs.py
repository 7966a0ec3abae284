"""How alike vectorisers find pairs of related words: the comparison in Bhatt and Ganatra, PeerJ CS 2021 (figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, cast

import torch
import yaml
from datasets import Dataset

from cmr_hub.data.columns import column_of
from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.base import TextEncoder
from cmr_hub.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The paper's four: title -> encoder's name and options.
VECTORISERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "BoW": ("bow", {}),
    "CBOW": ("word2vec", {"algorithm": "cbow"}),
    "skip-gram": ("word2vec", {"algorithm": "skip-gram"}),
    "GloVe": ("glove", {}),
}
UNKNOWN = "–"

WordPair = tuple[str, str]


@dataclass(frozen=True)
class WordPairTable:
    """Cosines of word pairs under several vectorisers.

    Attributes:
        pairs: the word pairs.
        cosines: vectoriser -> one cosine a pair, None where it lacks one of the two words.
    """

    pairs: Sequence[WordPair]
    cosines: Mapping[str, Sequence[float | None]]

    def rows(self) -> list[tuple[str, list[float | None]]]:
        """A row a pair, and their mean (over the pairs that a vectoriser knows) as the last."""
        columns = list(self.cosines.values())
        known = [[value for value in column if value is not None] for column in columns]
        return [
            *((f"{a} / {b}", [column[row] for column in columns]) for row, (a, b) in enumerate(self.pairs)),
            ("mean", [mean(values) if values else None for values in known]),
        ]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"{'':{width}}" + "".join(f"  {title:>9}" for title in self.cosines)]
        for name, values in rows:
            shown = (UNKNOWN if value is None else f"{value:.3f}" for value in values)
            lines.append(f"{name:{width}}" + "".join(f"  {value:>9}" for value in shown))
        return "\n".join(lines)


def compare_vectorisers(
    train: Dataset,
    pairs: Sequence[WordPair],
    vectorisers: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> WordPairTable:
    """Fit each vectoriser on a training split's texts and measure all pairs.

    Args:
        train: a data set with a column `texts`.
        pairs: the word pairs.
        vectorisers: title -> a text encoder's name and options.

    Raises:
        InputError: the data set has no texts.
        UnknownNameError: there is no such text encoder.
    """
    texts = [text for several in train[column_of(train, "text", accepts_raw_input=True)][:] for text in several]
    return WordPairTable(
        pairs,
        {
            title: cosines(cast(TextEncoder, create_encoder("text", name, **options)).fit(texts), pairs)
            for title, (name, options) in vectorisers.items()
        },
    )


def cosines(encoder: TextEncoder, pairs: Sequence[WordPair]) -> list[float | None]:
    """The cosine of each pair's two vectors; None where the encoder lacks one of the words."""
    first, second = (list(words) for words in zip(*pairs, strict=True))
    likeness = torch.cosine_similarity(encoder.encode(first), encoder.encode(second)).tolist()
    known = zip(encoder.has_known_tokens(first), encoder.has_known_tokens(second), strict=True)
    return [value if all(both) else None for value, both in zip(likeness, known, strict=True)]


def parse_pairs(given: Sequence[str]) -> list[WordPair]:
    """`["airplane:plane"]` to `[("airplane", "plane")]`.

    Raises:
        InputError: something that is not two words with a colon between them.
    """
    pairs = []
    for written in given:
        first, _, second = (part.strip() for part in written.partition(":"))
        if not (first and second) or ":" in second:
            raise InputError(f"Write word pairs as WORD:WORD, not {written!r}.")
        pairs.append((first, second))
    return pairs


def default_pairs(dataset: str) -> list[WordPair]:
    """The pairs that are kept for a data set.

    Raises:
        InputError: there are none.
    """
    kept = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    if dataset not in kept:
        raise InputError(
            f"No word pairs are kept for {dataset!r}, only for {', '.join(kept)}: name some with --pairs."
        )
    return parse_pairs(kept[dataset])


def draw(table: WordPairTable) -> Figure:
    """A grouped bar plot: a group a row of the table, a bar a vectoriser; a missing cosine has no bar."""
    from matplotlib.figure import Figure

    rows = table.rows()
    figure = Figure(figsize=(max(6.0, 1.1 * len(rows)), 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(table.cosines)
    for bar, title in enumerate(table.cosines):
        bars = {
            place + bar * width: value for place, (_, values) in enumerate(rows) if (value := values[bar]) is not None
        }
        axes.bar(list(bars), list(bars.values()), width, align="edge", label=title)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([place + 0.4 for place in range(len(rows))], [name for name, _ in rows], rotation=30, ha="right")
    axes.set_ylabel("cosine similarity")
    axes.legend(ncols=len(table.cosines), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure
