"""What chooses the epoch that is kept: the mean of one or more protocols' primary metrics on evaluation pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cmr_hub.errors import InputError
from cmr_hub.evaluation import Protocol, fitted, get_protocol
from cmr_hub.modeling.modeling_cmr import CMRModel

from .datasets import Pairs
from .evaluate import evaluate_pairs

MEAN = "selection"  # the metric that is the mean, and the prefix of those that it is the mean of


@dataclass(frozen=True)
class Selection:
    """Protocols that judge an epoch together.

    Attributes:
        protocols: as [`validation_protocol`] has them.
    """

    protocols: tuple[Protocol, ...]

    @classmethod
    def of(cls, protocols: Protocol | Sequence[Protocol]) -> Selection:
        """The selection by one protocol, or by the mean over several."""
        several = [protocols] if isinstance(protocols, Protocol) else protocols
        return cls(tuple(validation_protocol(protocol) for protocol in several))

    @property
    def metric(self) -> str:
        """The metric whose greatest value is of the best epoch."""
        return self.protocols[0].primary_metric if len(self.protocols) == 1 else MEAN

    def fitted(self, pairs: Pairs) -> Selection:
        """The selection on so many items; see [`~cmr_hub.evaluation.fitted`]."""
        items = len(pairs.caption_to_image.unique())
        return Selection(tuple(fitted(protocol, items) for protocol in self.protocols))

    def check(self, pairs: Pairs) -> None:
        """Refuse pairs that a protocol cannot be measured on.

        Raises:
            InputError: it measures by class, and they have none.
        """
        for protocol in self.protocols:
            if protocol.relevance == "class" and pairs.labels is None:
                raise InputError(
                    f"Protocol {protocol.name!r} measures by class, and this data set has no label column."
                )

    def measure(
        self, model: CMRModel, image_values: torch.Tensor, text_values: torch.Tensor, pairs: Pairs
    ) -> dict[str, float]:
        """Measure what a model made of pairs; arguments as for [`evaluate_pairs`].

        Returns:
            All metrics of a single protocol. Of several, "selection", the mean of their primary metrics, and each of
            these as "selection/<protocol>".
        """
        results = [evaluate_pairs(model, image_values, text_values, pairs, one) for one in self.protocols]
        if len(results) == 1:
            return dict(results[0].metrics)
        primary = {f"{MEAN}/{result.protocol.name}": result.metrics[result.primary_metric] for result in results}
        return {MEAN: float(np.mean(list(primary.values()))), **primary}


def validation_protocol(protocol: Protocol) -> Protocol:
    """The protocol as it measures the pairs that an epoch, or a setting, is chosen on.

    One that searches the training split searches these pairs (what was learned from is no judge), codes are not
    re-ranked, and every text counts once and for its own item.
    """
    return get_protocol(
        protocol,
        gallery="test",
        gallery_view="target",
        rerank=None,
        captions_per_item=None,
        shared_caption="own",
    )
