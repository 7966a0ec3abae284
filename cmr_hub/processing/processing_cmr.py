"""From raw images and raw texts to what a model eats."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from transformers import BatchFeature, ProcessorMixin, TensorType

from cmr_hub.encoders import load_encoder
from cmr_hub.encoders.base import Encoder, check_text, input_position
from cmr_hub.errors import CheckpointError, CMRError, InputError, UnknownArgumentError
from cmr_hub.utils.checkpoint_files import check_folder, read_json
from cmr_hub.utils.checksums import CHECKSUMS_NAME, checked, saved
from cmr_hub.utils.hub import Location, fetching_options, pop_location, resolve
from cmr_hub.utils.loading_options import check_known, pop_device, pop_dtype, without_effect

from .batches import as_list, is_single
from .feature_store import FeatureStore

CONFIG_NAME = "processor_config.json"
TENSORS = (TensorType.PYTORCH, TensorType.NUMPY)
# Of other processors' calls, without a meaning for frozen encoders: they pad and cut texts by themselves.
TOKENIZER_OPTIONS = frozenset(
    {
        *("padding", "truncation", "max_length", "pad_to_multiple_of", "padding_side", "add_special_tokens"),
        *("return_attention_mask", "return_token_type_ids"),
    }
)
OPTION_GROUPS = ("text_kwargs", "images_kwargs", "common_kwargs")
LOADING_OPTIONS = (*Location.__annotations__, "device", "device_map", "dtype", "backend", "precision", "verify")


def flattened(texts: Sequence[str | Sequence[str]]) -> tuple[list[str], list[int]]:
    """Texts, some of them lists of strings that describe one thing together, as strings, and how many each was.

    Raises:
        InputError: a list is empty, or something is no string; its position is named.

    Example:
    ```python
    >>> flattened(["a cat", ["a dog", "a puppy"]])
    (['a cat', 'a dog', 'a puppy'], [1, 2])
    ```
    """
    groups: list[list[str]] = [list(text) if isinstance(text, list | tuple) else [cast(str, text)] for text in texts]
    for position, group in enumerate(groups):
        with input_position("text", position, len(groups)):
            if not group:
                raise InputError("it is an empty list: give at least one string.")
            for text in group:
                check_text(text)
    return [text for group in groups for text in group], [len(group) for group in groups]


def _checked_options(caller: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a processor's call, with those of one modality among the others.

    Raises:
        UnknownArgumentError: one has no meaning for any processor of cmr_hub.
    """
    groups = [options[name] or {} for name in OPTION_GROUPS if name in options]
    single = {name: value for name, value in options.items() if name not in OPTION_GROUPS}
    merged = {name: value for group in (single, *groups) for name, value in group.items() if value is not None}
    for name in merged.keys() - {*TOKENIZER_OPTIONS, "return_tensors"}:
        raise UnknownArgumentError(caller, name, ("images", "text", "return_tensors", *sorted(TOKENIZER_OPTIONS)))
    return merged


