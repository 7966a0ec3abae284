"""What protocols that choose the epoch on the test split would report of a training that chooses it on validation."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerState

from cmr_hub.evaluation import Protocol
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.retrieval.retriever import Retriever

from .datasets import FeatureSplits
from .evaluate import measure


class WatchedEpochs(TrainerCallback):
    """Measures each epoch on the test split under one protocol, and tells the best; training is not touched by it.

    That is what some references report. The figure is of an epoch that is not the one kept, and of no more epochs than
    the training had. It stands in the Trainer's own log, so that a resumed training knows the epochs before.
    """

    def __init__(self, protocol: Protocol, features: FeatureSplits, processor: CMRProcessor):
        self.protocol, self.features, self.processor = protocol, features, processor

    @property
    def _key(self) -> str:
        return f"watched_{self.protocol.name}"

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        result = measure(Retriever(model, self.processor), self.features, self.protocol)
        metrics = {name: round(value, 4) for name, value in result.metrics.items()}
        state.log_history.append({"epoch": state.epoch, "step": state.global_step, self._key: metrics})

    def best(self, state: TrainerState) -> tuple[int, dict[str, float]]:
        """The epoch with the greatest primary metric, and all its metrics."""
        epochs: list[Any] = [entry for entry in state.log_history if self._key in entry]
        best = max(epochs, key=lambda entry: entry[self._key][self.protocol.primary_metric])
        return round(best["epoch"]), best[self._key]
