"""Features scaled to mean zero and variance one, each dimension or all together, by methods that assume such."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

CONSTANT = 1e-8  # a dimension that deviates less than this is only moved to zero, not blown up


class Standardizer(nn.Module):
    """(x - mean) / deviation a dimension, both persistent buffers; the identity until `fit`.

    Args:
        dim: width of the features.

    Example:
    ```python
    >>> standardizer = Standardizer(2)
    >>> standardizer.fit(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    >>> standardizer(torch.tensor([[3.0, 7.0]])).tolist()
    [[1.0, 0.0]]
    ```
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    @torch.no_grad()
    def fit(self, features: torch.Tensor) -> None:
        """Learn both from `(n, dim)` features; population deviation."""
        deviation, mean = torch.std_mean(features.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > CONSTANT, deviation, 1.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Standardise `(n, dim)` features."""
        return (features - self.mean) / self.deviation


class CommonScale(Standardizer):
    """(x - mean) / deviation, with one deviation for all dimensions: rare words do not grow as loud as common ones."""

    @torch.no_grad()
    def fit(self, features: torch.Tensor) -> None:
        """Learn both from `(n, dim)` features; population deviation, its square averaged over the dimensions."""
        variances, mean = torch.var_mean(features, dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.fill_(deviation if (deviation := variances.mean().sqrt()) > CONSTANT else 1.0)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a batch of one as well, by the running statistics: one row has no deviation."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Normalise `(n, d)` rows."""
        if self.training and len(rows) == 1:
            return F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(rows)


class FitToFeatures(TrainerCallback):
    """What learns from the training features once, before the first step of a training.

    Training that goes on from a finished checkpoint leaves it out: the checkpoint has what was learned.
    """


class FitStandardizers(FitToFeatures):
    """Fits a model's `image_standardizer` and `text_standardizer` on the training features before the first step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model, features = kwargs["model"], kwargs["train_dataloader"].dataset[:]
        model.image_standardizer.fit(features["image_features"])
        model.text_standardizer.fit(features["text_features"])