class CMRProcessor(ProcessorMixin):
    """A frozen image encoder and a frozen text encoder, saved next to a model's weights.

    Args:
        image_encoder: what turns images (or released image features) into vectors.
        text_encoder: what turns texts (or released text features) into vectors.

    Example:
    ```python
    >>> from cmr_hub import CMRProcessor
    >>> from cmr_hub.encoders import create_encoder
    >>> processor = CMRProcessor(create_encoder("image", "efficientnet-lite0"), create_encoder("text", "glove"))
    >>> processor(text=["a smiling cat", ["a dog", "a puppy on grass"]])["text_features"].shape
    torch.Size([2, 50])
    ```
    """

    def __init__(self, image_encoder: Encoder, text_encoder: Encoder):
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        *,
        return_tensors: str | TensorType | None = "pt",
        cache: bool = False,
        show_progress: bool = False,
        **options: Any,
    ) -> BatchFeature:
        """Encode whichever modalities are given.

        Args:
            images: a path, PIL image or array, or a list of `n`; or an `(n, dim)` array where the encoder is
                "precomputed".
            text: a string, or a list of `n` strings or of lists of strings that describe one thing together: their
                vectors are averaged. An `(n, dim)` array where the encoder is "precomputed".
            return_tensors: "pt" for torch tensors, "np" for numpy arrays.
            cache: keep the features of encoders that are slow on disk and look for them there first; see
                [`FeatureStore`].
            show_progress: show a bar while inputs are encoded through the cache.
            options: `padding`, `truncation`, `max_length` and other options of tokenizers, which are accepted and
                change nothing: the frozen encoders pad and cut texts by themselves. Also as `text_kwargs`,
                `images_kwargs` and `common_kwargs`.

        Returns:
            What the model takes, one row per input, also of a single one. Mostly `image_features` `(n, image_dim)` and
            `text_features` `(n, text_dim)`, float32; of encoders that keep an image's regions and a text's words
            apart, `region_features` `(n, regions, image_dim)`, float32, and `input_ids` with `attention_mask`
            `(n, words)`, int64.

        Raises:
            InputError: no modality is given; an input cannot be used, its position and the reason are named; several
                texts of one thing are given to an encoder of single words, whose numbers have no mean; or other
                tensors are asked for.
            UnknownArgumentError: a TypeError; an option that is none of these.

        Example:
        ```python
        >>> from cmr_hub import CMRProcessor
        >>> processor = CMRProcessor.from_pretrained("cmr/cca-emoji")
        >>> processor(text="a red apple", return_tensors="np")["text_features"].shape
        (1, 50)
        ```
        """
        return_tensors = _checked_options(type(self).__name__, options).get("return_tensors", return_tensors)
        if return_tensors not in (*TENSORS, None):
            raise InputError(f"return_tensors is {return_tensors!r}: give 'pt' for torch tensors or 'np' for arrays.")
        if images is None and text is None:
            raise InputError("Neither images nor texts are given: give images=…, text=… or both.")
        inputs: dict[str, torch.Tensor] = {}
        if images is not None:
            images = [images] if is_single(images, self.image_encoder) else as_list(images, self.image_encoder)
            if cache and self.image_encoder.cacheable:
                features = self.store.encode(images, show_progress=show_progress)
            else:
                features = self.image_encoder.encode(images)
            inputs |= self.image_encoder.as_inputs(features)
        if text is not None:
            texts = [text] if is_single(text, self.text_encoder) else as_list(text, self.text_encoder)
            inputs |= self.text_encoder.as_inputs(self._encode_texts(texts, cache, show_progress))
        is_numpy = return_tensors == TensorType.NUMPY
        return BatchFeature({name: rows.numpy() for name, rows in inputs.items()} if is_numpy else inputs)

    @cached_property
    def store(self) -> FeatureStore:
        """Where the images' features are kept."""
        return FeatureStore(self.image_encoder)

    @cached_property
    def text_store(self) -> FeatureStore:
        """Where the texts' features are kept."""
        return FeatureStore(self.text_encoder)

    def use_backend(self, backend: str | None = None, precision: str | None = None) -> CMRProcessor:
        """Compute the networks of both encoders by this backend; see [`~cmr_hub.encoders.base.Encoder.use_backend`].

        Raises:
            UnknownNameError: there is no such backend or precision.
            MissingExtraError: a package that the backend needs is not installed; names the extra.
            InputError: the backend does not compute in this precision.
        """
        for encoder in (self.image_encoder, self.text_encoder):
            encoder.use_backend(backend, precision)
        for store in ("store", "text_store"):  # features of another precision are stored elsewhere
            self.__dict__.pop(store, None)
        return self

    def to(self, device: torch.device | str) -> CMRProcessor:
        """Compute the networks of both encoders on this device; features are on the CPU all the same."""
        for encoder in (self.image_encoder, self.text_encoder):
            encoder.to(device)
        return self

    def _encode_texts(self, texts: Sequence[str | Sequence[str]], cache: bool, show_progress: bool) -> torch.Tensor:
        def encode(flat: Sequence[str]) -> torch.Tensor:
            if cache and self.text_encoder.cacheable and len(flat):
                return self.text_store.encode(flat, show_progress=show_progress)
            return self.text_encoder.encode(flat)

        if not self.text_encoder.accepts_raw_input or not any(isinstance(text, list | tuple) for text in texts):
            return encode(cast(Sequence[str], texts))
        self.check_single_texts(texts)
        flat, lengths = flattened(texts)
        return torch.stack([rows.mean(dim=0) for rows in encode(flat).split(lengths)])

    def check_single_texts(self, texts: Sequence[str | Sequence[str]]) -> None:
        """Refuse several texts of one thing where the encoder's features have no mean.

        Raises:
            InputError: there are such texts.
        """
        if not self.text_encoder.supports_mean_pooling and any(isinstance(text, list | tuple) for text in texts):
            raise InputError(
                f"The encoder {self.text_encoder.name!r} reads one text at a time, and several texts of one thing "
                "were given together. Retriever.encode_texts embeds each and averages the embeddings."
            )

    @property
    def model_input_names(self) -> list[str]:
        """Names of the arguments of the model that features are given as, those of images first."""
        return [*self.image_encoder.as_inputs(torch.empty(0)), *self.text_encoder.as_inputs(torch.empty(0))]

    def to_dict(self) -> dict[str, Any]:
        """What `processor_config.json` holds."""
        return {
            "processor_class": type(self).__name__,
            "image_encoder": self.image_encoder.to_dict(),
            "text_encoder": self.text_encoder.to_dict(),
        }

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write `processor_config.json` and the encoders' own files; an earlier version survives a failure.

        Returns:
            The paths written.

        Raises:
            InputError: `push_to_hub` is set.
        """
        if push_to_hub:
            raise InputError("A processor is published with its model: use Retriever.push_to_hub.")
        with saved(save_directory) as scratch:
            (scratch / CONFIG_NAME).write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
            self.image_encoder.save_files(scratch)
            self.text_encoder.save_files(scratch)
            names = [path.relative_to(scratch).as_posix() for path in scratch.rglob("*")]
        return [str(Path(save_directory) / name) for name in (*names, CHECKSUMS_NAME)]

    @classmethod
    def from_pretrained(  # type: ignore[override]  # fewer options, all by name
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        backend: str | None = None,
        precision: str | None = None,
        verify: bool = True,
        **kwargs: Any,
    ) -> CMRProcessor:
        """Load from a folder, a bundled `cmr/<name>` or a Hub repo.

        Args:
            pretrained_model_name_or_path: folder or id.
            backend: what computes the encoders' networks, as for `Retriever.from_pretrained`.
            precision: of the encoders' networks, likewise.
            verify: compare the files with their digests in `checksums.json`.
            kwargs: `revision`, `cache_dir`, `subfolder`, `token`, `local_files_only`, `force_download`, `device` and
                `device_map`, as for `Retriever.from_pretrained`. `dtype` is accepted and changes nothing: features
                are float32.

        Raises:
            UnknownArgumentError: a TypeError; an option that is none of these.
            InputError: a device that this machine lacks, or several.
            CheckpointNotFoundError: nothing of this id is bundled, cached or on the Hub.
            CheckpointError: `processor_config.json` is missing or not of this class, or files differ from their
                digests.
        """
        device, _ = pop_device(kwargs), pop_dtype(kwargs)
        location = pop_location(kwargs)
        folder = resolve(pretrained_model_name_or_path, **location)
        check_known(cls.__name__, without_effect(kwargs), LOADING_OPTIONS)
        with checked(folder, verify):
            check_folder(folder)
            config = read_json(folder / CONFIG_NAME)
            processor = cls(*(_load_encoder(config, modality, folder) for modality in ("image", "text")))
        for encoder in (processor.image_encoder, processor.text_encoder):
            encoder.fetch_with(**fetching_options(location))
        if device is not None:
            processor.to(device)
        return processor.use_backend(backend, precision)


def _load_encoder(config: Mapping[str, Any], modality: str, folder: Path) -> Encoder:
    """One of the two encoders that `processor_config.json` describes.

    Raises:
        CheckpointError: it does not, or the encoder is of the other modality; names the file.
    """
    try:
        encoder = load_encoder(config.get(f"{modality}_encoder", {}), folder)
        if encoder.modality != modality:
            raise CheckpointError(f"The {modality} encoder {encoder.name!r} is one of {encoder.modality}s.")
    except CMRError as error:
        raise CheckpointError(
            f"{folder / CONFIG_NAME} does not describe a processor of cmr_hub: {error} Fetch the checkpoint again, or "
            "save one with CMRProcessor.save_pretrained."
        ) from error
    return encoder
