"""SePH (Lin et al., CVPR 2015): codes from classes alone, then one kernel logistic regression per bit and modality.

Symbols are the README's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cmr_hub.errors import InputError
from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.solvers import logistic_regressions

from .configuration_seph import SePHConfig

K_MEANS_STEPS = 20
CODE_STEPS = 100  # at most; codes of the 9 to 31 classes measured converge in fewer


def label_sets(labels: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sets of classes that items have, the commonest first.

    Args:
        labels: `(n, classes)` multi-hot.
        most: rarer sets than so many are left out.

    Returns:
        The sets `(m, classes)` multi-hot, how many items each has `(m,)`, and each item's set `(n,)`, -1 where it is
        left out or the item has no class.

    Example:
    ```python
    >>> import torch
    >>> label_sets(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]), most=1)
    (tensor([[1., 1.]]), tensor([2]), tensor([-1,  0, -1,  0]))
    ```
    """
    sets, member, counts = labels.unique(dim=0, return_inverse=True, return_counts=True)
    order = (counts * sets.any(dim=1)).argsort(descending=True, stable=True)
    order = order[sets[order].any(dim=1)][:most]
    place = torch.full((len(sets),), -1)
    place[order] = torch.arange(len(order))
    return sets[order], counts[order], place[member]


def pair_counts(counts: torch.Tensor) -> torch.Tensor:
    """M: how many ordered pairs of two different items lie in sets u and v, `(m, m)`, from `(m,)` counts."""
    return counts[:, None] * counts - counts.diag()


