"""Measure retrieval in both directions: metrics, the protocols of papers, and an evaluator."""

from typing import TYPE_CHECKING

from cmr_hub.utils.deprecation import renamed_module_attributes

from .captions import number_texts, spread_captions
from .directions import DIRECTION_TITLES, DIRECTIONS
from .embeddings import evaluate_embeddings
from .evaluator import RetrievalEvaluator
from .over_seeds import MeanStd, decimals
from .protocols import Protocol, get_protocol, list_protocols
from .result import EvaluationResult
from .retrievers import evaluate

if not TYPE_CHECKING:  # for which these names do not exist
    __getattr__ = renamed_module_attributes(__name__, {"Spread": "MeanStd"})

__all__ = [
    "DIRECTIONS",
    "DIRECTION_TITLES",
    "EvaluationResult",
    "MeanStd",
    "Protocol",
    "RetrievalEvaluator",
    "decimals",
    "evaluate",
    "evaluate_embeddings",
    "get_protocol",
    "list_protocols",
    "number_texts",
    "spread_captions",
]
