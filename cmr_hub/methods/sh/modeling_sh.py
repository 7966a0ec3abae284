"""Spectral hashing of canonical variates. Equation numbers: the README beside this."""

from __future__ import annotations

import torch

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_canonical import CanonicalHashModel
from cmr_hub.modeling.solvers import principal_axes

from .configuration_sh import SHConfig


def slowest_modes(widths: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenfunctions of the uniform distribution on a box whose eigenvalues are smallest (equation 3).

    The eigenvalue grows with the frequency whatever the kernel's width, so that frequencies tell the order.

    Args:
        widths: `(d,)` sides of the box; a side of zero has no mode but those of infinite frequency, which come last.
        count: how many.

    Returns:
        `(count,)` sides that they vary along, and `(count,)` frequencies k π / width, smallest first.
    """
    modes = torch.arange(1, count + 1, dtype=widths.dtype, device=widths.device)
    smallest = torch.finfo(torch.float32).tiny ** 0.5  # so that even the frequencies of an empty side are finite
    frequencies = (torch.pi * modes / widths.clamp(min=smallest)[:, None]).flatten()
    order = frequencies.argsort(stable=True)[:count]
    return order // count, frequencies[order]


@register_method("sh", display_order=290)
class SHModel(CanonicalHashModel):
    """A bit is the sign of a wave along one principal axis of the common space."""

    title = "SH"
    paper = "Weiss et al., Spectral Hashing, NIPS 2008"
    supervision = "unsupervised"
    representation = "binary"
    config_class = SHConfig
    config: SHConfig
    axes: torch.Tensor
    starts: torch.Tensor
    frequencies: torch.Tensor

    def __init__(self, config: SHConfig):
        super().__init__(config)
        self.register_buffer("axes", torch.zeros(config.components, config.embed_dim))
        self.register_buffer("starts", torch.zeros(config.embed_dim))
        self.register_buffer("frequencies", torch.zeros(config.embed_dim))
        self.post_init()

    def _learn(self, points: torch.Tensor) -> None:
        _, axes = principal_axes(points)
        axes = axes[:, : self.config.embed_dim]  # as many as there are bits suffice (step 1)
        lowest, highest = (points @ axes).aminmax(dim=0)
        sides, frequencies = slowest_modes(highest - lowest, self.config.embed_dim)
        self.axes.copy_(axes[:, sides])
        self.starts.copy_(lowest[sides])
        self.frequencies.copy_(frequencies)

    def _hash(self, points: torch.Tensor) -> torch.Tensor:
        # sin(π/2 + z) = cos z
        return torch.cos((points @ self.axes - self.starts) * self.frequencies)
