"""Terms of objectives that two or more methods share."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def share_a_class(labels: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
    """S of a batch: `(n, classes)` multi-hot labels to an `(n, n)` matrix, 1 where i and j share a class.

    With the `(m, classes)` labels of other items it is `(n, m)`: a row an item, a column another.

    Example:

    ```python
    >>> share_a_class(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])).tolist()
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


def matches(items: torch.Tensor | None, texts: torch.Tensor) -> torch.Tensor:
    """Which texts of a batch describe which images: those of the same item, and those that are equal row for row.

    A caption that stands word for word under another picture is no wrong answer for it.

    Args:
        items: `(n,)` integers, the item that pair i belongs to; None where each pair is an item of its own.
        texts: `(n, d)` features or numbers of words.

    Returns:
        `(n, n)` booleans, symmetric, True on the diagonal.

    Example:

    ```python
    >>> matches(torch.tensor([0, 0, 1]), torch.tensor([[1], [2], [3]])).tolist()
    [[True, True, False], [True, True, False], [False, False, True]]
    ```
    """
    text = torch.unique(texts, dim=0, return_inverse=True)[1]
    same = text[:, None] == text
    return same if items is None else same | (items[:, None] == items)


def bidirectional_ranking_loss(
    similarity: torch.Tensor, margin: float, matching: torch.Tensor, hardest: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Max-margin ranking of a batch of pairs in both directions.

    Of pair i as a query, every answer j that does not match it costs max(0, margin - s_ii + s_ij).

    Args:
        similarity: `(n, n)`, image i to text j.
        margin: by how much a pair's own similarity shall exceed that to others.
        matching: `(n, n)` booleans, symmetric: pairs that are not each other's wrong answers; see [`matches`].
        hardest: only so many largest costs of each query count; by default all. One is the hardest negative of
            VSE++ (Faghri et al., BMVC 2018).

    Returns:
        The mean over images as queries of their costs' sum, and the mean over texts.
    """
    own = similarity.diagonal()
    directions = (margin - own[:, None] + similarity, margin - own[:, None] + similarity.T)
    costs = [violation.clamp(min=0).masked_fill(matching, 0) for violation in directions]
    if hardest is not None:
        costs = [cost.topk(min(hardest, len(cost)), dim=1).values for cost in costs]
    to_text, to_image = (cost.sum(dim=1).mean() for cost in costs)
    return to_text, to_image
