"""Frozen encoders: raw images and texts in, feature vectors out. One line below lists one encoder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr_hub.errors import CheckpointError, UnknownNameError
from cmr_hub.utils.registry import Registry

if TYPE_CHECKING:
    from .base import Encoder

# A name that ends in "/" is a family: what follows the slash says which model ("torchvision/resnet50").
ENCODERS = {
    "image": Registry(
        "image encoder",
        {
            "efficientnet-lite0": "cmr_hub.encoders.efficientnet_lite0:EfficientNetLite0Encoder",
            "alexnet": "cmr_hub.encoders.torchvision_backbones:TorchvisionEncoder",
            "vgg16": "cmr_hub.encoders.torchvision_backbones:TorchvisionEncoder",
            "vgg19": "cmr_hub.encoders.torchvision_backbones:TorchvisionEncoder",
            "torchvision/": "cmr_hub.encoders.torchvision_backbones:TorchvisionEncoder",
            "transformers/": "cmr_hub.encoders.transformers_models:TransformersImageEncoder",
            "pixels": "cmr_hub.encoders.pixels:PixelsEncoder",
            "precomputed": "cmr_hub.encoders.precomputed:PrecomputedEncoder",
        },
    ),
    "text": Registry(
        "text encoder",
        {
            "bow": "cmr_hub.encoders.bag_of_words:BagOfWordsEncoder",
            "tfidf": "cmr_hub.encoders.bag_of_words:TfidfEncoder",
            "tokens": "cmr_hub.encoders.tokens:TokensEncoder",
            "glove": "cmr_hub.encoders.glove:GloveEncoder",
            "word2vec": "cmr_hub.encoders.word2vec:Word2VecEncoder",
            "sentence_cnn": "cmr_hub.encoders.sentence_cnn:SentenceCNNEncoder",
            "transformers/": "cmr_hub.encoders.transformers_models:TransformersTextEncoder",
            "precomputed": "cmr_hub.encoders.precomputed:PrecomputedEncoder",
        },
    ),
}


def create_encoder(modality: str, name: str, **options: Any) -> Encoder:
    """A new encoder by name.

    Args:
        modality: "image" or "text".
        name: one of `list_encoders(modality)`; a family's name goes on after the slash:
            "torchvision/resnet50", "transformers/openai/clip-vit-base-patch32", "transformers//a/local/folder".
        options: what the encoder's class takes.

    Raises:
        UnknownNameError: no such modality or encoder; near names are suggested.

    Example:

    ```python
    >>> from cmr_hub.encoders import create_encoder
    >>> encoder = create_encoder("text", "bow", max_features=1000).fit(["a red bird", "a red car"])
    >>> encoder.encode(["red, red!"]).tolist()
    [[0.0, 0.0, 0.0, 2.0]]
    ```
    """
    return encoder_class(modality, name).from_name(name, modality, **options)


def load_encoder(config: dict[str, Any], folder: str | os.PathLike | None = None) -> Encoder:
    """The encoder that `Encoder.to_dict` described, with the files that `save_files` left in `folder`.

    Raises:
        CheckpointError: the description or one of the files is incomplete or damaged.
        UnknownNameError: the description is of an encoder that does not exist here.
    """
    if not isinstance(config, dict) or not {"name", "modality"} <= config.keys():
        raise CheckpointError(
            f"An encoder is described by a 'name' and a 'modality', but the checkpoint says {config}."
        )
    kind = encoder_class(config["modality"], config["name"])
    try:
        return kind.from_dict(config, None if folder is None else Path(folder))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"The description of the encoder {config['name']!r} is wrong: {error!r}.") from error


def list_encoders(modality: str) -> list[str]:
    """The names of one modality's encoders, sorted; one that ends in "/" is a family of encoders.

    Example:

    ```python
    >>> from cmr_hub.encoders import list_encoders
    >>> list_encoders("text")
    ['bow', 'glove', 'precomputed', 'sentence_cnn', 'tfidf', 'tokens', 'transformers/', 'word2vec']
    ```
    """
    return _registry(modality).list()


def _registry(modality: str) -> Registry:
    if modality not in ENCODERS:
        raise UnknownNameError("modality", modality, ENCODERS)
    return ENCODERS[modality]


def encoder_class(modality: str, name: str) -> type[Encoder]:
    """The class that a name stands for; of a family's name what precedes the slash counts."""
    family, slash, _ = str(name).partition("/")
    return _registry(modality)[family + slash]
