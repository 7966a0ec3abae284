"""The numbers of an evaluation, with the protocol that defines them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .directions import DIRECTION_TITLES, DIRECTIONS
from .protocols import Protocol


@dataclass(frozen=True)
class EvaluationResult:
    """Numbers, and the protocol without which they mean nothing.

    Attributes:
        protocol: how they came about.
        metrics: "image_to_text/map", "text_to_image/recall@5" …; and without a direction the mean of both. Of own
            pairs "mean_recall" is the mean over all k, so that without a direction it is the papers' mR.
        similarity: what the ranking is by: "cosine" or "Hamming".
        queries: number of queries of each direction.
        gallery: number of gallery items of each direction.
        curves: on request, for each direction its precision-recall curve: "recall" and "precision" at 11 recall
            levels; for codes also "lookup_precision" and "lookup_recall" by Hamming radius, of all queries together as
            the hashing papers count them, and "mean_lookup_precision" and "mean_lookup_recall", query by query.
    """

    protocol: Protocol
    metrics: dict[str, float]
    similarity: str
    queries: dict[str, int]
    gallery: dict[str, int]
    curves: dict[str, dict[str, list[float]]] | None = None

    @property
    def primary_metric(self) -> str:
        """The key in `metrics` of the number that runs are compared by."""
        return self.protocol.primary_metric

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; "protocol_description" is the protocol's line."""
        return {
            **asdict(self),
            "primary_metric": self.primary_metric,
            "protocol_description": self.protocol.describe(),
        }

    def table(self) -> str:
        """A table for people, the protocol beneath it.

        Example:
        ```python
        >>> import numpy as np
        >>> from cmr_hub.evaluation import evaluate_embeddings
        >>> eye = np.eye(2, dtype=np.float32)
        >>> print(evaluate_embeddings(eye, eye, np.array([0, 1])).table().splitlines()[1])
        map             1.0000         1.0000   1.0000
        ```
        """
        first = f"{DIRECTIONS[0]}/"
        names = [key.removeprefix(first) for key in self.metrics if key.startswith(first)]
        width = max(len(name) for name in [*names, "queries", "gallery"])
        titles = "  ".join(f"{DIRECTION_TITLES[direction]:>13}" for direction in DIRECTIONS)
        lines = [f"{'':{width}}  {titles}  {'mean':>7}"]
        for name in names:
            both = "  ".join(f"{self.metrics[f'{direction}/{name}']:13.4f}" for direction in DIRECTIONS)
            mean = f"{self.metrics[name]:7.4f}" if name in self.metrics else ""
            lines.append(f"{name:{width}}  {both}  {mean}".rstrip())
        for name, sizes in (("queries", self.queries), ("gallery", self.gallery)):
            lines.append(f"{name:{width}}  " + "  ".join(f"{sizes[direction]:13,}" for direction in DIRECTIONS))
        return "\n".join([*lines, f"by {self.similarity} · protocol {self.protocol.describe()}"])
