"""The scores of one data set under one protocol after another. No user interface in here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cmr_hub.data import list_datasets
from cmr_hub.errors import CheckpointError
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.results.leaderboard import Score, list_scores, read_scores
from cmr_hub.retrieval.prepared import prepared_galleries

logger = logging.getLogger(__name__)


def known_scores() -> list[Score]:
    """The scores of the bundled checkpoints, and of those that were trained here when a gallery was prepared.

    A record that is damaged or of other weights, as a training that was stopped leaves it, is left out.

    Raises:
        CheckpointError: a record of a bundled checkpoint is damaged.
    """
    prepared = [gallery.parent for name in list_datasets() for gallery in prepared_galleries(name).values()]
    scores = list_scores()
    for folder in prepared:
        if (folder / RUN_NAME).exists():
            try:
                scores += read_scores(folder)
            except CheckpointError as error:
                logger.warning("No scores of a checkpoint that was trained here: %s", error)
    return scores


@dataclass(frozen=True)
class Scoreboard:
    """Scores that are shown together.

    Attributes:
        scores: checkpoint by checkpoint, each in the order of its card.
    """

    scores: Sequence[Score]

    @cached_property
    def usual(self) -> str:
        """The protocol that most of the cards lead with; the others are compared with it."""
        leading: dict[str, str] = {}
        for score in self.scores:
            leading.setdefault(score.checkpoint, score.protocol)
        return Counter(leading.values()).most_common(1)[0][0]

    @cached_property
    def protocols(self) -> list[str]:
        """All protocols, the usual one first."""
        others = {score.protocol for score in self.scores} - {self.usual}
        return [self.usual, *sorted(others)]

    def ranking(self, protocol: str) -> list[Score]:
        """The scores under a protocol, best mean first."""
        under = [score for score in self.scores if score.protocol == protocol]
        return sorted(under, key=_mean, reverse=True)

    def change(self, score: Score) -> float | None:
        """How much a checkpoint's mean differs from its own under the usual protocol.

        None where that is not known, or is another measure.
        """
        usual = self._usual_scores.get(score.checkpoint)
        return _mean(score) - _mean(usual) if usual and usual.metric == score.metric else None

    def moved(self, protocol: str) -> int:
        """How many checkpoints stand at another place than under the usual protocol.

        Only those of the same data set that were measured by both count.
        """
        now = [name for name in self._places(protocol) if name in self._usual_scores]
        before = [name for name in self._places(self.usual) if name in now]
        return sum(one != other for one, other in zip(now, before, strict=True))

    def _places(self, protocol: str) -> list[str]:
        """The checkpoints, data set by data set, each best first."""
        return [score.checkpoint for score in sorted(self.ranking(protocol), key=lambda score: score.dataset)]

    @cached_property
    def _usual_scores(self) -> dict[str, Score]:
        return {score.checkpoint: score for score in self.scores if score.protocol == self.usual}


def _mean(score: Score) -> float:
    """The mean of both directions; what is measured always has one."""
    assert score.measured.mean is not None
    return score.measured.mean
