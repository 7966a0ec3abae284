"""Binary latent factors of two sides: one code an item, from which both sides' features can be told linearly.

With X_v the `(n, d_v)` features of side v, H_v the `(n, bits)` outputs of its network and a_v its weight, minimise

    sum_v a_v^r (||X_v - B U_v||^2 + ridge n ||U_v||^2 + lambda tr(B^T L_v B)) + gamma sum_v ||B - H_v||^2

over codes B of -1 and +1, factors U_v, and weights a_v that sum to one. L_v = (I - N_v) + (I + F_v), where N_v joins
the nearest items and F_v the farthest: the first term is small where neighbours share bits, the second where items far
apart differ in them. Each step below solves its part exactly, or lowers it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import torch
from torch.nn import functional as F

from cmr_hub.modeling.losses import add

CHUNK = 1024  # rows whose cosines with all others are in memory at once


def centred_rows(features: torch.Tensor, bits: int) -> torch.Tensor:
    """`(n, d)` features as rows of unit length, then centred and scaled to a code's mean squared length."""
    rows = F.normalize(features, dim=1)
    rows = rows - rows.mean(dim=0)
    return rows * (math.sqrt(bits) / rows.square().sum(dim=1).mean().sqrt().clamp(min=1e-8))


def neighbour_affinities(features: torch.Tensor, neighbours: int) -> tuple[torch.Tensor, torch.Tensor]:
    """N and F: who is among whose nearest, and among whose farthest, items by cosine, normalised.

    Args:
        features: `(n, d)`.
        neighbours: how many of each an item has, at most n - 1.

    Returns:
        Two sparse symmetric `(n, n)` D^(-1/2) A D^(-1/2), whose eigenvalues lie in [-1, 1].
    """
    rows, n = F.normalize(features, dim=1), len(features)
    most = min(neighbours, n - 1)
    nearest, farthest = [], []
    for chunk in torch.arange(n, device=rows.device).split(CHUNK):
        likeness = rows[chunk] @ rows.T
        own = torch.arange(len(chunk)), chunk  # nobody is their own neighbour
        likeness[own] = -math.inf
        nearest.append(likeness.topk(most).indices)
        likeness[own] = math.inf
        farthest.append(likeness.topk(most, largest=False).indices)
    return normalised_graph(torch.cat(nearest)), normalised_graph(torch.cat(farthest))


def normalised_graph(neighbours: torch.Tensor) -> torch.Tensor:
    """`(n, k)` neighbours of each item as D^(-1/2) A D^(-1/2), sparse, with A_ij the mean of "j of i" and "i of j"."""
    n, most = neighbours.shape
    ends = torch.stack([torch.arange(n, device=neighbours.device).repeat_interleave(most), neighbours.flatten()])
    joined = torch.sparse_coo_tensor(
        torch.cat([ends, ends.flip(0)], dim=1),
        torch.full((2 * n * most,), 0.5, device=ends.device),
        (n, n),
        check_invariants=True,
    ).coalesce()
    root = torch.sparse.sum(joined, dim=1).to_dense().rsqrt()
    first, second = joined.indices()
    values = joined.values() * root[first] * root[second]
    return torch.sparse_coo_tensor(joined.indices(), values, (n, n), check_invariants=True).coalesce()


def independent_groups(*joined: torch.Tensor) -> list[torch.Tensor]:
    """All n items in groups without neighbours, by greedy colouring, the items of most neighbours first.

    Args:
        joined: sparse symmetric `(n, n)` matrices; items are neighbours where any of them has an entry.

    Returns:
        The items of each group, int64.
    """
    n = len(joined[0])
    neighbours: list[set[int]] = [set() for _ in range(n)]
    for first, second in torch.cat([matrix.indices() for matrix in joined], dim=1).T.tolist():
        neighbours[first].add(second)
    group_of = [-1] * n
    for item in sorted(range(n), key=lambda item: -len(neighbours[item])):
        taken = {group_of[other] for other in neighbours[item]}
        group_of[item] = next(group for group in count() if group not in taken)
    groups = torch.tensor(group_of)
    return [(groups == group).nonzero().flatten().to(joined[0].device) for group in range(max(group_of) + 1)]


def modality_weights(errors: torch.Tensor, power: float) -> torch.Tensor:
    """The weights a that minimise sum_v a_v^r E_v and sum to one, from errors E and r = `power` above 1."""
    return torch.softmax(errors.clamp(min=1e-12).log() / (1 - power), dim=0)


