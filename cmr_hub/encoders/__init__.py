"""Frozen encoders: raw images and texts in, feature vectors out. One file per encoder.

`@register_encoder` makes a class known by name: in this folder, in an installed package that has an entry point in the
group `cmr_hub.encoders.image` or `cmr_hub.encoders.text`, or in your own script.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cmr_hub.errors import CheckpointError, CMRError, InputError, UnknownNameError
from cmr_hub.utils.registry import DEFAULT_ORDER, Registry

from .spec import EncoderSpec, GivenEncoder

if TYPE_CHECKING:
    from .base import Encoder

    EncoderClass = TypeVar("EncoderClass", bound=Encoder)

REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
# A name that ends in "/" is a family: what follows the slash says which model ("torchvision/resnet50").
ENCODERS: dict[str, Registry[type[Encoder]]] = {
    modality: Registry(
        f"{modality} encoder",
        decorator="register_encoder",
        arguments=(modality,),
        package="cmr_hub.encoders",
        group=f"cmr_hub.encoders.{modality}",
        base="cmr_hub.encoders.base:Encoder",
    )
    for modality in ("image", "text")
}


def register_encoder(
    modality: str, *names: str, display_order: int = DEFAULT_ORDER
) -> Callable[[type[EncoderClass]], type[EncoderClass]]:
    """Register a class of encoders. One with a single name gets it as its `name`.

    Args:
        modality: "image" or "text".
        names: what recipes and checkpoints call it; one that ends in "/" stands for a family, of which
            `Encoder.from_name` reads the rest.
        display_order: encoders are listed by it, then by name.

    Raises:
        UnknownNameError: there is no such modality.
        InputError: a name is no text without white space.
        DuplicateNameError: another class has one of the names.

    Example:
    ```python
    @register_encoder("text", "toy")
    class ToyEncoder(TextEncoder):
        dim = 2
    ```
    """
    add = _registry(modality).register(*names, display_order=display_order)

    def register(cls: type[EncoderClass]) -> type[EncoderClass]:
        add(cls)
        if len(names) == 1 and not names[0].endswith("/"):
            cls.name = names[0]
        return cls

    return register


def create_encoder(
    modality: str, name: str, *, backend: str | None = None, precision: str | None = None, **options: Any
) -> Encoder:
    """A new encoder by name.

    Args:
        modality: "image" or "text".
        name: one of `list_encoders(modality)`; a family's name goes on after the slash:
            "torchvision/resnet50", "transformers/openai/clip-vit-base-patch32", "transformers//a/local/folder". Also
            what else [`resolve_encoder`] takes.
        backend: what computes its network, if it has one; see [`~cmr_hub.encoders.base.Encoder.use_backend`].
        precision: of its network, "f32" or "bf16".
        options: what the encoder's class takes.

    Raises:
        UnknownNameError: no such modality, encoder, backend or precision; near names are suggested.
        MissingExtraError: a package that the backend needs is not installed.
        InputError: a family without a model, or options that the encoder's class does not take.

    Example:
    ```python
    >>> from cmr_hub.encoders import create_encoder
    >>> encoder = create_encoder("text", "bow", max_features=1000).fit(["a red bird", "a red car"])
    >>> encoder.encode(["red, red!"]).tolist()
    [[0.0, 0.0, 0.0, 2.0]]
    ```
    """
    spec = resolve_encoder(modality, EncoderSpec(name, options))
    kind = encoder_class(modality, spec.name)
    try:
        encoder = kind.from_name(spec.name, modality, **spec.options)
    except TypeError as error:
        raise InputError(
            f"The {modality} encoder {spec.name!r:.200} does not take these options ({error}). See {kind.__name__}."
        ) from error
    return encoder if backend is precision is None else encoder.use_backend(backend, precision)


def resolve_encoder(modality: str, given: GivenEncoder) -> EncoderSpec:
    """Name an encoder as the registry does, in whatever way it is written.

    In addition to registered names, a name may be a family's, with the model as an option; a folder with a model; or
    a repo id of the Hub. Models of sentence-transformers are those with a file `modules.json`; others are taken for
    models of transformers.

    Args:
        modality: "image" or "text".
        given: a name, or a mapping of `name` and options.

    Raises:
        UnknownNameError: no such modality or encoder; near names are suggested.
        InputError: it is neither a name nor such a mapping, or a family without a model.

    Example:
    ```python
    >>> from cmr_hub.encoders import resolve_encoder
    >>> resolve_encoder("image", {"name": "transformers", "model": "facebook/dinov2-small"}).name
    'transformers/facebook/dinov2-small'
    ```
    """
    spec, registry = EncoderSpec.parse(given), _registry(modality)
    family, slash, model = spec.name.partition("/")
    if family + slash in registry and (model or not slash):
        return spec
    if f"{family}/" in registry:
        options = dict(spec.options)
        model = options.pop("model", None)
        if not isinstance(model, str) or not model:
            raise InputError(
                f"{family!r} is a family of {modality} encoders. Say which model: {family}/MODEL, or "
                f"{{name: {family}, model: MODEL}}."
            )
        return EncoderSpec(f"{family}/{model}", options)
    folder = os.path.expanduser(spec.name)
    if os.path.isdir(folder):
        return EncoderSpec(_family_of(modality, folder) + folder, spec.options)
    near = get_close_matches(family, [name.rstrip("/") for name in registry], cutoff=0.8)
    if near or not REPO_ID.fullmatch(spec.name):
        raise UnknownNameError(f"{modality} encoder", spec.name, registry)
    return EncoderSpec(_family_of(modality, spec.name) + spec.name, spec.options)


def _family_of(modality: str, model: str) -> str:
    """The family of encoders that a folder or a repo of the Hub belongs to."""
    if modality == "image":
        return "transformers/"
    if os.path.isdir(model):
        has_modules = os.path.isfile(os.path.join(model, "modules.json"))
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HTTPError

        try:
            has_modules = bool(hf_hub_download(model, "modules.json"))
        except (HTTPError, OSError, ValueError):  # it has none, or loading the model says what is wrong
            has_modules = False
    return "sentence-transformers/" if has_modules else "transformers/"


def load_encoder(config: dict[str, Any], folder: str | os.PathLike | None = None) -> Encoder:
    """The encoder that `Encoder.to_dict` described, with the files that `save_files` left in `folder`.

    Raises:
        CheckpointError: the description or one of the files is incomplete or damaged.
        UnknownNameError: the description is of an encoder that does not exist here.
    """
    if not isinstance(config, dict) or not all(isinstance(config.get(key), str) for key in ("name", "modality")):
        raise CheckpointError(
            f"An encoder is described by a 'name' and a 'modality', but the checkpoint says {config!r:.200}."
        )
    kind = encoder_class(config["modality"], config["name"])
    try:
        return kind.from_dict(config, None if folder is None else Path(folder))
    except CheckpointError:
        raise
    except CMRError as error:
        raise CheckpointError(f"The description of the encoder {config['name']!r} is wrong: {error}") from error
    except Exception as error:  # of whatever a value of another type breaks
        raise CheckpointError(f"The description of the encoder {config['name']!r} is wrong: {error!r}.") from error


def list_encoders(modality: str) -> list[str]:
    """The names of one modality's encoders, sorted; one that ends in "/" is a family of encoders.

    Example:
    ```python
    >>> from cmr_hub.encoders import list_encoders
    >>> list_encoders("image")[:4]
    ['alexnet', 'concat/', 'efficientnet-lite0', 'efficientnet-lite1']
    >>> list_encoders("text")[:4]
    ['bow', 'concat/', 'glove', 'minilm']
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
