"""A retriever whose embeddings have a class part and an item part, each half of the features as they are."""

from __future__ import annotations

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from huggingface_hub.dataclasses import strict

import cmr_hub
from cmr_hub.encoders import create_encoder
from cmr_hub.modeling.configuration_cmr import CMRConfig
from cmr_hub.modeling.configuration_hashing import HashingConfig
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.parts import balanced, focused


@strict
class HalvesConfig(CMRConfig):
    model_type = "halves"
    class_dim: int = 8
    focus: float = 0.5


@strict
class HashedHalvesConfig(HashingConfig):
    model_type = "hashed_halves"
    class_dim: int = 8
    focus: float = 0.5


class HalvesModel(cmr_hub.CMRModel):
    title, paper, supervision = "Halves", "none", "unsupervised"
    has_focus = True
    config_class = HalvesConfig

    def __init__(self, config):
        super().__init__(config)
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        self.post_init()

    @property
    def accepts_focus(self):
        return self.config.class_dim > 0

    def get_image_features(self, image_features):
        return torch.from_numpy(balanced(image_features.numpy(), self.config.class_dim))

    def get_text_features(self, text_features):
        return torch.from_numpy(balanced(text_features.numpy(), self.config.class_dim))

    def with_focus(self, embeds, focus):
        if not self.accepts_focus:
            return super().with_focus(embeds, focus)
        return focused(embeds, self.config.class_dim, focus)


class HashedHalvesModel(HashingMixin, HalvesModel):
    title, paper, supervision = "Hashed halves", "none", "unsupervised"
    config_class = HashedHalvesConfig


def retriever_of_halves(*, hashing: bool = False, **settings) -> cmr_hub.Retriever:
    """16-d features of images and texts; their first half is the class part, or `class_dim` says how many."""
    model_class = HashedHalvesModel if hashing else HalvesModel
    model = model_class(model_class.config_class(image_dim=16, text_dim=16, embed_dim=16, **settings))
    encoders = [create_encoder(modality, "precomputed", dim=16) for modality in ("image", "text")]
    return cmr_hub.Retriever(model, cmr_hub.CMRProcessor(*encoders), name="halves")


def dataset_of_halves(classes: int = 4, items_of_each: int = 5, seed: int = 0) -> Dataset:
    """Items of which the class part says the class, and the item part which item it is, each a little blurred."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(classes), items_of_each)
    of_class = random.normal(size=(classes, 8))[label]
    of_item = random.normal(size=(len(label), 8))
    rows = np.concatenate([of_class, of_item], axis=1)
    images, texts = (rows + 0.4 * random.normal(size=rows.shape) for _ in range(2))
    features = Features(
        {
            "id": Value("string"),
            "image_features": List(Value("float32")),
            "text_features": List(Value("float32")),
            "label": ClassLabel(names=[f"class {number}" for number in range(classes)]),
        }
    )
    columns = {
        "id": [f"item {number}" for number in range(len(label))],
        "image_features": images.astype(np.float32),
        "text_features": texts.astype(np.float32),
        "label": label,
    }
    return Dataset.from_dict(columns, features=features)
