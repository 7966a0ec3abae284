"""What every frozen encoder is: a function from the raw inputs of one modality to features, mostly one vector each."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import nn

from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.utils.checkpoint_files import inner_path
from cmr_hub.utils.deprecation import RenamedAttribute, adopt_renamed

from .backends import (
    BF16,
    F32,
    MIN_INPUTS,
    TORCH,
    Compute,
    Conversion,
    ConversionError,
    ConvertedNetwork,
    Inputs,
    check_backend,
    chosen_backend,
    default_backend,
    default_precision,
)

logger = logging.getLogger(__name__)

NEAR = 0.85  # how alike spellings are that are suggested, as difflib measures it
MIN_SPELLING, MAX_SPELLING = 3, 30  # letters of a word that spellings are suggested for
_RENAMED = {"averages": "supports_mean_pooling", "knows": "has_known_tokens", "takes_raw": "accepts_raw_input"}


class Encoder(ABC):
    """A frozen encoder. It never trains with a method; a processor saves it beside the method's weights.

    Attributes:
        name: what users call it ("efficientnet-lite0", "glove" …); `create_encoder` finds it by this name.
        modality: "image" or "text".
        dim: width of the feature vectors, known before the first input is encoded (after `fit`, where it fits); of a
            image's regions the width of one region, of a text's words how many words there are.
        accepts_raw_input: whether it takes images or strings; False for released features.
        cacheable: whether encoding is so dear that features are worth keeping on disk.
        is_ragged: whether an input's features are several rows, as many as it has words; a batch of them,
            `(n, longest, dim)`, is padded with zeros.
        supports_mean_pooling: whether the mean of several inputs' features represents them together, as for
            vectors; False for the numbers of words.
        limits: what a model card should say of what this encoder loses.
    """

    name: str
    modality: Literal["image", "text"]
    accepts_raw_input: ClassVar[bool] = True
    cacheable: ClassVar[bool] = False
    is_ragged: ClassVar[bool] = False
    supports_mean_pooling: ClassVar[bool] = True
    limits: ClassVar[str] = ""
    credit: ClassVar[str] = ""

    if TYPE_CHECKING:  # a class attribute, an instance attribute or a property

        @property
        def dim(self) -> int: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        adopt_renamed(cls, _RENAMED)

    averages = RenamedAttribute("supports_mean_pooling")
    takes_raw = RenamedAttribute("accepts_raw_input")

    @classmethod
    def trained_on(cls, name: str) -> Mapping[str, str]:
        """Data sets whose captions, those of the test split included, are in the training data of an encoder.

        Figures on these data sets do not compare with those of encoders that never saw the captions.

        Args:
            name: the name that was registered, or of a family a name that it stands for.

        Returns:
            Name of the data set -> why, as a sentence.
        """
        return {}

    @classmethod
    def limits_of(cls, name: str) -> str:
        """What a model card should say of what an encoder loses.

        Args:
            name: the name that was registered, or of a family a name that it stands for.
        """
        return cls.limits

    @classmethod
    def credit_of(cls, name: str) -> str:
        """Whose weights an encoder has, and under which licence, as Markdown; "" where it has none from elsewhere.

        Args:
            name: the name that was registered, or of a family a name that it stands for.
        """
        return cls.credit

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Encoder:
        """The encoder that a registered name stands for; a family of encoders takes the rest of the name."""
        return cls(**options)

    @property
    def input_name(self) -> str:
        """What a model calls this encoder's features: the name of an argument of its `forward`."""
        return f"{self.modality}_features"

    @property
    def mapped(self) -> bool:
        """Whether features are so large that those of a data set stay on disk, mapped into memory."""
        return False

    def as_inputs(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """What a model is given for a batch of features.

        Args:
            features: what `encode` gave.

        Returns:
            Tensors with one row an input, by the names of the arguments of a model's `forward`.

        Example:
        ```python
        >>> from cmr_hub.encoders import create_encoder
        >>> encoder = create_encoder("text", "bow", vocabulary=["bird", "red"])
        >>> encoder.as_inputs(encoder.encode(["a red bird"]))
        {'text_features': tensor([[1., 1.]])}
        ```
        """
        return {self.input_name: features}

    @abstractmethod
    def encode(self, inputs: Sequence[Any]) -> torch.Tensor:
        """Encode a batch.

        Args:
            inputs: `n` images (paths, PIL images or arrays) or `n` texts (strings).

        Returns:
            `torch.float32` tensor of shape `(n, dim)` on the CPU, rows in the order of `inputs`. Encoders of
            an image's regions give `(n, regions, dim)`; encoders of a text's words in order give `torch.int64`
            numbers `(n, longest)`, 0 where there is no word.

        Raises:
            InputError: an input cannot be used; the message names its position in `inputs` and the reason.
            NotFittedError: the encoder learns a vocabulary and has not seen any texts yet.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything but arrays that `from_dict` needs, as JSON values; the key "name" leads to the class."""

    @classmethod
    @abstractmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Encoder:
        """The encoder that `to_dict` described; arrays are read from the files that `save_files` left in `folder`."""

    def save_files(self, folder: Path) -> None:  # noqa: B027 (most encoders have nothing to save)
        """Write fitted arrays and vocabularies (safetensors, JSON) into `folder`. Most encoders have none.

        The files' names begin with the modality, so that an image and a text encoder share a folder. A caller that
        overwrites a checkpoint passes the scratch folder of `cmr_hub.utils.files.atomic_folder`.
        """

    def to(self, device: torch.device | str) -> Self:
        """Compute on this device, where there is anything to compute; vectors are on the CPU all the same."""
        return self

    @property
    def precision(self) -> str:
        """In which the encoder's network is computed: "f32", as where it has none, or "bf16"."""
        return F32

    def fetch_with(self, **options: Any) -> Self:
        """Fetch a model that is on the Hub with these options, which are no part of the encoder's description.

        Args:
            options: `cache_dir`, `token`, `local_files_only` and `force_download`, as for `Retriever.from_pretrained`.
        """
        return self

    def use_backend(self, backend: str | None = None, precision: str | None = None) -> Self:
        """Compute the network by this backend, where there is a network.

        Neither is part of the encoder's description: a checkpoint does not depend on them.

        Args:
            backend: "torch", "openvino" or "onnx" (of extras of the same names), or "auto": on a CPU the first that is
                installed of OpenVINO, ONNX Runtime and torch, elsewhere torch. None for `$CMR_HUB_BACKEND`, or "auto".
            precision: "f32", or "bf16", which is faster on CPUs that have it and less exact; features of the two are
                cached apart. None for `$CMR_HUB_PRECISION`, or "f32".

        Raises:
            UnknownNameError: there is no such backend or precision.
            MissingExtraError: a package that the backend needs is not installed; names the extra.
            InputError: the backend does not compute in this precision.
        """
        return self

    @property
    def fingerprint(self) -> str:
        """A short digest of what decides this encoder's output; features are cached under it."""
        digest = hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode())
        for part in self._fitted_parts():
            digest.update(part)
        return digest.hexdigest()[:16]

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        """The bytes of what `save_files` writes: two encoders of one description may have learned different things."""
        return ()


