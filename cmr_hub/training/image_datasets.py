"""Pairs whose images go through a network that learns: kept as what that network is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from cmr_hub.encoders.backbone import BackboneEncoder
from cmr_hub.encoders.parallel import prefetch
from cmr_hub.utils.processes import this_process

from .datasets import Pairs

ROWS_AT_ONCE = 64
# What a training batch says of images, by these names: what the network is given of each, and whose each row is.
NETWORK_INPUTS, PLACES = "network_inputs", "places"


@torch.no_grad()
def run_frozen(encoder: BackboneEncoder, frozen: nn.Module, images: Sequence[Any]) -> torch.Tensor:
    """What the part of an encoder's network that stays as it is makes of `n` images, with progress.

    Returns:
        `(n, …)` in half precision, as the feature store keeps features: it is all kept in memory.

    Raises:
        InputError: an image cannot be used; its position and the reason are named.
    """
    rows, done = torch.empty(0), 0
    with tqdm(total=len(images), desc="Images", unit="img", disable=not this_process().is_main) as bar:
        for pixels in prefetch(encoder.pixels(images)):
            outputs = frozen(pixels.to(encoder.device, memory_format=torch.channels_last)).half().cpu()
            if not done:  # the width is known by now; collecting batches would take the memory twice
                rows = torch.empty(len(images), *outputs.shape[1:], dtype=torch.half)
            rows[done : done + len(outputs)] = outputs
            done += len(outputs)
            bar.update(len(outputs))
    return rows


class ImageSource:
    """A split's images and the network that learns from them.

    Args:
        encoder: whose network it is.
        learner: the part of it that learns.
        inputs: `(n, …)`, what that part is given; see [`run_frozen`].
    """

    def __init__(self, encoder: BackboneEncoder, learner: nn.Module, inputs: torch.Tensor):
        self.encoder, self.learner, self._inputs = encoder, learner, inputs

    def inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """What the learner is given of some images, float32, channels last where there are any."""
        inputs = self._inputs[rows].float()
        return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs

    @torch.no_grad()
    def features(self, rows: torch.Tensor) -> torch.Tensor:
        """Features of some images by the network as it is now, without gradients.

        An image that is named twice is seen once.
        """
        which, places = rows.unique(return_inverse=True)
        device = next(self.learner.parameters()).device
        outputs = [self.learner(self.inputs(some).to(device)) for some in which.split(ROWS_AT_ONCE)]
        return self.encoder.as_features(torch.cat(outputs))[places].cpu()


class ImagePairs(Pairs):
    """[`Pairs`] for training an encoder's network along with a method.

    A batch of the Trainer's has no features, but what the network is given, each image once however many of its
    texts are there: gradients must reach the network. Whoever indexes the pairs otherwise, as methods' callbacks do,
    finds features by the network as it is by then.

    Args:
        image_source: of the `n` items.
        tensors: as for [`Pairs`], without those of images.
    """

    def __init__(self, image_source: ImageSource, **tensors: Any):
        super().__init__(**tensors)
        self.image_source = image_source

    def __getitem__(self, index: int | slice | torch.Tensor) -> dict[str, torch.Tensor]:
        batch = super().__getitem__(index)
        return {**batch, **self.image_source.encoder.as_inputs(self.image_source.features(batch["items"]))}

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        rows = torch.as_tensor(indices)
        batch = {**super().__getitem__(rows), **self.relation(rows)}
        which, places = batch["items"].unique(return_inverse=True)
        return {**batch, PLACES: places, NETWORK_INPUTS: self.image_source.inputs(which)}
