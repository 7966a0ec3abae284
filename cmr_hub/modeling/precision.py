"""Inputs in the precision of a model's weights: encoders give float32, and a model may be in half precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import nn


def as_weights(model: nn.Module, values: Iterable[Any]) -> list[Any]:
    """Values with the floating-point tensors among them in the type of a model's weights, where it has any.

    Example:
    ```python
    >>> given = torch.ones(1, 2), torch.arange(1)
    >>> [value.dtype for value in as_weights(nn.Linear(2, 2).bfloat16(), given)]
    [torch.bfloat16, torch.int64]
    ```
    """
    weights = chain(model.parameters(), model.buffers())
    dtype = next((each.dtype for each in weights if each.is_floating_point()), None)
    return [
        value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in values
    ]


def in_precision_of_weights(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a model that takes floating-point tensors of any precision, and computes in that of its weights."""

    @functools.wraps(method)
    def wrapper(self: Any, *inputs: Any, **named: Any) -> Any:
        return method(
            self, *as_weights(self, inputs), **dict(zip(named, as_weights(self, named.values()), strict=True))
        )

    return wrapper


def at_least_single(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Tensors for `torch.linalg`, which has no half precision: float32 in its place.

    Example:
    ```python
    >>> [each.dtype for each in at_least_single(torch.ones(1).half(), torch.ones(1).double())]
    [torch.float32, torch.float64]
    ```
    """
    return [each.float() if each.dtype.itemsize < torch.float32.itemsize else each for each in tensors]