class NetworkEncoder(Encoder):
    """An encoder whose vectors a network computes, on the CPU or another device.

    The network is built when the first input is encoded: creating or loading the encoder costs next to nothing. Where
    OpenVINO or ONNX Runtime compute, it is not built at all once a conversion is in the cache.

    Attributes:
        device: where torch computes.
        varying_sizes: how many of the first sizes of the network's inputs vary from batch to batch.
    """

    device: torch.device | str = "cpu"
    varying_sizes: ClassVar[int] = 1
    _backend: str | None = None
    _precision: str | None = None
    _conversion: Conversion | None = None
    _converted: ConvertedNetwork | None = None
    _has_failed = False  # to be converted

    @abstractmethod
    def _build_network(self) -> nn.Module:
        """The network with its weights."""

    @cached_property
    def network(self) -> nn.Module:
        """The frozen network, with the channels last in memory: convolutions are faster so."""
        # Whatever is going on when it is built first: weights made inside the inference mode could never be tuned.
        with torch.inference_mode(False):
            network = self._build_network().eval().requires_grad_(False)
            network.to(memory_format=torch.channels_last)
            return network.to(self.device)

    @property
    def _tower(self) -> nn.Module:
        """The part of the network that is computed, from the tensors of `_example_inputs` to one tensor."""
        return self.network

    def _example_inputs(self, count: int) -> Inputs:
        """What the network is given of `count` made-up inputs; nothing where torch alone computes it."""
        return ()

    def to(self, device: torch.device | str) -> Self:
        self.device = device
        if "network" in self.__dict__:
            self.network.to(device)
        return self

    @property
    def precision(self) -> str:
        return self._precision or default_precision()

    def use_backend(self, backend: str | None = None, precision: str | None = None) -> Self:
        check_backend(backend or default_backend(), precision or default_precision())
        self._backend, self._precision = backend, precision
        self._forget_conversion()
        return self

    @property
    def fingerprint(self) -> str:
        exact = super().fingerprint
        return exact if self.precision == F32 else f"{exact}-{self.precision}"

    def __getstate__(self) -> dict[str, Any]:
        """Without the loaded conversion, which no other process can take; it is loaded again where it is needed."""
        return {**self.__dict__, "_converted": None}

    def _forget_conversion(self) -> None:
        """Have the network converted anew, as its weights or the backend changed."""
        self._conversion, self._converted, self._has_failed = None, None, False

    def _computing(self, count: int) -> Compute:
        """What computes the network, for a job of `count` inputs: from the tower's inputs to its output.

        Few inputs do not wait for a conversion, unless the backend was asked for by name.

        Raises:
            UnknownNameError, MissingExtraError, InputError: the backend cannot be used; see [`use_backend`].
        """
        backend = self._backend or default_backend()
        check_backend(backend, self.precision)
        chosen = chosen_backend(backend, self.precision, self.device)
        if chosen == TORCH or self._has_failed or self._is_learning:
            return Compute(self._compute_in_torch)
        if self._converted is None:
            self._converted = self._convert(chosen, may_wait=backend == chosen or count >= MIN_INPUTS)
        converted = self._converted
        if converted is None:
            return Compute(self._compute_in_torch)

        def compute(*inputs: torch.Tensor) -> torch.Tensor:
            return converted(*inputs) if converted.takes(*inputs) else self._compute_in_torch(*inputs)

        return Compute(compute, workers=torch.get_num_threads())

    @property
    def _is_learning(self) -> bool:
        """Whether the network is being trained, so that a conversion would lag behind it."""
        network = self.__dict__.get("network")
        return network is not None and any(weights.requires_grad for weights in network.parameters())

    def _convert(self, backend: str, may_wait: bool) -> ConvertedNetwork | None:
        """The converted network from the cache, or made now; None where torch computes."""
        if self._conversion is None or self._conversion.backend != backend:  # digests of large weights take long
            self._conversion = Conversion(backend, self.name, super().fingerprint)
        conversion = self._conversion
        try:
            stored = conversion.load(self.precision)
            if stored is not None or not may_wait:
                return stored
            examples = [self._example_inputs(2), self._example_inputs(3)]
            if not examples[0]:
                return None
            return conversion.make(self._tower, examples, self.varying_sizes, self.precision)
        except ConversionError as error:
            logger.warning("%s cannot be computed by %s (%s): torch computes it.", self.name, backend, error)
            self._has_failed = True
            return None

    def _compute_in_torch(self, *inputs: torch.Tensor) -> torch.Tensor:
        layout = [torch.channels_last if given.ndim == 4 else torch.preserve_format for given in inputs]
        moved = [given.to(self.device, memory_format=how) for given, how in zip(inputs, layout, strict=True)]
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == BF16):
            return self._tower(*moved)


