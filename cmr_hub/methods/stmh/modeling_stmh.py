"""Semantic topic multimodal hashing (Wang, Gao, Wang & He, IJCAI 2015). Equations: the README beside this."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_hashing import LinearHashModel

from .configuration_stmh import STMHConfig

SMOOTHING = 1e-6  # under the root of the L2,1 norm, which has no gradient where an image is met exactly


def row_norms(residual: torch.Tensor) -> torch.Tensor:
    """Smoothed length of each row of `(n, d)`; their sum is the L2,1 norm."""
    return (residual.square().sum(dim=1) + SMOOTHING).sqrt()


def ridge_factor(
    items: torch.Tensor, codes: torch.Tensor, regularization: float, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """F that minimises sum_i w_i ||x_i - c_i F||^2 + regularization ||F||^2.

    Args:
        items: `(n, d)` X.
        codes: `(n, k)` C.
        regularization: above 0.
        weights: `(n,)` w; ones by default.

    Returns:
        `(k, d)`.
    """
    weighted = codes if weights is None else codes * weights[:, None]
    gram = weighted.T @ codes
    return torch.linalg.solve(gram + regularization * torch.eye(len(gram), dtype=gram.dtype), weighted.T @ items)


def image_concepts(
    images: torch.Tensor,
    targets: torch.Tensor,
    basis: torch.Tensor,
    mapping: torch.Tensor,
    weights: torch.Tensor,
    correlation: float,
    regularization: float,
) -> torch.Tensor:
    """V that minimises sum_i w_i ||x_i - v_i C||^2 + correlation ||H - V R||^2 + regularization ||V||^2.

    Each row has a system of its own, w_i C C^T + M. All are diagonal in one basis P with P^T M P = I.

    Args:
        images: `(n, d)` X.
        targets: `(n, bits)` H.
        basis: `(bits, d)` C.
        mapping: `(bits, bits)` R.
        weights: `(n,)` w.
        correlation: weight of H = V R.
        regularization: above 0.

    Returns:
        `(n, bits)`.
    """
    shared = correlation * mapping @ mapping.T + regularization * torch.eye(len(mapping), dtype=mapping.dtype)
    root = torch.linalg.cholesky(shared)
    half = torch.linalg.solve_triangular(root, basis, upper=False)
    values, vectors = torch.linalg.eigh(half @ half.T)
    diagonal = torch.linalg.solve_triangular(root.T, vectors, upper=True)
    right = weights[:, None] * (images @ basis.T) + correlation * targets @ mapping.T
    return right @ diagonal / (weights[:, None] * values.clamp(min=0) + 1) @ diagonal.T


def text_topics(
    texts: torch.Tensor, topics: torch.Tensor, patterns: torch.Tensor, said: torch.Tensor, correlation: float
) -> torch.Tensor:
    """H of signs that lowers ||Y - H T||^2 + correlation ||H - Z||^2, solved exactly one topic after the other.

    Args:
        texts: `(n, d)` Y.
        topics: `(n, bits)` H to set out from.
        patterns: `(bits, d)` T.
        said: `(n, bits)` Z: what the images say of H.
        correlation: weight of what they say.

    Returns:
        `(n, bits)` of -1 and +1.
    """
    topics, wanted, likeness = topics.clone(), texts @ patterns.T + correlation * said, patterns @ patterns.T
    for bit in range(topics.shape[1]):
        others = topics @ likeness[:, bit] - likeness[bit, bit] * topics[:, bit]
        topics[:, bit] = torch.where(wanted[:, bit] > others, 1.0, -1.0)
    return topics


@dataclass(frozen=True)
class Factors:
    """All that the alternation learns.

    Attributes:
        topics: `(n, bits)` H, -1 or +1: which topics a text contains.
        patterns: `(bits, text_dim)` T, what a topic is.
        concepts: `(n, bits)` V, of the images.
        basis: `(bits, image_dim)` C, what a concept is.
        mapping: `(bits, bits)` R, from concepts to topics.
    """

    topics: torch.Tensor
    patterns: torch.Tensor
    concepts: torch.Tensor
    basis: torch.Tensor
    mapping: torch.Tensor


def objective(images: torch.Tensor, texts: torch.Tensor, factors: Factors, config: STMHConfig) -> torch.Tensor:
    """||Y - H T||^2 + alpha ||X - V C||_{2,1} + beta / bits ||H - V R||^2 + ridge on T, V, C and R."""
    learned = (factors.patterns, factors.concepts, factors.basis, factors.mapping)
    return (
        (texts - factors.topics @ factors.patterns).square().sum()
        + config.image_weight * row_norms(images - factors.concepts @ factors.basis).sum()
        + config.correlation_weight
        / config.embed_dim
        * (factors.topics - factors.concepts @ factors.mapping).square().sum()
        + config.regularization * sum(factor.square().sum() for factor in learned)
    )


def alternate(images: torch.Tensor, texts: torch.Tensor, config: STMHConfig) -> Iterator[Factors]:
    """The factors after each step of the alternation, which lowers the objective in one of them at a time.

    Args:
        images: centred `(n, image_dim)`, of mean squared length one.
        texts: centred `(n, text_dim)`, likewise.
        config: sizes and weights.
    """
    ridge, bits = config.regularization, config.embed_dim
    correlation = config.correlation_weight / bits  # a code has `bits` times the squared length of an item

    def weights(found: Factors) -> torch.Tensor:
        """Of each image, so that the squares have the gradient of the L2,1 norm, and bound it from above."""
        return config.image_weight / (2 * row_norms(images - found.concepts @ found.basis))

    topics = torch.where(texts @ torch.randn(texts.shape[1], bits, dtype=texts.dtype) > 0, 1.0, -1.0).to(texts.dtype)
    basis = torch.randn(bits, images.shape[1], dtype=images.dtype) / bits**0.5
    mapping = torch.zeros(bits, bits, dtype=images.dtype)
    even = torch.full((len(images),), config.image_weight / 2, dtype=images.dtype)
    concepts = image_concepts(images, topics, basis, mapping, even, correlation, ridge)
    found = Factors(topics, ridge_factor(texts, topics, ridge), concepts, basis, mapping)
    yield found
    for _ in range(config.iterations):
        found = replace(found, basis=ridge_factor(images, found.concepts, ridge, weights(found)))
        yield found
        found = replace(found, mapping=ridge_factor(found.topics, found.concepts, ridge / correlation))
        yield found
        found = replace(
            found,
            concepts=image_concepts(
                images, found.topics, found.basis, found.mapping, weights(found), correlation, ridge
            ),
        )
        yield found
        said = found.concepts @ found.mapping
        found = replace(found, topics=text_topics(texts, found.topics, found.patterns, said, correlation))
        yield found
        found = replace(found, patterns=ridge_factor(texts, found.topics, ridge))
        yield found


def centred_and_scaled(features: torch.Tensor) -> torch.Tensor:
    """`(n, d)` features moved to mean zero and scaled to a mean squared length of one."""
    centred = features - features.mean(dim=0)
    return centred / centred.square().sum(dim=1).mean().sqrt()


def hash_function(
    features: torch.Tensor, values: torch.Tensor, regularization: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """W and b of the regression of `(n, bits)` values on `(n, d)` features; the ridge is a share of all variance."""
    mean = features.mean(dim=0)
    centred = features - mean
    weight = ridge_factor(values, centred, regularization * centred.square().sum().item())
    return weight, -mean @ weight


@register_method("stmh", display_order=230)
class STMHModel(LinearHashModel):
    """Topics of texts and concepts of images, one bit each: whether an item contains it."""

    title = "STMH"
    paper = "Wang et al., Semantic Topic Multimodal Hashing for Cross-Media Retrieval, IJCAI 2015"
    supervision = "unsupervised"
    representation = "binary"
    is_stochastic = True
    config_class = STMHConfig
    config: STMHConfig

    def _hyperplanes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        images, texts = centred_and_scaled(image_features), centred_and_scaled(text_features)
        found = deque(alternate(images.float(), texts.float(), self.config), maxlen=1).pop()
        topics, concepts = found.topics, found.concepts @ found.mapping
        ridge = self.config.hash_regularization
        return hash_function(image_features, concepts.double(), ridge), hash_function(
            text_features, topics.double(), ridge
        )
