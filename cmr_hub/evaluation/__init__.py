"""Measuring retrieval: metrics, the papers' protocols, and one evaluator for both directions."""

from .captions import number_texts, spread_captions
from .evaluator import EvaluationResult, RetrievalEvaluator, evaluate_embeddings
from .protocols import Protocol, get_protocol, list_protocols

__all__ = [
    "EvaluationResult",
    "Protocol",
    "RetrievalEvaluator",
    "evaluate_embeddings",
    "get_protocol",
    "list_protocols",
    "number_texts",
    "spread_captions",
]
