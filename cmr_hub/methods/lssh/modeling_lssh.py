"""Latent semantic sparse hashing (Zhou, Ding & Guo, SIGIR 2014). Equations: the README beside this.

Items are rows here, X = S B, Y = A U, A = S R, where the paper has them as columns: X = B S, Y = U A, A = R S.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import ClosedFormCMRModel
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.precision import at_least_single

from .configuration_lssh import LSSHConfig


def sparse_coding_loss(
    x: torch.Tensor, codes: torch.Tensor, dictionary: torch.Tensor, sparsity: float
) -> torch.Tensor:
    """||x - s D||^2 + sparsity |s|_1 of each item: `(n, d)` and `(n, atoms)` to `(n,)`."""
    return (x - codes @ dictionary).square().sum(dim=1) + sparsity * codes.abs().sum(dim=1)


def sparse_codes(
    x: torch.Tensor, dictionary: torch.Tensor, sparsity: float, steps: int, start: torch.Tensor | None = None
) -> torch.Tensor:
    """The lasso of all items at once, by accelerated proximal gradient (FISTA).

    Args:
        x: `(n, d)` items.
        dictionary: `(atoms, d)`.
        sparsity: weight of the L1 norm.
        steps: how many; a fixed number, so that an item's code does not depend on who else is coded with it.
        start: `(n, atoms)` codes to set out from; zeros by default.

    Returns:
        `(n, atoms)` codes, none worse than its start.
    """
    start = x.new_zeros(x.shape[0], dictionary.shape[0]) if start is None else start
    curvature = 2 * torch.linalg.matrix_norm(dictionary, 2).square().clamp(min=1e-12)
    codes, ahead, momentum = start, start, 1.0
    for _ in range(steps):
        gradient = 2 * (ahead @ dictionary - x) @ dictionary.T
        moved = ahead - gradient / curvature
        last, codes = codes, moved.sign() * (moved.abs() - sparsity / curvature).clamp(min=0)  # soft threshold
        last_momentum, momentum = momentum, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = codes + (last_momentum - 1) / momentum * (codes - last)
    worse = sparse_coding_loss(x, codes, dictionary, sparsity) > sparse_coding_loss(x, start, dictionary, sparsity)
    return torch.where(worse[:, None], start, codes)


def learn_atoms(x: torch.Tensor, codes: torch.Tensor, atoms: torch.Tensor, sweeps: int = 2) -> torch.Tensor:
    """Atoms that lower ||X - S D||^2, each of length one at most, by exact steps on one atom after the other.

    Args:
        x: `(n, d)` items.
        codes: `(n, atoms)` S.
        atoms: `(atoms, d)` D to set out from, rows of length one at most.
        sweeps: passes over all atoms.

    Returns:
        `(atoms, d)`; an atom that no item uses stays.
    """
    atoms, gram, target = atoms.clone(), codes.T @ codes, codes.T @ x
    used = (gram.diagonal() > 1e-10).nonzero().flatten().tolist()
    for _ in range(sweeps):
        for k in used:
            atom = atoms[k] + (target[k] - gram[k] @ atoms) / gram[k, k]
            atoms[k] = atom / atom.norm().clamp(min=1)
    return atoms


def latent_factors(
    y: torch.Tensor, mapped: torch.Tensor, basis: torch.Tensor, mu: float, gamma: float
) -> torch.Tensor:
    """A that minimises mu ||Y - A U||^2 + gamma ||A - M||^2.

    Args:
        y: `(n, d)` texts.
        mapped: `(n, bits)` M: what the images say of A. Zeros where there are none.
        basis: `(bits, d)` U.
        mu: weight of the texts.
        gamma: weight of the images.
    """
    left = mu * basis @ basis.T + gamma * torch.eye(len(basis), dtype=basis.dtype, device=basis.device)
    return torch.linalg.solve(left, mu * y @ basis.T + gamma * mapped, left=False)


@dataclass(frozen=True)
class Factors:
    """All that the alternation learns.

    Attributes:
        codes: `(n, atoms)` S, the images' sparse codes.
        dictionary: `(atoms, components)` B.
        latent: `(n, bits)` A, the texts' factors.
        basis: `(bits, text_dim)` U.
        mapping: `(atoms, bits)` R.
    """

    codes: torch.Tensor
    dictionary: torch.Tensor
    latent: torch.Tensor
    basis: torch.Tensor
    mapping: torch.Tensor


def objective(x: torch.Tensor, y: torch.Tensor, factors: Factors, config: LSSHConfig) -> torch.Tensor:
    """||X - S B||^2 + sparsity |S|_1 + mu ||Y - A U||^2 + gamma ||A - S R||^2."""
    return (
        sparse_coding_loss(x, factors.codes, factors.dictionary, config.sparsity).sum()
        + config.mu * (y - factors.latent @ factors.basis).square().sum()
        + config.gamma * (factors.latent - factors.codes @ factors.mapping).square().sum()
    )


def alternate(x: torch.Tensor, y: torch.Tensor, config: LSSHConfig) -> Iterator[Factors]:
    """The factors after each step of the alternation, which lowers the objective in one of them at a time.

    Args:
        x: `(n, components)` images, rows of length one.
        y: `(n, text_dim)` texts, rows of length one.
        config: sizes and weights.
    """

    def random_atoms(count: int, width: int) -> torch.Tensor:
        return F.normalize(torch.randn(count, width, dtype=x.dtype), dim=1)

    gamma, size, bits = config.gamma, config.dictionary_size, config.embed_dim
    dictionary, mapping = random_atoms(size, x.shape[1]), random_atoms(size, bits)
    basis = random_atoms(bits, y.shape[1])
    codes = sparse_codes(x, dictionary, config.sparsity, config.sparse_steps)
    latent = latent_factors(y, codes @ mapping, basis, config.mu, gamma)
    yield Factors(codes, dictionary, latent, basis, mapping)
    for _ in range(config.iterations):
        basis = learn_atoms(y, latent, basis)
        yield Factors(codes, dictionary, latent, basis, mapping)
        both = torch.cat([x, gamma**0.5 * latent], dim=1), torch.cat([dictionary, gamma**0.5 * mapping], dim=1)
        codes = sparse_codes(*both, config.sparsity, config.sparse_steps, codes)
        yield Factors(codes, dictionary, latent, basis, mapping)
        dictionary, mapping = learn_atoms(x, codes, dictionary), learn_atoms(latent, codes, mapping)
        yield Factors(codes, dictionary, latent, basis, mapping)
        latent = latent_factors(y, codes @ mapping, basis, config.mu, gamma)
        yield Factors(codes, dictionary, latent, basis, mapping)


@register_method("lssh", display_order=220)
class LSSHModel(HashingMixin, ClosedFormCMRModel):
    """Images by sparse coding, texts by matrix factorisation, and a linear map from the one to the other."""

    title = "LSSH"
    paper = "Zhou et al., Latent Semantic Sparse Hashing for Cross-Modal Similarity Search, SIGIR 2014"
    supervision = "unsupervised"
    representation = "binary"
    is_stochastic = True
    config_class = LSSHConfig
    config: LSSHConfig
    image_mean: torch.Tensor
    text_mean: torch.Tensor
    components: torch.Tensor
    dictionary: torch.Tensor
    mapping: torch.Tensor
    basis: torch.Tensor

    def __init__(self, config: LSSHConfig):
        super().__init__(config)
        components = min(config.image_components, config.image_dim)
        self.register_buffer("image_mean", torch.zeros(config.image_dim))
        self.register_buffer("text_mean", torch.zeros(config.text_dim))
        self.register_buffer("components", torch.zeros(config.image_dim, components))
        self.register_buffer("dictionary", torch.zeros(config.dictionary_size, components))
        self.register_buffer("mapping", torch.zeros(config.dictionary_size, config.embed_dim))
        self.register_buffer("basis", torch.zeros(config.embed_dim, config.text_dim))
        self.post_init()

    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None) -> None:
        self.image_mean.copy_(image_features.mean(dim=0))
        self.text_mean.copy_(text_features.mean(dim=0))
        _, vectors = torch.linalg.eigh(torch.cov(image_features.T, correction=0))
        self.components.copy_(vectors.flip(1)[:, : self.components.shape[1]])
        images, texts = self._prepared_images(image_features.float()), self._prepared_texts(text_features.float())
        found = deque(alternate(images, texts, self.config), maxlen=1).pop()
        self.dictionary.copy_(found.dictionary)
        self.mapping.copy_(found.mapping)
        self.basis.copy_(found.basis)

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        images = self._prepared_images(image_features)
        images, dictionary, mapping = at_least_single(images, self.dictionary, self.mapping)
        codes = sparse_codes(images, dictionary, self.config.sparsity, self.config.sparse_steps)
        return codes @ mapping

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        nothing = text_features.new_zeros(len(text_features), self.config.embed_dim)
        return self._latent(text_features, nothing)

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """The unified code's values of items whose two sides are given: A, as training solves it.

        Args:
            image_features: `(n, image_dim)`.
            text_features: `(n, text_dim)`.

        Returns:
            `(n, embed_dim)` values, whose signs are the codes.
        """
        return self._latent(text_features, self.get_image_features(image_features))

    def _latent(self, text_features: torch.Tensor, mapped: torch.Tensor) -> torch.Tensor:
        texts, mapped, basis = at_least_single(self._prepared_texts(text_features), mapped, self.basis)
        return latent_factors(texts, mapped, basis, self.config.mu, self.config.gamma)

    def _prepared_images(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize((features - self.image_mean) @ self.components, dim=1)

    def _prepared_texts(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(features - self.text_mean, dim=1)
