"""What image encoders with a network share: decoding the next batch while the network works on this one."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..images import ImageSource, load_image
from .base import ImageEncoder, NetworkEncoder, input_position

T = TypeVar("T")

ONE_PICTURE = (str, bytes, os.PathLike, Mapping, Image.Image)


class BackboneEncoder(NetworkEncoder, ImageEncoder):
    """An image encoder whose vectors a network computes.

    `_build_network` gives a network from a batch of what `_preprocess` gives to `(n, dim)`.

    Attributes:
        batch_size: how many pictures go through the network at a time. Few keep the activations inside a CPU's cache.
        min_side: a large JPEG may be decoded smaller, down to this; see `load_image`.
    """

    cacheable = True
    batch_size: int = 8
    min_side: int | None = None

    @abstractmethod
    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        """Pixel values `(n, 3, height, width)`, `float32`, of RGB pictures."""

    def encode(self, inputs: Sequence[ImageSource]) -> torch.Tensor:
        if isinstance(inputs, ONE_PICTURE) or (isinstance(inputs, np.ndarray) and inputs.ndim < 4):
            raise InputError("one picture was given where a list of pictures is taken. Put it into a list.")
        if not len(inputs):
            return torch.empty(0, self.dim)
        # Joined outside the inference mode: what is made inside it could not be trained on.
        return torch.cat([self._embed(batch) for batch in prefetch(self._pixels(inputs))])

    def _pixels(self, inputs: Sequence[ImageSource]) -> Iterator[torch.Tensor]:
        images = []
        for index, source in enumerate(inputs):
            with input_position("image", index, len(inputs)):
                images.append(load_image(source, min_side=self.min_side))
            if len(images) == self.batch_size or index == len(inputs) - 1:
                yield self._preprocess(images)
                images = []

    @torch.inference_mode()
    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        return self.network(pixels).flatten(1).float().cpu()


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before it is used; an error reaches the user in its turn."""
    iterator: Iterator[Any] = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(next, iterator, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, iterator, end)
            yield item