class ImageEncoder(Encoder):
    """Images to vectors."""

    modality = "image"


class TextEncoder(Encoder):
    """Texts to vectors. A text without any known word has the zero vector (and `has_known_tokens` says so).

    Attributes:
        learns_labels: whether `fit` takes the texts' classes too, `fit(texts, labels)`: `(n, classes)` zeros and ones.
    """

    modality = "text"
    learns_labels: ClassVar[bool] = False

    def fit(self, texts: Sequence[str]) -> TextEncoder:
        """Learn a vocabulary from training texts; encoders that need none return themselves unchanged."""
        return self

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether at least one of its words has a meaning to this encoder."""
        return [bool(text.strip()) for text in check_texts(texts)]

    @property
    def learns_words(self) -> bool:
        """Whether `fit` learns from texts, so that training texts have the words that it knows."""
        return type(self).fit is not TextEncoder.fit

    def read_words(self, text: str) -> list[tuple[str, bool]]:
        """The words of a text in order, each with whether it has a meaning to this encoder.

        Example:
        ```python
        >>> from cmr_hub.encoders import create_encoder
        >>> create_encoder("text", "bow", vocabulary=["bird"]).read_words("A bird!")
        [('a', False), ('bird', True)]
        ```
        """
        return []

    def known_share(self, texts: Iterable[str]) -> float:
        """The share of the words of some texts that have a meaning to this encoder; each occurrence counts.

        Example:
        ```python
        >>> from cmr_hub.encoders import create_encoder
        >>> create_encoder("text", "bow", vocabulary=["bird"]).known_share(["bird", "a red bird"])
        0.5
        ```
        """
        known = [is_known for text in texts for _, is_known in self.read_words(text)]
        return sum(known) / len(known) if known else 1.0

    def near_words(self, word: str) -> list[str]:
        """Up to three words of the vocabulary that are spelled nearly as a word, the most alike first.

        Example:
        ```python
        >>> from cmr_hub.encoders import create_encoder
        >>> create_encoder("text", "bow", vocabulary=["bird", "sunglasses"]).near_words("sunglases")
        ['sunglasses']
        ```
        """
        if not MIN_SPELLING <= len(word) <= MAX_SPELLING:
            return []
        return get_close_matches(word, list(filter(_may_be(word), self._vocabulary_words)), cutoff=NEAR)

    @property
    def _vocabulary_words(self) -> Iterable[str]:
        """The words that [`near_words`] looks through."""
        return ()

    def unknown_words(self, text: str) -> list[str]:
        """The different words of a text that have no meaning to this encoder, in order.

        Example:
        ```python
        >>> from cmr_hub.encoders import create_encoder
        >>> create_encoder("text", "bow", vocabulary=["bird", "red"]).unknown_words("A red bird, a green tree")
        ['a', 'green', 'tree']
        ```
        """
        return list(dict.fromkeys(word for word, is_known in self.read_words(text) if not is_known))

    knows = RenamedAttribute("has_known_tokens")


def _may_be(word: str) -> Callable[[str], bool]:
    """Whether another word may be a spelling of this one: a quick look before [`difflib`](difflib) compares them.

    Of GloVe's 400,000 words it leaves a few thousand, so that a comparison takes a tenth of a second.
    """
    length, start, end = len(word), word[0], word[-3:]

    def may_be(other: str) -> bool:
        return -1 <= len(other) - length <= 1 and (other[0] == start or other.endswith(end))

    return may_be


@contextmanager
def input_position(kind: str, index: int, total: int) -> Iterator[None]:
    """Put "image 3 of 10: " before the message of an `InputError` that is raised inside the block.

    Example:
    ```python
    >>> with input_position("image", 2, 10):
    ...     raise InputError("it is empty")
    Traceback (most recent call last):
    cmr_hub.errors.InputError: image 3 of 10: it is empty
    ```
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{kind} {index + 1} of {total}: {error}") from error


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """`texts` itself, when it is a sequence of strings.

    Raises:
        InputError: one string alone, an item that is no string (its position is named), or broken Unicode.
    """
    if isinstance(texts, str | bytes):
        raise InputError("one text was given where a list of texts is taken. Put it into a list.")
    for index, text in enumerate(texts):
        with input_position("text", index, len(texts)):
            check_text(text)
    return texts


def check_text(text: object) -> None:
    """Refuse what is no text.

    Raises:
        InputError: it is no string, or broken Unicode.
    """
    if not isinstance(text, str):
        raise InputError(f"it is of type {type(text).__name__}, but a text is a string.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"it is not valid Unicode ({error.reason}). Read the file as UTF-8.") from error


def checkpoint_file(folder: Path | None, name: str, encoder: str) -> Path:
    """The path of a file or folder that an encoder saved in `folder`.

    Raises:
        CheckpointError: there is no such file, or it does not lie in the folder.
    """
    path = None if folder is None else inner_path(folder, name)
    if path is None or not path.exists():
        raise CheckpointError(
            f"The encoder {encoder!r} needs its file {name}, and {folder or 'no folder'} has none. "
            "Fetch the whole checkpoint again, with every file of its folder."
        )
    return path
