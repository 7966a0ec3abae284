"""The catalyser: embeddings spread over a sphere, neighbours still neighbours (Sablayrolles et al., ICLR 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from cmr_hub.errors import InputError
from cmr_hub.modeling.auto_classes import register_auto_classes
from cmr_hub.modeling.checked_model import CheckedModel

from .configuration_spreading_vectors import SpreadingVectorsConfig

BATCH_ROWS = 4096
CLOSEST = 1e-8  # copies of one vector lie at distance 0, whose logarithm is not finite


def rank_loss(anchors: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Mean of max(0, ||f(x) - f(x+)|| - ||f(x) - f(x-)||): a neighbour must not lie farther off than what is none.

    Args:
        anchors: `(n, d)` outputs for x.
        positives: `(n, d)` outputs for x+, a neighbour of x.
        negatives: `(n, d)` outputs for x-, no neighbour of x.

    Example:
    ```python
    >>> x = torch.tensor([[0.0, 0.0]])
    >>> rank_loss(x, x + torch.tensor([3.0, 4.0]), x + torch.tensor([0.0, 1.0])).item()
    4.0
    ```
    """
    return F.relu((anchors - positives).norm(dim=1) - (anchors - negatives).norm(dim=1)).mean()


def koleo_loss(outputs: torch.Tensor) -> torch.Tensor:
    """-(1/n) sum of log rho_i, rho_i the distance from i to its nearest neighbour: low where points are spread evenly.

    It estimates the outputs' negative differential entropy, up to a constant (Kozachenko and Leonenko). Gradients flow
    through both points of a pair. Copies of one point count as 1e-8 apart and are not pushed.

    Args:
        outputs: `(n, d)`, of unit length, two at least.

    Example:
    ```python
    >>> koleo_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).item()  # -log of the root of 2
    -0.3465...
    ```
    """
    with torch.no_grad():
        cosines = outputs @ outputs.T
        nearest = cosines.fill_diagonal_(-torch.inf).argmax(dim=1)
    return -(outputs - outputs[nearest]).norm(dim=1).clamp(min=CLOSEST).log().mean()


@dataclass
class SpreadingVectorsOutput(ModelOutput):
    r"""Output of [`SpreadingVectorsModel`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*, returned with positives and negatives):
            L_rank + lambda L_KoLeo.
        loss_terms (`dict[str, torch.FloatTensor]`, *optional*, returned with `loss`):
            "rank" and "koleo", before weighting.
        outputs (`torch.FloatTensor` of shape `(n, output_dim)`):
            The vectors on the sphere, of unit length.
    """

    loss: torch.Tensor | None = None
    loss_terms: dict[str, torch.Tensor] | None = None
    outputs: torch.Tensor | None = None


class SpreadingVectorsModel(CheckedModel):
    """Linear, batch norm, ReLU, twice; Linear; unit length.

    It is no method of cross-modal retrieval but comes behind one: it eats the embeddings of one side of a gallery, and
    the queries that are compared with them.
    """

    config_class = SpreadingVectorsConfig
    config: SpreadingVectorsConfig
    base_model_prefix = "catalyser"
    main_input_name = "vectors"

    def __init__(self, config: SpreadingVectorsConfig):
        super().__init__(config)
        hidden = config.hidden_dim
        self.layers = nn.Sequential(
            *(nn.Linear(config.input_dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
            nn.Linear(hidden, config.output_dim),
        )
        self.post_init()

    def spread(self, vectors: torch.Tensor) -> torch.Tensor:
        """`(n, input_dim)` vectors to `(n, output_dim)` ones of unit length, an equal part of it on each sphere."""
        parts = self.layers(vectors).unflatten(1, (self.config.spheres, -1))
        return F.normalize(parts, dim=2).flatten(1) / self.config.spheres**0.5

    def forward(
        self,
        vectors: torch.Tensor,
        positives: torch.Tensor | None = None,
        negatives: torch.Tensor | None = None,
    ) -> SpreadingVectorsOutput:
        """Spread vectors; with a positive and a negative of each, the objective.

        Args:
            vectors: `(n, input_dim)` float tensor.
            positives: `(n, input_dim)`, for each vector one of its neighbours.
            negatives: `(n, input_dim)`, for each vector one that should lie no nearer than that.
        """
        if positives is None or negatives is None:
            return SpreadingVectorsOutput(outputs=self.spread(vectors))
        # Each by itself, as the authors' code does: a batch norm sees hard negatives among themselves only.
        outputs, near, far = (self.spread(rows) for rows in (vectors, positives, negatives))
        terms = {"rank": rank_loss(outputs, near, far), "koleo": koleo_loss(outputs)}
        loss = terms["rank"] + self.config.koleo * terms["koleo"]
        return SpreadingVectorsOutput(loss=loss, loss_terms=terms, outputs=outputs)

    @torch.inference_mode()
    def catalyse(self, vectors: np.ndarray) -> np.ndarray:
        """Arrays in, arrays out, batch by batch, with the batch norms' learned statistics.

        Args:
            vectors: `(n, input_dim)` float.

        Returns:
            `(n, output_dim)` float32 rows of unit length.

        Raises:
            InputError: vectors of another width.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.config.input_dim:
            raise InputError(
                f"This catalyser takes vectors of width {self.config.input_dim}, not of the shape {vectors.shape}: "
                "train one on the embeddings that it is to spread."
            )
        was_training = self.training
        self.eval()
        outputs = np.empty((len(vectors), self.config.output_dim), np.float32)
        for start in range(0, len(vectors), BATCH_ROWS):
            batch = torch.tensor(vectors[start : start + BATCH_ROWS], dtype=self.dtype, device=self.device)
            outputs[start : start + BATCH_ROWS] = self.spread(batch).float().cpu().numpy()
        self.train(was_training)
        return outputs


register_auto_classes(SpreadingVectorsModel)
