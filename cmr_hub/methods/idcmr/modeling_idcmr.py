"""IDCMR: improvement of deep cross-modal retrieval (Bhatt and Ganatra, PeerJ CS 2021), by its equation numbers."""

from __future__ import annotations

import torch
from torch import nn

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import (
    add,
    label_loss,
    label_similarity,
    modality_invariance_loss,
    pairwise_likelihood_loss,
)
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput

from .configuration_idcmr import IDCMRConfig

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


def discrimination_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """J2 (eq 19): pairwise likelihood image-text, image-image and text-text; theta is the inner product."""
    similar, pairs = label_similarity(labels), ((image_embeds, text_embeds), (image_embeds,) * 2, (text_embeds,) * 2)
    return add(pairwise_likelihood_loss(a @ b.T, similar) for a, b in pairs)


def ridge_classifier(embeds: torch.Tensor, labels: torch.Tensor, ridge: float) -> torch.Tensor:
    """The linear classifier that is best on one batch, (U^T U + r I)^-1 U^T S, one half of Algorithm 1's step 7.

    Computed as U^T (U U^T + r I)^-1 S, the same matrix, whose system is as large as the batch, not as the space.

    Args:
        embeds: `(n, d)`, one row per item.
        labels: `(n, classes)` multi-hot.
        ridge: r, above 0.

    Returns:
        `(d, classes)`, in the dtype of `embeds`.
    """
    rows = embeds.double()  # a Gram matrix squares the condition number
    gram = rows @ rows.T + ridge * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    return (rows.T @ torch.linalg.solve(gram, labels.double())).to(embeds.dtype)


@register_method("idcmr", display_order=30)
class IDCMRModel(CMRModel):
    """Two one-layer branches, one shared linear layer, and a linear classifier that is solved on each batch."""

    title = "IDCMR"
    paper = (
        "Bhatt and Ganatra, Improvement of Deep Cross-Modal Retrieval by Generating Real-Valued Representation, "
        "PeerJ Computer Science 2021"
    )
    supervision = "supervised"
    representation = "real-valued"
    config_class = IDCMRConfig
    config: IDCMRConfig
    classifier: torch.Tensor

    def __init__(self, config: IDCMRConfig):
        super().__init__(config)
        self.image_branch = nn.Linear(config.image_dim, config.hidden_dim)
        self.text_branch = nn.Linear(config.text_dim, config.hidden_dim)
        self.shared = nn.Linear(config.hidden_dim, config.embed_dim)
        self.register_buffer("classifier", torch.zeros(config.embed_dim, config.num_labels))
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.shared(ACTIVATIONS[self.config.activation](self.image_branch(image_features)))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.shared(ACTIVATIONS[self.config.activation](self.text_branch(text_features)))

    def classify(self, embeds: torch.Tensor) -> torch.Tensor:
        return embeds @ self.classifier

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"J2": self.config.loss_lambda, "J3": self.config.loss_eta}

    def compute_loss(self, output: CMROutput, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The terms of J = J1 + lambda J2 + eta J3 (eq 24).

        In training mode the classifier is then solved anew on the batch: the losses are of the old one, as Algorithm 1
        has it.
        """
        image, text = output.embeds
        if self.training:
            self._solve_classifier(image, text, labels)
        return {
            "J1": label_loss(*output.logits, labels),
            "J2": discrimination_loss(image, text, labels),
            "J3": modality_invariance_loss(image, text),
        }

    @torch.no_grad()
    def _solve_classifier(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor, labels: torch.Tensor) -> None:
        """Step 7 of Algorithm 1."""
        solved = add(ridge_classifier(embeds, labels, self.config.ridge) for embeds in (image_embeds, text_embeds))
        # A new tensor, not an update in place: the backward pass still needs the old one.
        self.classifier = solved / 2 if self.config.combine == "mean" else solved
