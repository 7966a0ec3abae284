"""Inputs of either modality in one list, as sentence-transformers' `encode` takes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch

from cmr_hub.errors import InputError
from cmr_hub.modeling.embeddings import as_vectors, described
from cmr_hub.modeling.parts import balanced, focus_scale, focused

Encode = Callable[[list[Any]], np.ndarray]


def is_single(inputs: Any) -> bool:
    """Whether inputs are one text or one image, and not several of these."""
    return isinstance(inputs, str | bytes | os.PathLike | Mapping | PIL.Image.Image) or (
        isinstance(inputs, np.ndarray) and inputs.ndim in (2, 3)
    )


def encode_mixed(inputs: Sequence[Any], texts: Encode, images: Encode) -> np.ndarray:
    """Embed strings as texts and anything else as images, in the order of the inputs.

    Args:
        inputs: `n` texts and images.
        texts: embeds texts.
        images: embeds images.

    Returns:
        `(n, d)`.
    """
    is_text = np.array([isinstance(each, str) for each in inputs], bool)
    if is_text.all():  # also where there are none
        return texts(list(inputs))
    if not is_text.any():
        return images(list(inputs))
    found = {
        True: texts([each for each in inputs if isinstance(each, str)]),
        False: images([each for each in inputs if not isinstance(each, str)]),
    }
    rows = np.empty((len(inputs), found[True].shape[1]), found[True].dtype)
    for kind, embeds in found.items():
        rows[is_text == kind] = embeds
    return rows


def similarities(
    queries: np.ndarray | torch.Tensor, items: np.ndarray | torch.Tensor, class_dim: int | None, focus: float | None
) -> torch.Tensor:
    """Scores of queries and items, `(q, n)` float32, as a gallery gives them.

    Args:
        queries: `(q, d)` embeddings or codes, or one of them, `(d,)`.
        items: `(n, d)`, likewise.
        class_dim: width of the class part, of embeddings of two parts.
        focus: how queries weigh these.

    Raises:
        InputError: embeddings that cannot be compared.
    """
    one, other = (_rows(embeds) for embeds in (queries, items))
    if one.shape[1] != other.shape[1] or (one.dtype == np.uint8) != (other.dtype == np.uint8):
        raise InputError(
            f"{described(one)} cannot be compared with {described(other)}: encode both by one checkpoint."
        )
    one, other = as_vectors(one), as_vectors(other)
    if class_dim is None or focus is None:
        return torch.from_numpy(one @ other.T)
    weighed = focused(balanced(one, class_dim), class_dim, focus)
    return torch.from_numpy(focus_scale(focus) * weighed @ balanced(other, class_dim).T)


def _rows(embeds: np.ndarray | torch.Tensor) -> np.ndarray:
    rows = embeds.detach().cpu().numpy() if isinstance(embeds, torch.Tensor) else np.asarray(embeds)
    if rows.ndim not in (1, 2):
        raise InputError(f"Embeddings have the shape (n, d), and these have {rows.shape}.")
    return np.atleast_2d(rows)
