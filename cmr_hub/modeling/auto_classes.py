"""transformers' Auto classes find the models of this package, without a slow import of either.

`AutoConfig.register` takes a class, so registering every method means importing every method, and importing the Auto
classes takes longer than importing torch. Therefore nothing is registered before somebody imports
`transformers.models.auto`, and then the mapping of model types is given names only: a method is imported when a
checkpoint of its type is loaded, and registers its classes by the public functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, ItemsView, Iterator, MutableMapping, ValuesView
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cmr_hub.errors import UnsupportedError
from cmr_hub.utils.import_hooks import when_imported

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

CONFIGURATION, MODELING, PROCESSING, TOKENIZATION = (
    f"transformers.models.auto.{name}_auto" for name in ("configuration", "modeling", "processing", "tokenization")
)


def register_auto_classes(
    model_class: type[PreTrainedModel], find_processor_class: Callable[[], type[ProcessorMixin]] | None = None
) -> None:
    """Have AutoConfig, AutoModel and AutoProcessor know a model class, from when they are imported.

    Args:
        model_class: with its `config_class`, which has a `model_type`.
        find_processor_class: returns the class of its processor; called when AutoProcessor is imported.
    """
    config: Any = model_class.config_class
    when_imported(CONFIGURATION, lambda auto: auto.AutoConfig.register(config.model_type, config, exist_ok=True))
    when_imported(MODELING, lambda auto: auto.AutoModel.register(config, model_class, exist_ok=True))
    when_imported(MODELING, lambda auto: auto.AutoModelForZeroShotImageClassification.register(config, _NoClassifier))
    when_imported(TOKENIZATION, lambda auto: auto.AutoTokenizer.register(config, _NoTokenizer, exist_ok=True))
    if find_processor_class is not None:
        when_imported(
            PROCESSING, lambda auto: auto.AutoProcessor.register(config, find_processor_class(), exist_ok=True)
        )


def _unsupported(what: str, checkpoint: object) -> UnsupportedError:
    """The error where transformers is asked for a part that no checkpoint has.

    Args:
        what: the part, as a subject in the plural.
        checkpoint: its folder or id.
    """
    return UnsupportedError(
        f"{what} of transformers, and pipelines with them, do not work with checkpoints of cmr_hub, whose frozen "
        f"encoders read images and texts: cmr_hub.from_pretrained({str(checkpoint)!r}) has encode_images and "
        "encode_texts, and the inner product of an image and a text is their score. AutoProcessor and AutoModel of "
        "transformers work too."
    )


class _NoTokenizer:
    """What AutoTokenizer finds, and pipelines by it."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: object, *args: Any, **kwargs: Any) -> None:
        raise _unsupported("Tokenizers", pretrained_model_name_or_path)


class _NoClassifier:
    """What AutoModelForZeroShotImageClassification finds: scores are no logits of probabilities."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: object, *args: Any, **kwargs: Any) -> None:
        raise _unsupported("Zero-shot classifiers", pretrained_model_name_or_path)


def offer_model_types(model_types: Callable[[], Collection[str]], load: Callable[[str], Any]) -> None:
    """Have AutoConfig import a model class, which registers itself, when a checkpoint of its type is loaded.

    Args:
        model_types: the types on offer; called when a type is looked up that transformers does not know.
        load: imports the model class of a type.
    """

    def offer(auto: ModuleType) -> None:
        mapping = auto.CONFIG_MAPPING
        if hasattr(mapping, "_extra_content"):
            mapping._extra_content = _OfferedConfigs(mapping._extra_content, model_types, load)
        else:  # another version of transformers: all at once
            for model_type in model_types():
                register_auto_classes(load(model_type))

    when_imported(CONFIGURATION, offer)


class _OfferedConfigs(MutableMapping[str, "type[PreTrainedConfig]"]):
    """Config classes by model type: those that are registered, and those that are imported when they are looked up.

    Values and items are those of registered classes: who has a class has imported it.
    """

    def __init__(
        self,
        registered: MutableMapping[str, type[PreTrainedConfig]],
        model_types: Callable[[], Collection[str]],
        load: Callable[[str], Any],
    ):
        self._registered, self._model_types, self._load = registered, model_types, load

    def __contains__(self, model_type: object) -> bool:
        return model_type in self._registered or model_type in self._model_types()

    def __getitem__(self, model_type: str) -> type[PreTrainedConfig]:
        if model_type not in self._registered:
            if model_type not in self._model_types():
                raise KeyError(model_type)
            self._registered[model_type] = self._load(model_type).config_class
        return self._registered[model_type]

    def __setitem__(self, model_type: str, config_class: type[PreTrainedConfig]) -> None:
        self._registered[model_type] = config_class

    def __delitem__(self, model_type: str) -> None:
        del self._registered[model_type]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._registered, *self._model_types()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def values(self) -> ValuesView[type[PreTrainedConfig]]:
        return self._registered.values()

    def items(self) -> ItemsView[str, type[PreTrainedConfig]]:
        return self._registered.items()
