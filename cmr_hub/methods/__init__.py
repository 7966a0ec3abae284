"""The methods: one folder each, with configuration, model, recipe and README.

`@register_method` on a model class makes it known by name: in this folder, in an installed package that has an entry
point in the group `cmr_hub.methods`, or in your own script. Names and `list_methods` need no import of a method.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

from cmr_hub.errors import DuplicateNameError, PluginError
from cmr_hub.utils.registry import DEFAULT_ORDER, Registry

if TYPE_CHECKING:
    from cmr_hub.modeling.modeling_cmr import CMRModel
    from cmr_hub.processing.processing_cmr import CMRProcessor

    Model = TypeVar("Model", bound=CMRModel)

# What people call a method's supervision.
LEARNS_FROM = {"supervised": "classes", "unsupervised": "pairs"}

METHODS: Registry[type[CMRModel]] = Registry(
    "method",
    decorator="register_method",
    package="cmr_hub.methods",
    group="cmr_hub.methods",
    base="cmr_hub.modeling.modeling_cmr:CMRModel",
)


def register_method(name: str, *, display_order: int = DEFAULT_ORDER) -> Callable[[type[Model]], type[Model]]:
    """Register a model class as a method, and with transformers' Auto classes.

    Args:
        name: what recipes, commands and checkpoints call it: the `model_type` of its configuration.
        display_order: methods are listed by it, then by name; those of one kind are next to each other, the one to
            start with first.

    Raises:
        InputError: the name is no text without white space.
        DuplicateNameError: another class has the name.
        TypeError: the class is no `CMRModel`, or its configuration has another `model_type`.

    Example:
    ```python
    @register_method("toy")
    class ToyModel(CMRModel):
        title = "Toy"
        paper = "Doe, A Toy, 2026"
        supervision = "supervised"
        config_class = ToyConfig
    ```
    """
    add = METHODS.register(name, display_order=display_order)

    def register(cls: type[Model]) -> type[Model]:
        METHODS.check_class(cls)
        if cls.config_class.model_type != name:
            raise TypeError(
                f"{cls.__name__} is registered as {name!r}, but the model_type of {cls.config_class.__name__} is "
                f"{cls.config_class.model_type!r}: checkpoints are found by it, so the two must be equal."
            )
        add(cls)
        from cmr_hub.modeling.auto_classes import register_auto_classes

        register_auto_classes(cls, _processor_class)
        return cls

    return register


def _processor_class() -> type[CMRProcessor]:
    from cmr_hub.processing.processing_cmr import CMRProcessor

    return CMRProcessor


@dataclass(frozen=True)
class MethodInfo:
    """What one line says of a method.

    Attributes:
        name: as `METHODS`, recipes and `model_type` have it.
        title: as people write it.
        paper: who, what, where and when.
        supervision: "supervised" where it learns from classes, "unsupervised" where from pairs alone.
        representation: "real-valued" or "binary".
    """

    name: str
    title: str
    paper: str
    supervision: str
    representation: str

    @property
    def is_hashing(self) -> bool:
        """Whether its embeddings are binary codes."""
        return self.representation == "binary"


def list_methods(pattern: str = "*") -> list[MethodInfo]:
    """The methods in this hub, sorted by name, those that match a shell-style pattern.

    Example:
    ```python
    >>> import cmr_hub
    >>> cmr_hub.list_methods("dscmr")
    [MethodInfo(name='dscmr', title='DSCMR', paper='Zhen et al., Deep Supervised Cross-Modal Retrieval, ...)]
    >>> "cca" in [method.name for method in cmr_hub.list_methods() if method.supervision == "unsupervised"]
    True
    ```
    """
    return list(_described(METHODS.list(pattern)))


def _described(names: list[str]) -> Iterator[MethodInfo]:
    facts = [field.name for field in fields(MethodInfo) if field.name != "name"]
    for name in names:
        try:
            yield MethodInfo(name, **{fact: METHODS.fact(name, fact) for fact in facts})
        except (PluginError, DuplicateNameError) as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=3)