@dataclass
class BinaryFactors:
    """Codes of all training items, and what they are solved from; see the module.

    Attributes:
        features: X_v of each modality, `(n, d)`.
        affinities: N_v - F_v of both sides, sparse `(n, n)`.
        groups: items without neighbours among them.
        group_affinities: the rows of both affinities that belong to each group, sparse `(items, n)`.
        codes: `(n, bits)` B, -1 and +1.
        laplacian_weight, network_weight, ridge, power: lambda, gamma, ridge and r.
    """

    features: list[torch.Tensor]
    affinities: list[torch.Tensor]
    groups: list[torch.Tensor]
    group_affinities: list[list[torch.Tensor]]
    codes: torch.Tensor
    laplacian_weight: float
    network_weight: float
    ridge: float
    power: float

    @classmethod
    def start(
        cls, image_features: torch.Tensor, text_features: torch.Tensor, bits: int, neighbours: int, **weights: float
    ) -> BinaryFactors:
        """Codes from random hyperplanes through both sides together."""
        features = [centred_rows(x, bits) for x in (image_features, text_features)]
        graphs = [neighbour_affinities(x, neighbours) for x in features]
        affinities = [(near - far).to(features[0].dtype).coalesce() for near, far in graphs]
        values = add(x @ torch.randn(x.shape[1], bits).to(x) for x in features)
        groups = independent_groups(*affinities)
        group_affinities = [[joined.index_select(0, items) for joined in affinities] for items in groups]
        return cls(features, affinities, groups, group_affinities, signs(values), **weights)

    def factors(self) -> list[torch.Tensor]:
        """U_v, `(bits, d)`: ridge regression of each side's features on the codes."""
        n, bits = self.codes.shape
        gram = self.codes.T @ self.codes + self.ridge * n * torch.eye(bits).to(self.codes)
        return [torch.linalg.solve(gram, self.codes.T @ x) for x in self.features]

    def errors(self, factors: list[torch.Tensor]) -> torch.Tensor:
        """`(2,)`: what a_v^r weighs of each side."""
        n, bits = self.codes.shape
        # tr(B^T L B) with L = 2 I - (N - F), and tr(B^T B) = n bits.
        laplacian = torch.stack(
            [2 * n * bits - (self.codes * (joined @ self.codes)).sum() for joined in self.affinities]
        )
        told = torch.stack(
            [
                (x - self.codes @ factor).square().sum() + self.ridge * n * factor.square().sum()
                for x, factor in zip(self.features, factors, strict=True)
            ]
        )
        return told + self.laplacian_weight * laplacian

    def objective(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """The value of the objective, a training item, factors and weights at their best.

        Args:
            outputs: H_v of each side, `(n, bits)`; none before the networks have learned anything.
        """
        errors = self.errors(self.factors())
        apart = sum((self.codes - output).square().sum() for output in outputs)
        weighted = (modality_weights(errors, self.power) ** self.power * errors).sum()
        return (weighted + self.network_weight * apart) / len(self.codes)

    def update(self, outputs: list[torch.Tensor]) -> None:
        """Solve factors and weights, then each bit of each item in turn with all others held.

        Items of one group are no neighbours, so that a bit of all of them is solved at once: where q is what factors,
        networks and neighbours say of it, its best value is the sign of q.
        """
        factors = self.factors()
        shares = modality_weights(self.errors(factors), self.power) ** self.power
        pull = add(
            share * x @ factor.T for share, x, factor in zip(shares, self.features, factors, strict=True)
        ) + self.network_weight * sum(outputs)
        overlap = add(share * factor @ factor.T for share, factor in zip(shares, factors, strict=True))
        overlap.fill_diagonal_(0)
        for items, joined in zip(self.groups, self.group_affinities, strict=True):
            near = add(share * affinity @ self.codes for share, affinity in zip(shares, joined, strict=True))
            fixed = (pull[items] + self.laplacian_weight * near).T.contiguous()
            codes = self.codes[items].T.contiguous()
            for bit in range(len(codes)):
                codes[bit] = signs(fixed[bit] - overlap[bit] @ codes)
            self.codes[items] = codes.T


def signs(values: torch.Tensor) -> torch.Tensor:
    """+1 above zero, else -1, as codes are packed."""
    return torch.where(values > 0, 1.0, -1.0).to(values)
