"""Measuring retrieval: metrics, the papers' protocols, and one evaluator for both directions."""

from .captions import number_texts, spread_captions
from .directions import DIRECTION_TITLES, DIRECTIONS
from .evaluator import EvaluationResult, RetrievalEvaluator, evaluate_embeddings
from .over_seeds import MeanStd, decimals
from .protocols import Protocol, get_protocol, list_protocols
from .retrievers import evaluate

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
