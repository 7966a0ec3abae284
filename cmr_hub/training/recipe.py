"""Recipes: a method's paper, encoders, hyper-parameters and optimiser, as YAML, with what single data sets change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.data.columns import COLUMNS
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.hub.card import Paper
from cmr_hub.methods import METHODS, list_methods
from cmr_hub.modeling.configuration_hashing import HashingConfig

from .datasets import Captions

ROW_CHANGES = ("encoders", "config", "training")


@dataclass(frozen=True)
class Ablation:
    """A table that compares variants of a recipe.

    Attributes:
        title: what is varied.
        rows: name of a variant -> what it changes of the recipe ("encoders", "config", "training"), and "published",
            the metrics that a publication gives for it.
        published: where those come from: `source`, `dataset` that they were measured on, and `differs`, why ours are
            others.
    """

    title: str
    rows: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, str] = field(default_factory=dict)

    def variants(self, recipe: Recipe) -> dict[str, Recipe]:
        """The recipe of each row.

        Raises:
            UnknownNameError: a row changes what does not exist; it is named before anything is trained.
        """
        for row in self.rows.values():
            check_names(f"part of a row of {self.title!r}", row, (*ROW_CHANGES, "published"))
        return {
            name: recipe.changed(**{part: row[part] for part in ROW_CHANGES if part in row})
            for name, row in self.rows.items()
        }


@dataclass(frozen=True)
class Recipe:
    """How a method is trained.

    Attributes:
        method: its name in the registry.
        summary, paper: what the card says of it.
        encoders: "image" and "text" -> an encoder's name, or a mapping of `name` and its options.
        captions: "set" where an item's captions are one training text, their features averaged; "each" where every
            caption is a text of its own.
        augmentations: random augmentations of training images, in addition to none ("flip_left_right", "rotate_90" …).
        config: fields of the method's configuration.
        training: fields of `transformers.TrainingArguments`; empty for closed-form methods.
        early_stopping_patience: epochs without a better validation mAP before training stops; None: never.
        answering: what it changes to make a model that answers questions ("config", "training"); empty where the
            method makes none.
        prepare: whether `cmr prepare` trains it for a gallery.
        protocols: under which the paper measures it, and we beside it; where those that `cmr reproduce`
            measures every method under are not enough.
        published: figures that a publication gives on this data set: `source`, `metrics` (or, for codes, `bits`: code
            length -> metrics), where it is not "dscmr" `protocol`, and where ours are others `differs`, why.
        ablations: the tables of variants that `cmr ablate` measures.
    """

    method: str
    summary: str
    paper: Paper
    encoders: Mapping[str, str | Mapping[str, Any]]
    captions: Captions = "set"
    augmentations: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    early_stopping_patience: int | None = None
    answering: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prepare: bool = False
    protocols: Sequence[str] = ()
    published: Mapping[str, Any] = field(default_factory=dict)
    ablations: Sequence[Ablation] = ()

    @property
    def title(self) -> str:
        """The method's name, as people write it."""
        return METHODS[self.method].title

    @property
    def published_here(self) -> dict[str, Any]:
        """The published figures of this recipe's code length, as `source`, `metrics` and `protocol`; maybe none."""
        if "bits" not in self.published:
            return dict(self.published)
        bits = self.config.get("embed_dim", METHODS[self.method].config_class.embed_dim)
        if bits not in self.published["bits"]:
            return {}
        others = {name: value for name, value in self.published.items() if name != "bits"}
        return {**others, "metrics": self.published["bits"][bits]}

    def with_bits(self, bits: int) -> Recipe:
        """The recipe for codes of another length.

        Raises:
            InputError: the method is real-valued, or codes cannot have this length.
        """
        if not METHODS[self.method].is_hashing:
            hashing = ", ".join(info.name for info in list_methods() if info.is_hashing)
            raise InputError(f"{self.method!r} is real-valued and has no code length. Hashing methods: {hashing}.")
        try:
            HashingConfig(embed_dim=bits)
        except StrictDataclassError as error:
            raise InputError(str(error.__cause__)) from error
        return self.changed(config={"embed_dim": bits})

    def for_columns(self, columns: Collection[str]) -> Recipe:
        """The recipe with released features for each side of which a data set has nothing else."""
        released = {
            modality for modality, (raw, features) in COLUMNS.items() if raw not in columns and features in columns
        }
        given = {modality for modality in released if encoder_name(self.encoders[modality]) == "precomputed"}
        if released == given:
            return self
        changed = self.changed(encoders=dict.fromkeys(released - given, "precomputed"))
        captions = "set" if "text" in released else self.captions
        return replace(changed, captions=captions, augmentations=() if "image" in released else self.augmentations)

    def for_answering(self) -> Recipe:
        """The recipe of a model that answers questions.

        Raises:
            InputError: the method makes none.
        """
        if not self.answering:
            raise InputError(f"{self.title} answers no questions: its recipe has no `answering`.")
        return self.changed(**self.answering)

    def changed(
        self,
        *,
        encoders: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Recipe:
        """The recipe with single settings replaced.

        Raises:
            UnknownNameError: a setting that the method's configuration or TrainingArguments does not have.
        """
        from transformers import TrainingArguments

        check_names("config field", config or {}, METHODS[self.method].config_class.own_fields())
        check_names("training argument", training or {}, [argument.name for argument in fields(TrainingArguments)])
        return replace(
            self,
            encoders={**self.encoders, **(encoders or {})},
            config={**self.config, **(config or {})},
            training={**self.training, **(training or {})},
            **others,
        )


def encoder_name(spec: str | Mapping[str, Any]) -> str:
    """The name in a recipe's description of an encoder."""
    return spec if isinstance(spec, str) else spec["name"]


def check_names(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UnknownNameError for the first name that is not known."""
    known = list(known)
    for name in given:
        if name not in known:
            raise UnknownNameError(kind, name, known)


def load_recipe(method: str, dataset: str | None = None) -> Recipe:
    """A method's recipe, as it stands for a data set.

    Raises:
        UnknownNameError: there is no such method, or the recipe names a setting that does not exist.
        InputError: the method has no recipe yet.
    """
    model_class = METHODS[method]
    folder = METHODS.folder(method)
    path = None if folder is None else folder / "recipe.yaml"
    if path is None or not path.exists():
        raise InputError(
            f"{model_class.__name__} has no recipe: write {path or 'recipe.yaml in the folder of its module'}."
        )
    content = yaml.safe_load(path.read_text())
    special = content.pop("datasets", {}).get(dataset, {})
    paper = Paper(**content.pop("paper"))
    config, training = content.pop("config", {}), content.pop("training", {})
    ablations = [Ablation(**table) for table in content.pop("ablations", [])]
    recipe = Recipe(method=method, paper=paper, ablations=ablations, **content)
    recipe = recipe.changed(config=config, training=training)
    return recipe.changed(**special)
