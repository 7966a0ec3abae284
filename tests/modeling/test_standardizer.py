"""Standardised features against NumPy, and what fits them before training."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cmr_hub.modeling.standardizer import CommonScale, FitStandardizers, Standardizer


def test_mean_zero_and_deviation_one():
    features = torch.randn(50, 3) * torch.tensor([0.01, 1.0, 100.0]) + 5
    standardizer = Standardizer(3)
    torch.testing.assert_close(standardizer(features), features)
    standardizer.fit(features)
    expected = (features.numpy() - features.numpy().mean(0)) / features.numpy().std(0)
    np.testing.assert_allclose(standardizer(features), expected, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 9])
def test_a_constant_dimension_becomes_zero(rows):
    standardizer, features = Standardizer(2), torch.full((rows, 2), 0.1)
    standardizer.fit(features)
    assert (standardizer(features) == 0).all()
    assert (standardizer(features + 1) - 1).abs().max() < 1e-6


def test_the_callback_fits_both_sides_on_all_training_pairs():
    class Pairs(torch.utils.data.Dataset):
        def __getitem__(self, rows):
            return {"image_features": torch.randn(60, 3)[rows] + 2, "text_features": 9 * torch.randn(60, 2)[rows]}

        def __len__(self):
            return 60

    model = nn.ModuleDict({"image_standardizer": Standardizer(3), "text_standardizer": Standardizer(2)})
    model.image_standardizer, model.text_standardizer = model["image_standardizer"], model["text_standardizer"]
    loader = torch.utils.data.DataLoader(Pairs(), batch_size=7, drop_last=True)
    FitStandardizers().on_train_begin(None, None, None, model=model, train_dataloader=loader)
    assert (model.image_standardizer.mean - 2).abs().max() < 0.6
    assert (model.text_standardizer.deviation - 9).abs().max() < 3


def test_features_are_centred_and_share_one_scale():
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1]) + 7
    scale = CommonScale(3)
    scale.fit(features)
    slow = [sum(row[k] for row in features.tolist()) / 50 for k in range(3)]
    squares = [(row[k] - slow[k]) ** 2 for row in features.tolist() for k in range(3)]
    expected = (features - torch.tensor(slow)) / math.sqrt(sum(squares) / 150)
    torch.testing.assert_close(scale(features), expected, atol=1e-5, rtol=1e-5)
    scale.fit(torch.ones(4, 3))
    assert scale(torch.ones(1, 3)).tolist() == [[0, 0, 0]]
