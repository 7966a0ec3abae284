"""Terms of objectives that two or more methods share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from cmr_hub.utils.deprecation import renamed_module_attributes

if not TYPE_CHECKING:  # for which these names do not exist
    __getattr__ = renamed_module_attributes(__name__, {"share_a_class": "label_similarity"})


def add(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of one or more tensors, from the first to the last; the built-in `sum` may be an integer to a type checker.

    Example:
    ```python
    >>> add([torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])]).tolist()
    [11.0, 22.0]
    ```
    """
    return reduce(torch.add, terms)


def label_similarity(labels: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
    """S of a batch: `(n, classes)` multi-hot labels to an `(n, n)` matrix, 1 where i and j share a class.

    With the `(m, classes)` labels of other items it is `(n, m)`: one row per item, one column per other item.

    Example:
    ```python
    >>> label_similarity(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    ```
    """
    return (labels @ (labels if others is None else others).T > 0).to(labels.dtype)


def pairwise_likelihood_loss(theta: torch.Tensor, similar: torch.Tensor) -> torch.Tensor:
    """Mean over all pairs of log(1 + e^theta) - S theta: the negative log-likelihood of who shares a class with whom.

    Args:
        theta: `(n, m)` log-odds that i and j share a class.
        similar: `(n, m)` float, 1 where they do.
    """
    return (F.softplus(theta) - similar * theta).mean()


def likelihood_loss(
    image_values: torch.Tensor, text_values: torch.Tensor, labels: torch.Tensor, scale: float, margin: float
) -> torch.Tensor:
    """Pairwise likelihood of codes: image-text, image-image and text-text; theta = scale (u.v / bits - margin).

    u.v / bits is the cosine of two codes. DSCMR's theta is half the cosine, by which no pair is ever likelier than
    .62 or less likely than .38, and in which the many pairs that share no class outweigh the few that do.
    """
    similar, bits = label_similarity(labels), image_values.shape[1]
    pairs = ((image_values, text_values), (image_values, image_values), (text_values, text_values))
    return add(pairwise_likelihood_loss(scale * (a @ b.T / bits - margin), similar) for a, b in pairs)


def residual_norm(residual: torch.Tensor, kind: str = "frobenius") -> torch.Tensor:
    """Size of a residual matrix R of shape `(n, d)`, as a scalar.

    `kind` is "frobenius" for (1/n)||R||_F, or "rowwise" for the mean of the rows' norms.
    """
    if kind == "rowwise":
        return residual.norm(dim=1).mean()
    return residual.norm() / len(residual)


def label_loss(
    image_logits: torch.Tensor, text_logits: torch.Tensor, labels: torch.Tensor, norm: str = "frobenius"
) -> torch.Tensor:
    """How far a linear classifier's outputs lie from the labels, both sides summed; all `(n, classes)`."""
    return residual_norm(image_logits - labels, norm) + residual_norm(text_logits - labels, norm)


def modality_invariance_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, norm: str = "frobenius"
) -> torch.Tensor:
    """How far the two sides of each pair lie apart, from `(n, d)` embeddings."""
    return residual_norm(image_embeds - text_embeds, norm)


def class_shares(labels: torch.Tensor) -> torch.Tensor:
    """`(n, classes)` multi-hot labels as rows that sum to one; an item of no class stays zero.

    Example:
    ```python
    >>> class_shares(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])).tolist()
    [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]
    ```
    """
    return labels / labels.sum(dim=1, keepdim=True).clamp(min=1)


def classification_loss(image_logits: torch.Tensor, text_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of one softmax classifier on both sides, summed; all `(n, classes)`.

    An item of several classes counts for each in equal parts; one of none adds nothing.
    """
    target = class_shares(labels)
    return F.cross_entropy(image_logits, target) + F.cross_entropy(text_logits, target)


LARGEST_SCALE = 100.0  # of cosines: a temperature of 0.01
NEVER = -1e4  # a logit whose exponential is 0, and that stays finite whatever it is multiplied with


def inverse_temperature(log_scale: torch.Tensor, *, training: bool) -> torch.Tensor:
    """exp(log_scale), a learned parameter that training keeps at most log(`LARGEST_SCALE`)."""
    if training:
        # The parameter itself, not the scale made of it: past the limit it would get no gradient to come back by.
        with torch.no_grad():
            log_scale.clamp_(max=math.log(LARGEST_SCALE))
    return log_scale.exp()


def pair_logits(image_embeds: torch.Tensor, text_embeds: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`(n, n)` cosines of every image with every text, times `scale`, the inverse temperature."""
    return scale * F.normalize(image_embeds, dim=1) @ F.normalize(text_embeds, dim=1).T


def info_nce(logits: torch.Tensor, ignored: torch.Tensor | None = None, hardness: float = 0.0) -> torch.Tensor:
    """InfoNCE: mean over rows i of -log softmax(row i) at column i, the query's own pair among all n.

    Args:
        logits: `(n, n)`.
        ignored: `(n, n)` booleans, answers that are not wrong for i and not its own either: they take no part.
        hardness: of the m wrong answers of i, answer j counts m softmax(hardness * l_i)_j times, and nothing is
            learned from that weight (Robinson et al., ICLR 2021); at 0 each counts once.
    """
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    left_out = own if ignored is None else own | ignored
    wrong = logits.masked_fill(left_out, NEVER)
    if hardness:
        count = (~left_out).sum(dim=1, keepdim=True).clamp(min=1)
        wrong = wrong + (hardness * wrong.detach()).log_softmax(dim=1) + count.log()
    rows = torch.where(own, logits, wrong)
    return F.cross_entropy(rows, torch.arange(len(rows), device=rows.device))


def symmetric_info_nce(
    logits: torch.Tensor, matching: torch.Tensor | None = None, hardness: float = 0.0
) -> dict[str, torch.Tensor]:
    """InfoNCE from images to texts and from texts to images, as two terms of an objective.

    Args:
        logits: `(n, n)`, image i to text j; pairs are on the diagonal.
        matching: `(n, n)` booleans, which text describes which image; by default text i describes image i alone.
            Another text of an image, and one that stands word for word under it too, are no wrong answers.
        hardness: as in [`info_nce`].
    """
    backwards = None if matching is None else matching.T
    return {
        "image_to_text": info_nce(logits, matching, hardness),
        "text_to_image": info_nce(logits.T, backwards, hardness),
    }


def straight_through_signs(values: torch.Tensor) -> torch.Tensor:
    """+1 where a value is above zero, else -1, with the gradient of the identity (Bengio et al., 2013)."""
    signs = torch.where(values > 0, 1.0, -1.0).to(values.dtype)
    return values + (signs - values).detach()
