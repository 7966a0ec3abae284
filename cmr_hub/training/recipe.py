"""Recipes: a method's paper, encoders, hyper-parameters and optimiser, as YAML, with what single data sets change."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from huggingface_hub.errors import StrictDataclassError
from msgspec import UNSET, UnsetType

from cmr_hub.data import DATASETS
from cmr_hub.data.columns import COLUMNS, Modality
from cmr_hub.encoders import encoder_class, resolve_encoder
from cmr_hub.encoders.spec import EncoderSpec, GivenEncoder
from cmr_hub.errors import InputError
from cmr_hub.evaluation import Protocol, default_protocol, get_protocol
from cmr_hub.hub.card import Paper
from cmr_hub.methods import METHODS, list_methods
from cmr_hub.modeling.configuration_hashing import HashingConfig
from cmr_hub.results.schema import AblationSource, Published
from cmr_hub.utils.decoding import check_names, check_value, decode, located
from cmr_hub.utils.images import AUGMENTATIONS
from cmr_hub.utils.located_yaml import load_yaml, location

from .datasets import Captions

RECIPE_NAME = "recipe.yaml"  # in the folder of the method's module
SUFFIXES = (".yaml", ".yml")
# On 111 pairs of Pascal Sentence Contrastive gains .02 to .04 mean recall by batches of 16 to 64 instead of 128.
SMALL, MIN_STEPS, MIN_BATCH = 500, 4, 16


class CitedFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that a publication gives on one data set.

    Attributes:
        source: the publication.
        metrics: metric -> published value.
        bits: instead of `metrics`, for codes: code length -> metric -> published value.
        protocol: the protocol that the publication measured under.
        differs: why the figures measured here are others.
    """

    source: str
    metrics: Mapping[str, float] = {}
    bits: Mapping[int, Mapping[str, float]] = {}
    protocol: str = "dscmr"
    differs: str = ""

    def of_length(self, bits: int) -> Published:
        """The figures of one code length; none where the publication gives none."""
        metrics = self.bits.get(bits, {}) if self.bits else self.metrics
        return Published(self.source, self.differs, self.protocol, metrics) if metrics else Published()


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Single settings of a recipe that are replaced.

    Attributes:
        encoders: "image" and "text" -> another encoder.
        config: fields of the method's configuration.
        training: fields of `transformers.TrainingArguments`.
    """

    encoders: Mapping[Modality, EncoderSpec] = {}
    config: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}


class DatasetChanges(Changes, frozen=True, kw_only=True):
    """What a recipe changes for one data set; other fields as in [`Recipe`]."""

    captions: Captions | UnsetType = UNSET
    augmentations: Sequence[str] | UnsetType = UNSET
    selection: Sequence[str] | UnsetType = UNSET
    early_stopping_patience: int | UnsetType | None = UNSET
    train_rows: int | UnsetType | None = UNSET
    published: CitedFigures | UnsetType = UNSET

    @property
    def others(self) -> dict[str, Any]:
        """The fields that are not those of [`Changes`], where they are set."""
        names = ("captions", "augmentations", "selection", "early_stopping_patience", "train_rows", "published")
        return {name: value for name in names if (value := getattr(self, name)) is not UNSET}


class Variant(Changes, frozen=True, kw_only=True):
    """A row of an ablation.

    Attributes:
        published: metric -> published value.
    """

    published: Mapping[str, float] = {}


class Ablation(msgspec.Struct, frozen=True):
    """A table that compares variants of a recipe.

    Attributes:
        title: what is varied.
        rows: name of a variant -> what it changes.
        protocols: what the rows are measured under, a table each; by default the one that is asked for.
        published: where the published figures of the rows come from.
    """

    title: str
    rows: Mapping[str, Variant]
    protocols: Sequence[str] = ()
    published: AblationSource = AblationSource()

    def variants(self, recipe: Recipe) -> dict[str, Recipe]:
        """The recipe of each row.

        Raises:
            UnknownNameError: a row changes what does not exist; it is named before anything is trained.
            InputError: a row gives a setting another type.
        """
        recipes = {}
        for name, variant in self.rows.items():
            with located(self.rows, name):
                recipes[name] = recipe.with_changes(variant)
        return recipes


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a method is trained.

    Attributes:
        method: its name in the registry.
        summary, paper: what the card says of it.
        encoders: "image" and "text" -> an encoder.
        captions: "set" where an item's captions are one training text, their features averaged; "each" where every
            caption is a text of its own.
        augmentations: random augmentations of training images, in addition to none ("flip_left_right", "rotate_90" …).
        config: fields of the method's configuration.
        training: fields of `transformers.TrainingArguments`; empty for closed-form methods.
        early_stopping_patience: epochs without a better validation metric before training stops; None: never.
        train_rows: pairs of the training split that are learned from at most, of which the pairs for validation are
            held out where there are none; None: all. Protocols with `gallery="train"` search all of it.
        selection: protocols that choose the epoch by the mean of their primary metrics; see [`chosen_by`]. Those that
            the data have no classes for are left out.
        answering: what it changes to make a model that answers questions; None where the method makes none.
        prepare: whether `cmr prepare` trains it for a gallery.
        test_selected: what it changes to be trained as the authors' code does, which keeps the epoch that is best on
            the test split; None where the code does nothing else.
        protocols: the protocols of the paper, where those that `cmr reproduce` measures every method under are not
            enough.
        published: figures that a publication gives; None where there are none.
        ablations: the tables of variants that `cmr ablate` measures.
        datasets: name of a data set -> what is changed for it.
    """

    method: str
    summary: str
    paper: Paper
    encoders: Mapping[Modality, EncoderSpec]
    captions: Captions = "set"
    augmentations: Sequence[str] = ()
    config: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}
    early_stopping_patience: int | None = None
    train_rows: int | None = None
    selection: Sequence[str] = ()
    answering: Changes | None = None
    prepare: bool = False
    test_selected: DatasetChanges | None = None
    protocols: Sequence[str] = ()
    published: CitedFigures | None = None
    ablations: Sequence[Ablation] = ()
    datasets: Mapping[str, DatasetChanges] = {}

    @property
    def title(self) -> str:
        """The method's name, as people write it."""
        return METHODS[self.method].title

    @property
    def published_here(self) -> Published:
        """The published figures of this recipe's code length; maybe none."""
        if self.published is None:
            return Published()
        return self.published.of_length(self.config.get("embed_dim", METHODS[self.method].config_class.embed_dim))

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """The protocols that choose the epoch on validation data; none where the first of a training does.

        A method that learns from pairs alone looks at no class labels, also not to stop: without a `selection` its
        epoch is chosen by the recall of pairs.
        """
        method = METHODS[self.method]
        if self.selection or method.supervision == "supervised" or not self.training:
            return tuple(self.selection)
        return (default_protocol(has_classes=False, is_hashing=method.is_hashing).name,)

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
        """The recipe with released features for each modality of which a data set has nothing else."""
        released = {
            modality for modality, (raw, features) in COLUMNS.items() if raw not in columns and features in columns
        }
        given = {modality for modality in released if self.encoders[modality].name == "precomputed"}
        if released == given:
            return self
        changed = self.changed(encoders=dict.fromkeys(released - given, "precomputed"))
        return msgspec.structs.replace(
            changed,
            captions="set" if "text" in released else self.captions,
            augmentations=() if "image" in released else self.augmentations,
        )

    def for_size(self, pairs: int) -> Recipe:
        """The recipe with batches small enough for a data set's training pairs.

        Recipes are made for 800 pairs or more. A hundred in one batch are one step per epoch, and training ends before
        much is learned: an epoch of fewer than `SMALL` pairs has at least `MIN_STEPS` steps, of at least `MIN_BATCH`
        pairs each.
        """
        if pairs >= SMALL:
            return self
        most = max(pairs // MIN_STEPS, MIN_BATCH)
        if self.training.get("per_device_train_batch_size", 0) <= most:
            return self
        return self.changed(training={"per_device_train_batch_size": most})

    def for_dataset(self, dataset: str | None) -> Recipe:
        """The recipe with what it changes for a data set.

        Raises:
            UnknownNameError, InputError: a change is wrong.
        """
        changes = self.datasets.get(dataset) if dataset is not None else None
        return self if changes is None else self.with_changes(changes, **changes.others)

    def for_answering(self) -> Recipe:
        """The recipe of a model that answers questions.

        Raises:
            InputError: the method makes none.
        """
        if self.answering is None:
            raise InputError(f"{self.title} answers no questions: its recipe has no `answering`.")
        return self.with_changes(self.answering)

    def for_protocol(self, protocol: Protocol) -> Recipe:
        """The recipe of a training whose epoch a protocol chooses: with `test_selected` where on the test split."""
        if protocol.selection_split != "test" or self.test_selected is None:
            return self
        changes = self.test_selected
        return self.with_changes(changes, **changes.others, test_selected=None)

    def with_changes(self, changes: Changes, **others: Any) -> Recipe:
        """The recipe with changes; see [`changed`]."""
        return self.changed(encoders=changes.encoders, config=changes.config, training=changes.training, **others)

    def changed(
        self,
        *,
        encoders: Mapping[Modality, GivenEncoder] | None = None,
        config: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Recipe:
        """The recipe with single settings replaced.

        Args:
            encoders: "image" and "text" -> another encoder.
            config: fields of the method's configuration.
            training: fields of `transformers.TrainingArguments`.
            others: other fields of the recipe.

        Raises:
            UnknownNameError: a setting that the method's configuration or TrainingArguments does not have.
            InputError: a setting of another type, or `hub_token`, which would be saved with what is trained.
        """
        if "hub_token" in (training or {}):
            raise InputError("hub_token would be saved with the checkpoint: leave it out and run `hf auth login`.")
        return msgspec.structs.replace(
            self,
            encoders={**self.encoders, **check_encoders(encoders or {})},
            config={**self.config, **check_settings("config field", config or {}, config_types(self.method))},
            training={**self.training, **check_settings("training argument", training or {}, training_types())},
            **others,
        )


def load_recipe(method: str | Path, dataset: str | None = None) -> Recipe:
    """A method's recipe, as it is for a data set.

    Args:
        method: name or title of the method, whose recipe is next to its module; or the path of a YAML file of your
            own, which names its method in a field `method`.
        dataset: name of the data set.

    Raises:
        UnknownNameError: there is no such method.
        InputError: the method has no recipe, or a field is missing, unknown or of another type; names file and line.

    Example:
    ```python
    >>> load_recipe("cca", "wiki").config["embed_dim"]
    9
    ```
    """
    if is_path(method):
        return _read(Path(method), None).for_dataset(dataset)
    method = METHODS.resolve(str(method))
    path = recipe_path(method)
    if path is None or not path.exists():
        raise InputError(
            f"{METHODS[method].__name__} has no recipe: write {path or RECIPE_NAME}, or give the path of one."
        )
    return _read(path, method).for_dataset(dataset)


def is_path(method: str | Path) -> bool:
    """Whether a recipe is named by its path, and not by its method."""
    return isinstance(method, Path) or method.endswith(SUFFIXES)


def recipe_path(method: str) -> Path | None:
    """The file next to a method's module; None for a method that has no file, as in an interactive session.

    Raises:
        UnknownNameError: there is no such method.
    """
    folder = METHODS.folder(method)
    return None if folder is None else folder / RECIPE_NAME


def methods_with_recipe() -> list[str]:
    """The methods that can be imported and have a recipe, in order of display."""
    return [name for name, _ in METHODS.importable() if (path := recipe_path(name)) is not None and path.exists()]


def check_encoders(given: Mapping[Modality, GivenEncoder]) -> dict[Modality, EncoderSpec]:
    """Encoders by modality, in whatever way they are written.

    Raises:
        UnknownNameError: there is no such modality, encoder or option.
        InputError: an option has another type.
    """
    check_names("modality", given, COLUMNS)
    checked = {}
    for modality, spec in given.items():
        with located(given, modality):
            checked[modality] = _check_encoder(modality, spec)
    return checked


def check_settings(kind: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the values that their types ask for.

    Args:
        kind: what a setting is called in errors.
        given: name -> value.
        hints: name -> type, of all that exist.

    Raises:
        UnknownNameError: there is no such setting.
        InputError: a value is of another type; one from a file is named with its line.
    """
    check_names(kind, given, hints)
    checked = {}
    for name, value in given.items():
        with located(given, name):
            checked[name] = check_value(value, hints[name], f"{kind} {name!r}")
    return checked


@cache
def config_types(method: str) -> Mapping[str, Any]:
    """The fields of a method's configuration that a recipe may set, with their types."""
    config_class = METHODS[method].config_class
    own = config_class.own_fields()
    return {field.name: field.type for field in dataclasses.fields(config_class) if field.name in own}


@cache
def training_types() -> Mapping[str, Any]:
    """The fields of `transformers.TrainingArguments`, with their types."""
    from transformers import TrainingArguments

    return get_type_hints(TrainingArguments)


def _check_encoder(modality: Modality, given: GivenEncoder) -> EncoderSpec:
    spec = resolve_encoder(modality, given)
    if spec.options:
        hints = get_type_hints(encoder_class(modality, spec.name).__init__)
        hints.pop("return", None)
        check_settings(f"option of {spec.name}", spec.options, hints)
    return spec


def _check_published(figures: CitedFigures | None) -> None:
    if figures is not None:
        get_protocol(figures.protocol)


def _check_selection(content: Any, method: str, names: Sequence[str]) -> None:
    with located(content, "selection"):
        for name in names:
            protocol = get_protocol(name)
            if protocol.selection_split != "validation":
                raise InputError(f"Protocol {name!r} chooses the epoch on the test split: name another.")
            if protocol.relevance == "class" and METHODS[method].supervision == "unsupervised":
                raise InputError(
                    f"{METHODS[method].title} learns from pairs alone, and protocol {name!r} goes by class labels: "
                    "name one that goes by pairs, such as 'instance'."
                )


def _read(path: Path, method: str | None) -> Recipe:
    """A recipe file, everything in it checked, what single data sets change included."""
    content = load_yaml(path)
    if method is not None and content.setdefault("method", method) != method:
        raise InputError(f"{path} is next to the module of {method!r}, and names the method {content['method']!r}.")
    recipe = decode(Recipe, content, hooks={EncoderSpec: lambda given, name: EncoderSpec.parse(given)})
    with located(content, "method"):
        METHODS.find(recipe.method)
    if set(recipe.encoders) != set(COLUMNS):
        raise InputError(f"{location(content, 'encoders')}`encoders` must name one each for {' and '.join(COLUMNS)}.")
    with located(content, "protocols"):
        for name in recipe.protocols:
            get_protocol(name)
    _check_selection(content, recipe.method, recipe.selection)
    check_names("data set", recipe.datasets, DATASETS)
    checked = recipe.changed(encoders=recipe.encoders, config=recipe.config, training=recipe.training)
    with located(content, "augmentations"):
        check_names("augmentation", checked.augmentations, AUGMENTATIONS)
    with located(content, "published"):
        _check_published(checked.published)
    for dataset in recipe.datasets:
        with located(recipe.datasets, dataset):
            changed = checked.for_dataset(dataset)
            check_names("augmentation", changed.augmentations, AUGMENTATIONS)
            _check_published(changed.published)
        _check_selection(recipe.datasets[dataset], recipe.method, changed.selection)
    if recipe.answering is not None:
        checked.for_answering()
    if recipe.test_selected is not None:
        with located(content, "test_selected"):
            checked.for_protocol(get_protocol("dscmr-test-selected"))
    for table in recipe.ablations:
        table.variants(checked)
        for name in table.protocols:
            get_protocol(name)
    return checked
