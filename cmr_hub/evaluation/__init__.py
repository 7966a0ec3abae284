"""Measure retrieval in both directions: metrics, the protocols of papers, and an evaluator.

What measures is imported when it is first used: the names of the protocols need no torch.
"""

from typing import TYPE_CHECKING, Any

from cmr_hub.utils.deprecation import renamed_module_attributes
from cmr_hub.utils.lazy_imports import lazy_attributes

from .directions import DIRECTION_TITLES, DIRECTIONS
from .protocols import Protocol, default_protocol, fitted, get_protocol, list_protocols

if TYPE_CHECKING:
    from .captions import number_texts, spread_captions
    from .embeddings import evaluate_embeddings
    from .evaluator import RetrievalEvaluator
    from .over_seeds import MeanStd, decimals
    from .result import EvaluationResult
    from .retrievers import evaluate
else:
    _HOMES = {
        "EvaluationResult": "result",
        "MeanStd": "over_seeds",
        "RetrievalEvaluator": "evaluator",
        "decimals": "over_seeds",
        "evaluate": "retrievers",
        "evaluate_embeddings": "embeddings",
        "number_texts": "captions",
        "spread_captions": "captions",
    }
    _lazy = lazy_attributes(__name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()})
    _renamed = renamed_module_attributes(__name__, {"Spread": "MeanStd"})

    def __getattr__(name: str) -> Any:
        return _lazy(name) if name in _HOMES else _renamed(name)


__all__ = [
    "DIRECTIONS",
    "DIRECTION_TITLES",
    "EvaluationResult",
    "MeanStd",
    "Protocol",
    "RetrievalEvaluator",
    "decimals",
    "default_protocol",
    "evaluate",
    "evaluate_embeddings",
    "fitted",
    "get_protocol",
    "list_protocols",
    "number_texts",
    "spread_captions",
]
