"""The vectors of several encoders end to end, as one vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from cmr_hub.encoders import create_encoder, encoder_class, load_encoder, register_encoder
from cmr_hub.errors import InputError
from cmr_hub.utils.checkpoint_files import inner_path
from cmr_hub.utils.decoding import check_names, check_value

from .base import Encoder, ImageEncoder, TextEncoder

FAMILY, SEPARATOR = "concat/", "+"


class ConcatEncoder(Encoder):
    """The vectors of several encoders of one modality, end to end.

    Networks that differ a little err on different inputs, and the words of a text say what a mean of its token states
    blurs: joined vectors often retrieve better than either. They cost the time of all.

    Its name lists the encoders: "concat/minilm+tfidf", "concat/efficientnet-lite0+efficientnet-lite2".

    Args:
        names: of the encoders, joined by "+".
        options: name of an encoder -> what its class takes.

    Raises:
        InputError: fewer than two encoders, one of them twice, one of another modality, one that gives no single
            vector per input, one that learns from classes, or options that one does not take.
        UnknownNameError: there is no such encoder, or options are of none that is named.

    Example:
    ```python
    >>> encoder = create_encoder("text", "concat/bow+tfidf", options={"bow": {"binary": True}})
    >>> encoder.fit(["a red bird", "a blue bird"]).encode(["red red"]).tolist()
    [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]
    ```
    """

    encoders: Sequence[Encoder]

    def __init__(self, names: str, options: Mapping[str, Mapping[str, Any]] | None = None):
        known, given = names.split(SEPARATOR), options or {}
        check_value(given, Mapping[str, Mapping[str, Any]], "options")
        check_names("encoder of concat", given, known)
        if any(name.startswith(FAMILY) for name in known):
            raise InputError(f"{FAMILY}{names:.200} has a concat inside a concat. Join all encoders by one.")
        self._use([create_encoder(self.modality, name, **given.get(name, {})) for name in known])

    def _use(self, encoders: Sequence[Encoder]) -> None:
        names = [encoder.name for encoder in encoders]
        if len(set(names)) < max(2, len(names)):
            raise InputError(f"concat joins two or more different encoders, and is given {', '.join(names)}.")
        for encoder in encoders:
            if encoder.modality != self.modality:
                raise InputError(f"concat joins {self.modality} encoders, and {encoder.name!r} is none.")
            if encoder.mapped or not encoder.accepts_raw_input or not encoder.supports_mean_pooling:
                raise InputError(
                    f"concat joins encoders of one vector per image or text, and {encoder.name!r}, as it is set, is "
                    "none."
                )
            if isinstance(encoder, TextEncoder) and encoder.learns_labels:
                raise InputError(f"concat joins encoders that learn from texts alone, and {encoder.name!r} is none.")
        self.encoders = encoders
        self.name = f"{FAMILY}{SEPARATOR.join(names)}"

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Self:
        return cls(name.removeprefix(FAMILY), **options)

    @classmethod
    def trained_on(cls, name: str) -> Mapping[str, str]:
        reasons: dict[str, str] = {}
        for part in _parts(name):
            reasons |= encoder_class(cls.modality, part).trained_on(part)
        return reasons

    @classmethod
    def limits_of(cls, name: str) -> str:
        return " ".join(filter(None, (encoder_class(cls.modality, part).limits_of(part) for part in _parts(name))))

    @classmethod
    def credit_of(cls, name: str) -> str:
        return "; ".join(filter(None, (encoder_class(cls.modality, part).credit_of(part) for part in _parts(name))))

    @property
    def dim(self) -> int:
        return sum(encoder.dim for encoder in self.encoders)

    def encode(self, inputs: Sequence[Any]) -> torch.Tensor:
        return torch.cat([encoder.encode(inputs) for encoder in self.encoders], dim=1)

    @property
    def cacheable(self) -> bool:  # type: ignore[override]  # of its encoders, which differ
        return any(encoder.cacheable for encoder in self.encoders)

    def to(self, device: torch.device | str) -> Self:
        for encoder in self.encoders:
            encoder.to(device)
        return self

    def fetch_with(self, **options: Any) -> Self:
        for encoder in self.encoders:
            encoder.fetch_with(**options)
        return self

    def use_backend(self, backend: str | None = None, precision: str | None = None) -> Self:
        for encoder in self.encoders:
            encoder.use_backend(backend, precision)
        return self

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "modality": self.modality,
            "encoders": [encoder.to_dict() for encoder in self.encoders],
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        joined = cls.__new__(cls)
        joined._use(
            [
                # Without files of its own an encoder has no folder.
                load_encoder(described, None if folder is None else inner_path(folder, cls._folder(number)))
                for number, described in enumerate(config["encoders"])
            ]
        )
        return joined

    def save_files(self, folder: Path) -> None:
        for number, encoder in enumerate(self.encoders):
            own = Path(folder) / self._folder(number)
            own.mkdir()
            encoder.save_files(own)

    @classmethod
    def _folder(cls, number: int) -> str:
        return f"{cls.modality}_encoder_{number}"

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        return (encoder.fingerprint.encode() for encoder in self.encoders)


@register_encoder("image", "concat/")
class ConcatImageEncoder(ConcatEncoder, ImageEncoder):
    """Joined vectors of an image; see `ConcatEncoder`."""


@register_encoder("text", "concat/")
class ConcatTextEncoder(ConcatEncoder, TextEncoder):
    """Joined vectors of a text; see `ConcatEncoder`."""

    encoders: Sequence[TextEncoder]

    def fit(self, texts: Sequence[str]) -> Self:
        for encoder in self.encoders:
            encoder.fit(texts)
        return self

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        known = (encoder.has_known_tokens(texts) for encoder in self.encoders)
        return [any(of_text) for of_text in zip(*known, strict=True)]

    def read_words(self, text: str) -> list[tuple[str, bool]]:
        first, *others = self.encoders
        unknown = [{word.lower() for word in encoder.unknown_words(text)} for encoder in others]
        return [
            (word, is_known or not all(word.lower() in words for words in unknown))
            for word, is_known in first.read_words(text)
        ]

    @property
    def _vocabulary_words(self) -> Iterable[str]:
        return (word for encoder in self.encoders for word in encoder._vocabulary_words)


def _parts(name: str) -> list[str]:
    return name.removeprefix(FAMILY).split(SEPARATOR)
