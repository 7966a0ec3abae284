"""Scores of checkpoints that there are not, for tests of what is made of them."""

from __future__ import annotations

from cmr_hub.evaluation import get_protocol
from cmr_hub.results.leaderboard import Figures, Score


def score(name: str, protocol: str = "dscmr", mean: float = 0.5, **changes) -> Score:
    """A score of "me/<name>" whose directions lie .1 to either side of the mean."""
    definition = get_protocol(protocol)
    given = {
        "checkpoint": f"me/{name}",
        "method": "cca",
        "title": name.upper(),
        "supervision": "unsupervised",
        "dataset": "wiki",
        "bits": None,
        "protocol": protocol,
        "description": definition.describe(),
        "metric": definition.primary_metric,
        "measured": Figures(mean + 0.1, mean - 0.1, mean),
        "seeds": (0,),
        "encoders": {"image": "efficientnet-lite0", "text": "glove"},
    }
    return Score(**{**given, **changes})