def semantic_distribution(sets: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """P: the cosine of two items' label vectors, as a share of its sum over all pairs; added up for each u and v.

    Args:
        sets: `(m, classes)` multi-hot, none empty.
        pairs: M, `(m, m)`.

    Returns:
        `(m, m)`, which sums to one, or is zero where no two items share a class.
    """
    unit = sets / sets.norm(dim=1, keepdim=True)
    affinity = unit @ unit.T * pairs
    return affinity / affinity.sum().clamp(min=torch.finfo(sets.dtype).tiny)


def closeness(codes: torch.Tensor) -> torch.Tensor:
    """W: 1 / (1 + d) with the Hamming distance d = ||h_u - h_v||^2 / 4, `(m, m)`, from `(m, bits)` relaxed codes."""
    squares = codes.square().sum(dim=1)
    return 1 / (1 + (squares[:, None] + squares - 2 * codes @ codes.T).clamp(min=0) / 4)


def code_objective(
    codes: torch.Tensor, semantic: torch.Tensor, pairs: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(P || Q) + alpha * the mean over items and bits of (|h| - 1)^2, and its gradient in closed form.

    Q is the share of each pair's closeness in that of all pairs.

    Args:
        codes: H, `(m, bits)`, one relaxed code a set.
        semantic: P, `(m, m)`.
        pairs: M, `(m, m)`.
        alpha: weight of the quantisation.

    Returns:
        The objective, a scalar, and its gradient `(m, bits)`.
    """
    close = closeness(codes)
    total = (pairs * close).sum()
    # P / Q = (P / M) (sum of M W) / W, where a P or an M of zero adds nothing.
    divergence = (
        torch.xlogy(semantic, semantic / pairs.clamp(min=1)).sum() - (semantic * close.log()).sum() + total.log()
    )
    pull = (semantic - pairs * close / total) * close
    gradient = pull.sum(dim=1, keepdim=True) * codes - pull @ codes
    # An item is in as many pairs as any other, so that a set's share of the pairs is its share of the items.
    share = pairs.sum(dim=1, keepdim=True) / pairs.sum() / codes.shape[1]
    miss = codes.abs() - 1
    objective = divergence + alpha * (share * miss.square()).sum()
    return objective, gradient + 2 * alpha * share * miss * codes.sign()


def minimise(
    objective: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]], start: torch.Tensor, steps: int
) -> torch.Tensor:
    """L-BFGS from `start` on a function that gives its value and gradient; each step lowers the value."""
    point = start.clone()
    solver = torch.optim.LBFGS(
        [point],
        max_iter=steps,
        max_eval=25 * steps,
        tolerance_grad=1e-9,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def value_and_gradient() -> torch.Tensor:
        value, point.grad = objective(point)
        return value

    solver.step(value_and_gradient)
    return point


def k_means(data: torch.Tensor, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Lloyd's algorithm from `(k, d)` centres `start`; a centre without items stays where it is."""
    centres = start
    for _ in range(steps):
        nearest = torch.cdist(data, centres).argmin(dim=1)
        counts = nearest.bincount(minlength=len(centres))[:, None]
        means = torch.zeros_like(centres).index_add_(0, nearest, data) / counts.clamp(min=1)
        centres = torch.where(counts > 0, means, centres)
    return centres


def rbf(features: torch.Tensor, anchors: torch.Tensor, bandwidth: torch.Tensor) -> torch.Tensor:
    """exp(-||x - a||^2 / (2 bandwidth^2)): `(n, anchors)` kernel features of `(n, d)` features."""
    return (-(torch.cdist(features, anchors) / bandwidth).square() / 2).exp()


@register_method("seph", display_order=170)
class SePHModel(HashingMixin, ClosedFormCMRModel):
    """Kernel logistic regressions on both sides that predict codes learned from the classes."""

    title = "SePH"
    paper = "Lin et al., Semantics-Preserving Hashing for Cross-View Retrieval, CVPR 2015"
    supervision = "supervised"
    representation = "binary"
    is_stochastic = True
    config_class = SePHConfig
    config: SePHConfig

    def __init__(self, config: SePHConfig):
        super().__init__(config)
        for modality, dim in (("image", config.image_dim), ("text", config.text_dim)):
            self.register_buffer(f"{modality}_anchors", torch.zeros(config.anchors, dim))
            self.register_buffer(f"{modality}_bandwidth", torch.ones(()))
            self.register_buffer(f"{modality}_weight", torch.zeros(config.anchors, config.embed_dim))
            self.register_buffer(f"{modality}_bias", torch.zeros(config.embed_dim))
        self.post_init()

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor) -> None:
        sets, counts, member = label_sets(labels.float(), self.config.label_sets)
        of_a_set = member >= 0
        if of_a_set.sum() < 2:
            raise InputError("SePH learns from pairs of items: two at least must have a class, not 1.")
        codes = self._codes(sets, counts)
        targets = (codes[member[of_a_set]] > 0).float()
        for modality, features in (("image", image_features), ("text", text_features)):
            self._regress(modality, features[of_a_set].float(), targets)

    def _codes(self, sets: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Relaxed codes of the sets, `(m, bits)`."""
        pairs = pair_counts(counts.to(sets.dtype))
        semantic = semantic_distribution(sets, pairs)
        start = torch.randn(len(sets), self.config.embed_dim)
        return minimise(lambda codes: code_objective(codes, semantic, pairs, self.config.alpha), start, CODE_STEPS)

    def _regress(self, modality: str, features: torch.Tensor, targets: torch.Tensor) -> None:
        """Fill one side's buffers from float32 features `(n, dim)` and bits `(n, bits)` of 0 and 1."""
        config = self.config
        if len(features) < config.anchors:
            rows = torch.randint(len(features), (config.anchors,))
        else:
            rows = torch.randperm(len(features))[: config.anchors]
        anchors = features[rows]
        if config.anchor_choice == "k_means":
            anchors = k_means(features, anchors, K_MEANS_STEPS)
        bandwidth = torch.cdist(features, anchors).mean().clamp(min=torch.finfo(features.dtype).tiny)
        weight, bias = logistic_regressions(rbf(features, anchors, bandwidth), targets, config.regularization)
        getattr(self, f"{modality}_anchors").copy_(anchors)
        getattr(self, f"{modality}_bandwidth").copy_(bandwidth)
        getattr(self, f"{modality}_weight").copy_(weight)
        getattr(self, f"{modality}_bias").copy_(bias)

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        """Log odds of each bit being +1, by the image alone; see [`CMRModel.get_image_features`]."""
        return self._log_odds("image", image_features)

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        """Log odds of each bit being +1, by the text alone; see [`CMRModel.get_text_features`]."""
        return self._log_odds("text", text_features)

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Log odds of each bit of the one code of an item of which both sides are given, `(n, bits)`.

        p_image p_text / (p_image p_text + (1 - p_image) (1 - p_text)) has the sum of both log odds.
        """
        return self.get_image_features(image_features) + self.get_text_features(text_features)

    def _log_odds(self, modality: str, features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        anchors, bandwidth, weight, bias = (
            getattr(self, f"{modality}_{name}") for name in ("anchors", "bandwidth", "weight", "bias")
        )
        return rbf(features, anchors, bandwidth) @ weight + bias
