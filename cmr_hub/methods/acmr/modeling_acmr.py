"""ACMR: adversarial cross-modal retrieval (Wang et al., MM 2017), its alignment loss one of four."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import add, classification_loss, label_similarity
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput

from .configuration_acmr import ACMRConfig

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the MMD's kernels, as multiples of the batch's mean squared distance


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient comes back negated and scaled (Ganin & Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(strength)
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (strength,) = ctx.saved_tensors
        return -strength * gradient, None


def reversal_schedule(progress: float) -> float:
    """2 / (1 + e^(-10 p)) - 1: the reversal's strength once a share p of all steps is done, from 0 to almost 1."""
    return math.tanh(5 * progress)


def triplet_loss(anchors: torch.Tensor, others: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Loss 2 in one direction: mean over all triplets (a, p, n) of max(0, margin + d(a, p) - d(a, n)).

    a is an item of one modality, p and n are items of the other that share a class with it and do not; d is the
    cosine distance. Each anchor's negatives are sorted, so that those which lie inside the margin of a positive are
    the first few and their sum a running total: n² log n steps instead of n³. Without a triplet the loss is 0.
    """
    similar = label_similarity(labels).bool()
    distance = 1 - F.normalize(anchors, dim=1) @ F.normalize(others, dim=1).T
    negatives = distance.masked_fill(similar, math.inf).sort(dim=1).values
    reach = distance + margin
    inside = torch.searchsorted(negatives.detach(), reach.detach())
    total = F.pad(negatives.masked_fill(negatives.isinf(), 0).cumsum(dim=1), (1, 0)).gather(1, inside)
    triplets = (similar.sum(dim=1) * (~similar).sum(dim=1)).sum()
    return (inside * reach - total)[similar].sum() / triplets.clamp(min=1)


def hard_negatives(features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each item, the row of the item without a common class whose features have the largest cosine with its own.

    Args:
        features: `(n, dim)`, of one modality.
        labels: `(n, classes)` multi-hot.

    Returns:
        The rows `(n,)`, and whether an item has any `(n,)`.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similar = label_similarity(labels).bool() | itself
    unit = F.normalize(features, dim=1)
    return (unit @ unit.T).masked_fill(similar, -math.inf).argmax(dim=1), ~similar.all(dim=1)


def batch_sum_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    positive_weight: float,
) -> torch.Tensor:
    """Loss 2 as the slides' log has it: max(0, m + w P - N_I) + max(0, m + w P - N_T), with sums over the batch.

    P = sum ||u_i - v_i||^2 / 2. N_I = sum ||u_i - v_j||^2 / 2, where the image of j is the hard negative of image i,
    and N_T = sum ||v_i - u_k||^2 / 2, where the text of k is that of text i; see [`hard_negatives`].
    """

    def half_squares(anchors: torch.Tensor, others: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        return ((anchors - others).square().sum(dim=1) * counted).sum() / 2

    everyone = torch.ones_like(labels[:, 0])
    positive = margin + positive_weight * half_squares(image_embeds, text_embeds, everyone)
    by_image, has_image = hard_negatives(image_features, labels)
    by_text, has_text = hard_negatives(text_features, labels)
    image_to_text = positive - half_squares(image_embeds, text_embeds[by_image], has_image)
    text_to_image = positive - half_squares(text_embeds, image_embeds[by_text], has_text)
    return F.relu(image_to_text) + F.relu(text_to_image)


def adversarial_loss(image_logits: torch.Tensor, text_logits: torch.Tensor) -> torch.Tensor:
    """Loss 3 as the paper has it: cross-entropy of the modality classifier's `(n, 1)` log-odds of "image"."""
    as_image = F.binary_cross_entropy_with_logits(image_logits, torch.ones_like(image_logits))
    as_text = F.binary_cross_entropy_with_logits(text_logits, torch.zeros_like(text_logits))
    return (as_image + as_text) / 2


def mmd_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
    """Squared maximum mean discrepancy: mean k(u, u') + mean k(v, v') - 2 mean k(u, v), over all pairs.

    k is the mean of Gaussian kernels exp(-||x - y||² / b), b the mean squared distance in the batch times each of
    `BANDWIDTHS`. The bandwidth is a scale, not something to learn: no gradient passes through it.
    """
    both = torch.cat([image_embeds, text_embeds])
    norms = both.square().sum(dim=1)
    squared = (norms[:, None] + norms - 2 * both @ both.T).clamp(min=0)
    scale = squared.detach().mean().clamp(min=torch.finfo(both.dtype).tiny ** 0.5)
    kernel = add(torch.exp(-squared / (width * scale)) for width in BANDWIDTHS) / len(BANDWIDTHS)
    n = len(image_embeds)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def coral_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
    """Deep CORAL: ||C_u - C_v||_F² / 4d², the distance of the two sides' covariances; 0 for a single pair."""

    def covariance(embeds: torch.Tensor) -> torch.Tensor:
        centred = embeds - embeds.mean(dim=0)
        return centred.T @ centred / max(1, len(embeds) - 1)

    difference = covariance(image_embeds) - covariance(text_embeds)
    return difference.square().sum() / (4 * image_embeds.shape[1] ** 2)


def correlation_loss(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
    """1 - the mean over dimensions of the correlation between paired sides; that of a constant dimension is 0."""
    image, text = (embeds - embeds.mean(dim=0) for embeds in (image_embeds, text_embeds))
    return 1 - F.cosine_similarity(image, text, dim=0).mean()


ALIGNMENTS = {"mmd": mmd_loss, "coral": coral_loss, "correlation": correlation_loss}


def projector(input_dim: int, hidden_dim: int, embed_dim: int, dropout: float) -> nn.Sequential:
    """One side's two tanh layers into the common space."""
    return nn.Sequential(
        nn.Linear(input_dim, hidden_dim), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden_dim, embed_dim), nn.Tanh()
    )


@register_method("acmr", display_order=20)
class ACMRModel(CMRModel):
    """Two tanh projectors, a shared label classifier and, behind a gradient reversal, a modality classifier."""

    title = "ACMR"
    paper = "Wang et al., Adversarial Cross-Modal Retrieval, ACM Multimedia 2017"
    supervision = "supervised"
    representation = "real-valued"
    config_class = ACMRConfig
    config: ACMRConfig
    reversal_strength: torch.Tensor

    def __init__(self, config: ACMRConfig):
        super().__init__(config)
        self.image_projector = projector(config.image_dim, config.image_hidden_dim, config.embed_dim, config.dropout)
        self.text_projector = projector(config.text_dim, config.text_hidden_dim, config.embed_dim, config.dropout)
        self.label_classifier = nn.Linear(config.embed_dim, config.num_labels)
        self.is_adversarial = config.losses == "all" and config.alignment == "adversarial"
        if self.is_adversarial:
            self.modality_classifier = nn.Sequential(
                nn.Linear(config.embed_dim, config.modality_hidden_dim),
                nn.Tanh(),
                nn.Linear(config.modality_hidden_dim, 1),
            )
            self.register_buffer("reversal_strength", torch.ones(()))
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.image_projector(self._scaled(image_features))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.text_projector(self._scaled(text_features))

    def _scaled(self, features: torch.Tensor) -> torch.Tensor:
        # tanh is a straight line for small numbers, and so is a network whose features are: their scale is chosen.
        return self.config.input_scale * F.rms_norm(features, features.shape[1:])

    def training_callbacks(self) -> list[TrainerCallback]:
        return [ReversalSchedule()] if self.is_adversarial else []

    def classify(self, embeds: torch.Tensor) -> torch.Tensor:
        return self.label_classifier(embeds)

    @property
    def loss_weights(self) -> dict[str, float]:
        return {name: getattr(self.config, f"{name}_weight") for name in ("label", "triplet", "alignment")}

    def compute_loss(
        self, output: CMROutput, labels: torch.Tensor, image_features: torch.Tensor, text_features: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The terms that `config.losses` names."""
        (image, text), margin = output.embeds, self.config.margin
        terms = {"label": classification_loss(*output.logits, labels)}
        if self.config.losses != "label" and self.config.triplet == "batch_sum":
            terms["triplet"] = batch_sum_loss(
                image, text, image_features, text_features, labels, margin, self.config.positive_weight
            )
        elif self.config.losses != "label":
            terms["triplet"] = triplet_loss(image, text, labels, margin) + triplet_loss(text, image, labels, margin)
        if self.config.losses == "all":
            terms["alignment"] = self._adversary(image, text) if self.is_adversarial else self._alignment(image, text)
        return terms

    def _adversary(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        # One backward pass trains both: the classifier learns from the loss as it is, the projectors from its reverse.
        return adversarial_loss(
            *(
                self.modality_classifier(GradientReversal.apply(embeds, self.reversal_strength))
                for embeds in (image_embeds, text_embeds)
            )
        )

    def _alignment(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        return ALIGNMENTS[self.config.alignment](image_embeds, text_embeds)


class ReversalSchedule(TrainerCallback):
    """Strengthens the reversal step by step, so that early noise of the modality classifier does no harm."""

    def on_step_begin(self, args, state, control, model, **kwargs):
        model.reversal_strength.fill_(reversal_schedule(state.global_step / state.max_steps))
