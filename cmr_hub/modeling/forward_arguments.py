"""Arguments of a model's `forward`, read from the signatures of the functions that use them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from cmr_hub.errors import UnknownArgumentError


@dataclass(frozen=True)
class ForwardArguments:
    """Names of what a model's `forward` takes, by the function that uses them.

    Attributes:
        image: arguments of `get_image_features`.
        text: arguments of `get_text_features`.
        embed: arguments of `embed`, which has those of both modalities among them.
        loss: arguments of `compute_loss`; all there are where it has `**kwargs`.
        needed: those arguments of `compute_loss` that have no default.

    Example:
    ```python
    >>> from cmr_hub import DSCMRModel
    >>> DSCMRModel.arguments.known
    ('image_features', 'text_features', 'labels')
    ```
    """

    image: tuple[str, ...]
    text: tuple[str, ...]
    embed: tuple[str, ...]
    loss: tuple[str, ...]
    needed: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> ForwardArguments:
        """Read the arguments of a [`CMRModel`] class."""
        image, text = (
            tuple(_parameters(function)) for function in (model.get_image_features, model.get_text_features)
        )
        embed = _without_repeats(image, text, _parameters(model.embed))
        _, *in_loss = _parameters(model.compute_loss).items()  # the output comes first
        loss = tuple(name for name, _ in in_loss)
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in _all_parameters(model.compute_loss)):
            loss = _without_repeats(embed, ("labels",), loss)
        return cls(image, text, embed, loss, tuple(name for name, is_needed in in_loss if is_needed))

    @property
    def known(self) -> tuple[str, ...]:
        """All names that `forward` takes."""
        return _without_repeats(self.embed, ("labels",), self.loss)

    def missing_modalities(self, given: Collection[str]) -> list[str]:
        """Modalities of which no argument is among the given names, each with the argument that gives it."""
        modalities = {"image": self.image, "text": self.text}
        return [
            f"{modality} ({names[0]})"
            for modality, names in modalities.items()
            if not any(name in given for name in names)
        ]

    def check(self, model: str, names: Iterable[str]) -> None:
        """Raise UnknownArgumentError where one of the names is not known.

        Args:
            model: name of the model's class.
            names: as `forward` was given them.
        """
        known = self.known
        for name in names:
            if name not in known:
                raise UnknownArgumentError(model, name, known)


def _all_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1:]  # without self


def _parameters(function: Callable[..., Any]) -> dict[str, bool]:
    """Name -> whether it has no default, of the named parameters of an unbound method."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        parameter.name: parameter.default is parameter.empty
        for parameter in _all_parameters(function)
        if parameter.kind in named
    }


def _without_repeats(*groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))
