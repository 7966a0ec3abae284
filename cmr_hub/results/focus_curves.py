"""How the scores of checkpoints change with the focus of queries, as they measured it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cmr_hub.errors import CMRError
from cmr_hub.evaluation import Protocol, get_protocol

from .leaderboard import Score


@dataclass(frozen=True)
class FocusCurve:
    """The scores of one checkpoint under one protocol, at each focus that was measured.

    Attributes:
        protocol: the protocol, without a focus.
        scores: focus -> score, by ascending focus.
    """

    protocol: Protocol
    scores: dict[float, Score]

    @property
    def of(self) -> Score:
        """Any of the scores: they are of one checkpoint."""
        return next(iter(self.scores.values()))


def focus_of(protocol: str) -> float | None:
    """The focus of a protocol, by its name; None where it has none, or this version does not know the protocol.

    Example:
    ```python
    >>> focus_of("dscmr(focus=0.25)"), focus_of("dscmr")
    (0.25, None)
    ```
    """
    try:
        return get_protocol(protocol).focus
    except CMRError:
        return None


def without_focus(scores: Iterable[Score]) -> list[Score]:
    """The scores under protocols that have no focus."""
    return [score for score in scores if focus_of(score.protocol) is None]


def focus_curves(scores: Iterable[Score]) -> list[FocusCurve]:
    """The scores under protocols that differ in their focus alone, two of them at least: checkpoint by checkpoint."""
    found: dict[tuple[str, Protocol], dict[float, Score]] = {}
    for score in scores:
        focus = focus_of(score.protocol)
        if focus is not None:
            found.setdefault((score.checkpoint, get_protocol(score.protocol, focus=None)), {})[focus] = score
    return [
        FocusCurve(protocol, dict(sorted(by_focus.items())))
        for (_, protocol), by_focus in found.items()
        if len(by_focus) > 1
    ]
