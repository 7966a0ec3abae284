"""Trainings of a second: a recipe and a data set of released features."""

from __future__ import annotations

from typing import Any

from datasets import DatasetDict

from cmr_hub.training.recipe import Recipe, load_recipe
from toys import feature_dataset


def feature_splits() -> DatasetDict:
    """Three splits of released features."""
    return DatasetDict(
        train=feature_dataset(200), validation=feature_dataset(40, 1, "val"), test=feature_dataset(60, 2, "test")
    )


def quick_recipe(method: str = "dscmr", **training: Any) -> Recipe:
    """A method's recipe, small enough for a test; protocols that choose on the test split watch its own epochs."""
    recipe = load_recipe(method).changed(encoders={"image": "precomputed", "text": "precomputed"}, test_selected=None)
    if method == "cca":
        return recipe.changed(config={"embed_dim": 4})
    if method == "sh":
        return recipe.with_bits(16)
    return recipe.changed(
        config={"hidden_dim": 32, "embed_dim": 16},
        training={"num_train_epochs": 4, "learning_rate": 3e-3, "per_device_train_batch_size": 50, **training},
    )
