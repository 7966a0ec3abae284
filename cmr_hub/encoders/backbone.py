"""What image encoders with a network share: decoding ahead of the network, and features of an image's regions."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.utils.images import ImageSource, load_image

from .backends import Compute, Inputs
from .base import ImageEncoder, NetworkEncoder, input_position
from .parallel import map_in_order, prefetch

# Images with their positions and how many there are in all.
Batch = list[tuple[int, int, ImageSource]]

ONE_IMAGE = (str, bytes, os.PathLike, Mapping, Image.Image)
# How many pixels wide a region is: convolutional networks mostly halve an image five times.
REGION_SIDE = 32
MAX_GRID = 32
MAX_WAITING = 16_000_000  # pixels of decoded images that wait for the rest of their batch
MAX_RATIO = 500  # of an image's sides; a resize of the shorter one to 256 pixels makes gigabytes of more


class BackboneEncoder(NetworkEncoder, ImageEncoder):
    """An image encoder whose vectors a network computes.

    `_build_network` gives a network from a batch of what `_preprocess` gives to `(n, dim)`; with a grid, to
    `(n, dim, grid, grid)`. `encode` then gives `(n, grid * grid, dim)`, the regions row by row from the top left.

    Attributes:
        grid: how many regions an image has in each row and column; None where one vector stands for all of it.
        batch_size: how many images go through the network at a time. Few keep the activations inside a CPU's cache.
        min_side: a large JPEG may be decoded smaller, down to this; see `load_image`.
    """

    cacheable = True
    grid: int | None = None
    batch_size: int = 8
    min_side: int | None = None

    @property
    def input_name(self) -> str:
        return super().input_name if self.grid is None else "region_features"

    @property
    def mapped(self) -> bool:
        return self.grid is not None

    def _use_grid(self, grid: int | None) -> None:
        """Have this grid of the whole image's regions from now on; None for one vector.

        Raises:
            InputError: `grid` is no whole number from 1 to 32.
        """
        if grid is None:
            return
        if type(grid) is not int or not 1 <= grid <= MAX_GRID:  # True is an int too
            raise InputError(f"grid must be a whole number from 1 to {MAX_GRID}, and is {grid!r}.")
        self.grid, self.min_side = grid, 2 * REGION_SIDE * grid

    def _grid_to_dict(self) -> dict[str, int]:
        """What `to_dict` says of the grid: nothing where there is none, so that pooled features keep fingerprints."""
        return {} if self.grid is None else {"grid": self.grid}

    @abstractmethod
    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        """Pixel values `(n, 3, height, width)`, `float32`, of RGB images."""

    def encode(self, inputs: Sequence[ImageSource]) -> torch.Tensor:
        if isinstance(inputs, ONE_IMAGE) or (isinstance(inputs, np.ndarray) and inputs.ndim < 4):
            raise InputError("one image was given where a list of images is taken. Put it into a list.")
        if not len(inputs):
            return torch.empty(0, *([] if self.grid is None else [self.grid**2]), self.dim)
        # Made outside the inference mode: what is made inside it could not be trained on.
        features, done = torch.empty(0), 0
        compute = self._computing(len(inputs))
        for rows in self._rows(inputs, compute):
            if not done:  # the width is known by now; collecting batches would take the memory twice
                features = torch.empty(len(inputs), *rows.shape[1:])
            features[done : done + len(rows)] = rows
            done += len(rows)
        return features

    def _rows(self, inputs: Sequence[ImageSource], compute: Compute) -> Iterator[torch.Tensor]:
        """Features of one batch after another."""
        if compute.workers == 1:
            return (self._embed(pixels, compute) for pixels in prefetch(self.pixels(inputs)))
        # Each thread decodes a batch and computes it alone: no thread waits for another.
        batches = self._batches(inputs, compute.batch_size(len(inputs), self.batch_size))
        return map_in_order(lambda batch: self._embed(self._pixels_of(batch), compute), batches, compute.workers)

    def pixels(self, inputs: Sequence[ImageSource]) -> Iterator[torch.Tensor]:
        """What the network is given, `batch_size` images at a time.

        Raises:
            InputError: an image cannot be used; its position and the reason are named.
        """
        return map(self._pixels_of, self._batches(inputs, self.batch_size))

    @staticmethod
    def _batches(inputs: Sequence[ImageSource], size: int) -> Iterator[Batch]:
        numbered = ((index, len(inputs), source) for index, source in enumerate(inputs))
        return iter(lambda: list(islice(numbered, size)), [])

    def _pixels_of(self, batch: Batch) -> torch.Tensor:
        images: list[Image.Image] = []  # decoded, but not preprocessed yet
        parts: list[torch.Tensor] = []
        for index, count, source in batch:
            with input_position("image", index, count):
                images.append(load_image(source, min_side=self.min_side))
                check_shape(images[-1])
            if sum(image.width * image.height for image in images) > MAX_WAITING:
                parts.append(self._preprocess(images))
                images = []
        if images:
            parts.append(self._preprocess(images))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.inference_mode()
    def _embed(self, pixels: torch.Tensor, compute: Compute | None = None) -> torch.Tensor:
        return self.as_features((compute or self._compute_in_torch)(pixels)).cpu()

    def _example_inputs(self, count: int) -> Inputs:
        noise = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        return (self._preprocess([Image.fromarray(image) for image in noise]),)

    def as_features(self, outputs: torch.Tensor) -> torch.Tensor:
        """What the network gave as features, float32: `(n, dim)`, or with a grid `(n, grid * grid, dim)`.

        Gradients pass: whoever trains the network trains through this.
        """
        features = outputs.flatten(1) if self.grid is None else outputs.flatten(2).transpose(1, 2).contiguous()
        return features.float()


def check_shape(image: Image.Image) -> None:
    """Refuse an image that is far longer than wide, or the other way round.

    Raises:
        InputError: it is.
    """
    short, long = sorted(image.size)
    if long > MAX_RATIO * short:
        raise InputError(
            f"it has {image.width} x {image.height} pixels, and one side may be at most {MAX_RATIO} times as long as "
            "the other. Crop it."
        )
