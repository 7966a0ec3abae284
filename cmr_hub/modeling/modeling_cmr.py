"""Bases of every method's model: two encoders into one common space, and an objective over them."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional as F
from transformers import TrainerCallback
from transformers.utils import ModelOutput

from cmr_hub.errors import InputError, NotFittedError
from cmr_hub.utils.deprecation import RenamedAttribute, adopt_renamed

from .checked_model import CheckedModel
from .configuration_cmr import CMRConfig
from .embeddings import Representation
from .forward_arguments import ForwardArguments
from .losses import add
from .parts import NEUTRAL
from .precision import as_weights, in_precision_of_weights

if TYPE_CHECKING:
    from cmr_hub.processing.processing_cmr import CMRProcessor

logger = logging.getLogger(__name__)

EMBEDDING = {"get_image_features", "get_text_features", "get_pair_features", "embed"}


def unit_rows(features: torch.Tensor) -> np.ndarray:
    """`(n, d)` values as float32 rows of unit length; a row of zeros stays."""
    return F.normalize(features.float(), dim=1).cpu().numpy()


@dataclass
class CMROutput(ModelOutput):
    r"""Output of the model of a method.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*):
            The method's objective, where both modalities are given and, for a supervised method, `labels`.
        loss_terms (`dict[str, torch.FloatTensor]`, *optional*, returned with `loss`):
            The objective's terms before weighting, by the paper's name.
        image_embeds (`torch.FloatTensor` of shape `(n, embed_dim)`, *optional*):
            Images in the common space. `forward` gives rows of unit length, as `CLIPModel` does and a retriever's
            `encode_images`; `embed`, whose output losses read, gives them as the method leaves them. Of a hashing
            method they are the values whose signs are the code.
        text_embeds (`torch.FloatTensor` of shape `(n, embed_dim)`, *optional*):
            Texts in the common space, likewise.
        image_logits, text_logits (`torch.FloatTensor` of shape `(n, num_labels)`, *optional*):
            Class predictions, by methods that have a classifier.
        pair_logits (`torch.FloatTensor` of shape `(n, num_labels)`, *optional*):
            Answers to each pair's text as a question about its image, by models that answer.
        image_attentions (`torch.FloatTensor` of shape `(n, steps, regions)`, *optional*):
            On `output_attentions=True`, by methods that attend: how much each step looks at each region; sums to one.
        text_attentions (`torch.FloatTensor` of shape `(n, steps, words)`, *optional*):
            Likewise of words; padding has none.
    """

    loss: torch.Tensor | None = None
    loss_terms: dict[str, torch.Tensor] | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_logits: torch.Tensor | None = None
    text_logits: torch.Tensor | None = None
    pair_logits: torch.Tensor | None = None
    image_attentions: torch.Tensor | None = None
    text_attentions: torch.Tensor | None = None

    @property
    def embeds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and text embeddings of a batch of pairs."""
        return self._both("embeds")

    @property
    def logits(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Class predictions of the images and of the texts of a batch of pairs."""
        return self._both("logits")

    def _both(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        image, text = getattr(self, f"image_{kind}"), getattr(self, f"text_{kind}")
        if image is None or text is None:
            raise ValueError(f"This output has no {kind} of both modalities, only {', '.join(self) or 'nothing'}.")
        return image, text


class CMRModel(CheckedModel):
    """Base of every method.

    A method gives `get_image_features`, `get_text_features` and, where it learns by gradient, `compute_loss`;
    `forward`, saving, loading and the checks on them are here. A subclass that does not say what the attributes below
    ask for is refused where it is defined.

    Attributes:
        config_class: the method's configuration.
        title: its name, as people write it.
        paper: who, what, where and when.
        supervision: "supervised" where the method learns from classes, "unsupervised" where from pairs alone.
        is_hashing: whether its embeddings are binary codes, compared by Hamming distance, not real-valued vectors,
            compared by cosine; [`~cmr_hub.modeling.modeling_hashing.HashingMixin`] sets it.
        representation: the same as a word, "binary" or "real-valued".
        is_stochastic: whether another seed gives other weights.
        image_input, text_input: what the method eats, by the name of the first argument of `get_image_features` and
            `get_text_features`; the processor's encoders must give it.
        text_inputs: what else it may eat of texts, where a field `text_input` of the configuration says so.
        has_attention: whether it weighs regions and words, and can show how.
        groups_texts: whether a training batch must hold several texts of an item; they then stay together.
        has_focus: whether its embeddings have a class part and an item part, which `with_focus` weighs in queries.
        unlabelled_settings: configuration fields that let a supervised method learn from data without classes; None
            where it cannot.
        arguments: what `forward` takes, read from the method's functions.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    supervision: ClassVar[Literal["supervised", "unsupervised"]]
    is_hashing: ClassVar[bool] = False
    representation: ClassVar[Representation] = "real-valued"
    is_stochastic: ClassVar[bool] = True
    image_input: ClassVar[str] = "image_features"
    text_input: ClassVar[str] = "text_features"
    text_inputs: ClassVar[tuple[str, ...]] = ()
    has_attention: ClassVar[bool] = False
    groups_texts: ClassVar[bool] = False
    has_focus: ClassVar[bool] = False
    unlabelled_settings: ClassVar[Mapping[str, Any] | None] = None
    arguments: ClassVar[ForwardArguments]
    config_class = CMRConfig
    config: CMRConfig
    base_model_prefix = "cmr"
    main_input_name = "image_features"
    accepts_loss_kwargs = False  # losses are means over the batch: the Trainer must not rescale them by tokens

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        """Check that a method is complete; `abstract=True` says that a class is a base of methods and none itself."""
        if "forward" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} must not define forward, which is CMRModel's: give compute_loss, and embed where "
                "embedding takes more than get_image_features and get_text_features."
            )
        adopt_renamed(cls, {"attends": "has_attention", "uses_chance": "is_stochastic"})
        # Before super(), which would fill in the base's configuration.
        if not abstract:
            if "config_class" not in cls.__dict__:
                raise TypeError(f"{cls.__name__} must name its config_class.")
            for fact in ("title", "paper", "supervision"):
                if not hasattr(cls, fact):
                    raise TypeError(f"{cls.__name__} must say its {fact}.")
            if cls.representation != ("binary" if cls.is_hashing else "real-valued"):
                raise TypeError(f"{cls.__name__} gives codes: derive it from HashingMixin, which sets representation.")
        super().__init_subclass__(**kwargs)
        for name in EMBEDDING & cls.__dict__.keys():
            setattr(cls, name, in_precision_of_weights(cls.__dict__[name]))
        cls.arguments = ForwardArguments.of(cls)
        cls.main_input_name = cls.image_input

    attends = RenamedAttribute("has_attention")
    uses_chance = RenamedAttribute("is_stochastic")

    @classmethod
    def needs_labels(cls) -> bool:
        """Whether it learns from nothing but data with classes."""
        return cls.supervision == "supervised" and cls.unlabelled_settings is None

    @classmethod
    def missing_labels(cls) -> InputError:
        """Return the error that training data without classes are for it."""
        return InputError(
            f"{cls.config_class.model_type} learns from classes, and the training data have no label column: label "
            "them, or choose a method that learns from pairs alone (supervision='unsupervised' in "
            "cmr_hub.list_methods())."
        )

    @classmethod
    def too_few_classes(cls, count: int) -> InputError:
        """Return the error that training data of one class alone are for it."""
        return InputError(
            f"{cls.config_class.model_type} tells classes apart: two at least must have training items, not {count}. "
            "Label the data more finely, or take the labels away and choose a method that learns from pairs alone "
            "(supervision='unsupervised' in cmr_hub.list_methods())."
        )

    @property
    def accepts_focus(self) -> bool:
        """Whether this checkpoint has both parts that `with_focus` weighs: one trained without classes has not."""
        return False

    @property
    def class_dim(self) -> int | None:
        """Width of the class part of embeddings, which comes first, of codes in bits; None where there is one part."""
        return getattr(self.config, "class_dim", None) if self.accepts_focus else None

    @property
    def default_focus(self) -> float | None:
        """The focus of queries that are asked without one; None where embeddings have one part."""
        return getattr(self.config, "focus", NEUTRAL) if self.accepts_focus else None

    @property
    def answers_questions(self) -> bool:
        """Whether it answers texts as questions about images (`pair_logits`), and embeds neither modality alone."""
        return False

    @abstractmethod
    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        """Embed images alone: `(n, image_dim)` float features to `(n, embed_dim)` vectors of the common space."""

    @abstractmethod
    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        """Embed texts alone: `(n, text_dim)` float features to `(n, embed_dim)` vectors of the common space."""

    def get_pair_features(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Embed items of which both modalities are known as one vector each, by methods that define such a thing.

        Args:
            image_features: `(n, image_dim)` float features.
            text_features: `(n, text_dim)` float features, row i of the same item.

        Returns:
            `(n, embed_dim)`.

        Raises:
            InputError: the method embeds each side by itself only.
        """
        raise InputError(
            f"{self.config.model_type} embeds each side by itself and defines nothing for a pair: use "
            "get_image_features and get_text_features, or a method with unified codes (SePH, CMFH, LSSH …)."
        )

    def forward(
        self,
        image_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **inputs: Any,
    ) -> CMROutput:
        """Embed whichever modalities are given; compute the loss where all that it needs is given.

        Args:
            image_features: `(n, image_dim)` float tensor.
            text_features: `(n, text_dim)` float tensor, row i of the same item.
            labels: `(n, num_labels)` multi-hot tensor.
            inputs: what else the method's `get_image_features`, `get_text_features`, `embed` and `compute_loss` take.

        Returns:
            Embeddings of unit length, as [`~cmr_hub.Retriever`] gives them, and the loss of the method's own.

        Raises:
            UnknownArgumentError: a TypeError; none of these takes an argument of this name.
            InputError: labels are given, which only a loss uses, but not both modalities, or not one row per item.
        """
        named = {"image_features": image_features, "text_features": text_features, "labels": labels}
        inputs |= {name: value for name, value in named.items() if value is not None}
        self.arguments.check(type(self).__name__, inputs)
        given = {name: value for name, value in inputs.items() if value is not None}
        given = dict(zip(given, as_weights(self, given.values()), strict=True))
        missing = self.arguments.missing_modalities(given)
        if missing and "labels" in given and type(self).compute_loss is not CMRModel.compute_loss:
            raise InputError(
                f"{self.config.model_type} computes its loss from pairs: labels are given, but no "
                f"{' and no '.join(missing)}. Give both modalities, or leave out the labels to embed one."
            )
        output = self.embed(**{name: given[name] for name in self.arguments.embed if name in given})
        if not missing and given.keys() >= set(self.arguments.needed):
            self._add_loss(output, {name: given[name] for name in self.arguments.loss if name in given})
        for name in ("image_embeds", "text_embeds"):
            if (embeds := output.get(name)) is not None:
                setattr(output, name, F.normalize(embeds, dim=1))
        return output

    def embed(self, *args: Any, **inputs: Any) -> CMROutput:
        """Embed and classify whichever modalities are given.

        A method overrides it, with arguments of its own, where embeddings take more than `get_image_features` and
        `get_text_features`.

        Args:
            args: none.
            inputs: arguments of `get_image_features` and `get_text_features`.
        """
        given = {name: value for name, value in inputs.items() if value is not None}
        images = {name: given[name] for name in self.arguments.image if name in given}
        texts = {name: given[name] for name in self.arguments.text if name in given}
        image = self.get_image_features(**images) if images else None
        text = self.get_text_features(**texts) if texts else None
        return CMROutput(
            image_embeds=image,
            text_embeds=text,
            image_logits=None if image is None else self.classify(image),
            text_logits=None if text is None else self.classify(text),
        )

    def compute_loss(self, output: CMROutput, *args: Any, **batch: Any) -> dict[str, torch.Tensor]:
        """Compute the terms of the objective on a batch of pairs.

        A method that learns by gradient overrides it and names what it needs: `labels`, inputs of the embeddings, or
        what else a batch of [`~cmr_hub.training.datasets.Pairs`] has (`rows`, `items`, `matching`). `forward` computes
        no loss while an argument that has no default is not given.

        Args:
            output: what `embed` gave for the batch.
            args: none.
            batch: the arguments that the method names; `labels` in the dtype of the embeddings.

        Returns:
            The terms before weighting, scalars by the paper's names; empty where there is no loss.
        """
        return {}

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Weights of the terms of `compute_loss`; a term that is not listed has the weight 1."""
        return {}

    @classmethod
    def select_inputs(cls, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The entries of a training batch that `forward` takes; a batch has more than most methods use.

        Example:
        ```python
        >>> from cmr_hub import DSCMRModel
        >>> list(DSCMRModel.select_inputs({"rows": torch.arange(2), "image_features": torch.randn(2, 6)}))
        ['image_features']
        ```
        """
        return {name: value for name, value in batch.items() if name in cls.arguments.known}

    def _add_loss(self, output: CMROutput, batch: dict[str, torch.Tensor]) -> None:
        if "labels" in batch:
            self._check_labels_of_batch(output, batch["labels"])
            computed = next(iter(output.values()), batch["labels"])
            batch["labels"] = batch["labels"].to(computed.dtype)
        terms, weights = self.compute_loss(output, **batch), self.loss_weights
        if terms:
            output.loss = add(weights.get(name, 1.0) * term for name, term in terms.items())
            output.loss_terms = terms

    def _check_labels_of_batch(self, output: CMROutput, labels: torch.Tensor) -> None:
        """Refuse labels of another shape: by broadcasting, another loss might be computed with them."""
        if self.supervision == "unsupervised":
            return
        self._check_shape_of_labels(labels)
        rows = len(next(iter(output.values()), labels))
        if len(labels) != rows:
            raise InputError(f"Labels of {len(labels)} items are given, and features of {rows}: one row per item.")

    def _check_shape_of_labels(self, labels: torch.Tensor) -> None:
        width = self.config.num_labels
        shape = tuple(labels.shape) if isinstance(labels, torch.Tensor) else type(labels).__name__
        if not isinstance(labels, torch.Tensor) or labels.ndim != 2 or labels.shape[1] != width:
            raise InputError(f"Labels must be multi-hot, of the shape (n, {width}), not {shape}.")

    def classify(self, embeds: torch.Tensor) -> torch.Tensor | None:
        """`(n, num_labels)` class predictions from `(n, embed_dim)` embeddings; None without a classifier."""
        return None

    def as_embeddings(self, features: torch.Tensor) -> np.ndarray:
        """What is kept, searched and measured of `(n, embed_dim)` values of the common space.

        Returns:
            `(n, embed_dim)` float32 rows of unit length, or of a hashing method `(n, embed_dim // 8)` uint8 codes.
        """
        return unit_rows(features)

    def with_focus(self, embeds: np.ndarray, focus: float) -> np.ndarray:
        """Weigh the two parts of queries, by methods whose embeddings have a class part and an item part.

        Only queries are weighed: one gallery answers every focus.

        Args:
            embeds: `(n, embed_dim)` rows or `(n, embed_dim // 8)` codes, as `as_embeddings` gives them.
            focus: from 0, the same kind of thing, to 1, this very thing.

        Returns:
            `(n, embed_dim)` float32 rows of unit length. Their inner products with the gallery (of codes with
            [`~cmr_hub.modeling.embeddings.as_vectors`] of it) are in the order of
            (1 - focus) * cosine of the class parts + focus * cosine of the item parts.

        Raises:
            InputError: the embeddings have one part, or the focus is not from 0 to 1.
        """
        raise InputError(
            f"{self.config.model_type} embeds each input as one part, and a focus weighs two: leave it out, or use a "
            "method with a class part and an item part (unified)."
        )

    def check_labels(self, labels: torch.Tensor | None) -> None:
        """Refuse training labels that a supervised method cannot learn from; warn of classes without an item.

        Args:
            labels: `(n, num_labels)` multi-hot tensor of the whole training data.

        Raises:
            InputError: there are none, they are of another width than `num_labels`, or of fewer than two classes.
        """
        if self.supervision == "unsupervised":
            return
        if labels is None:
            raise self.missing_labels()
        self._check_shape_of_labels(labels)
        seen = labels.bool().any(dim=0)
        if seen.sum() < 2:
            raise self.too_few_classes(int(seen.sum()))
        absent = [self.config.id2label[row] for row in (~seen).nonzero().flatten().tolist()]
        if absent:
            logger.warning("No training item is of the class %s: nothing is learned of it.", ", ".join(absent))

    def start_from(self, processor: CMRProcessor) -> None:
        """Take what training starts from out of the processor's encoders (word vectors), where a method does so."""

    def training_callbacks(self) -> list[TrainerCallback]:
        """Callbacks for what a method needs beyond a batch loss (codes solved each epoch, a reversal schedule …)."""
        return []


class ClosedFormCMRModel(CMRModel, abstract=True):
    """A method without an optimiser.

    `fit` solves it, in closed form or by its own iterations, and fills persistent buffers, whose sizes the config
    fixes.

    A method whose iterations start from random numbers sets `is_stochastic = True` and uses torch's generator.
    """

    is_stochastic: ClassVar[bool] = False
    is_fitted: torch.Tensor

    def __init__(self, config: CMRConfig):
        super().__init__(config)
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))

    @property
    def dtype(self) -> torch.dtype:
        # transformers looks at parameters only, and a closed-form model has none.
        return next(buffer.dtype for buffer in self.buffers() if buffer.is_floating_point())

    @property
    def device(self) -> torch.device:
        return self.is_fitted.device

    @abstractmethod
    def _solve(self, image_features: torch.Tensor, text_features: torch.Tensor, labels: Any) -> None:
        """Fill the buffers from checked float64 features of shapes `(n, image_dim)` and `(n, text_dim)`.

        `labels` are a `(n, num_labels)` float64 tensor, multi-hot; None where an unsupervised method is given none.
        """

    @torch.no_grad()
    def fit(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor | None = None
    ) -> ClosedFormCMRModel:
        """Solve the method on `n` pairs.

        Args:
            image_features: `(n, image_dim)`, any float dtype; solved in float64.
            text_features: `(n, text_dim)`.
            labels: `(n, num_labels)` multi-hot, for methods that use classes.

        Returns:
            The model itself.

        Raises:
            InputError: other shapes than the config's, different lengths, values that are not finite, rows that are
                all the same, or labels that a supervised method cannot learn from.
        """
        pairs = {"image": image_features, "text": text_features}
        for modality, features in pairs.items():
            if features is None:
                raise InputError(
                    f"{self.config.model_type} learns from pairs of an image and a text, and no {modality} features "
                    "are given."
                )
            dim = getattr(self.config, f"{modality}_dim")
            if features.ndim != 2 or features.shape[1] != dim:
                raise InputError(f"{modality} features must have the shape (n, {dim}), not {tuple(features.shape)}.")
            bad = (~torch.isfinite(features).all(dim=1)).nonzero().flatten()
            if len(bad):
                raise InputError(
                    f"Row {bad[0].item()} of the {modality} features holds NaN or infinity; drop or mend it."
                )
            if len(features) > 1 and (features == features[0]).all():
                raise InputError(
                    f"All rows of the {modality} features are the same: nothing can be learned from them."
                )
        if len(image_features) != len(text_features):
            raise InputError(f"{len(image_features)} images against {len(text_features)} texts: pairs are needed.")
        if len(image_features) < 2:
            raise InputError(f"At least two pairs are needed to fit, and {len(image_features)} were given.")
        if labels is not None and len(labels) != len(image_features):
            raise InputError(f"{len(image_features)} pairs against {len(labels)} rows of labels.")
        self.check_labels(labels)
        self._solve(image_features.double(), text_features.double(), None if labels is None else labels.double())
        self.is_fitted.fill_(True)
        return self

    def embed(self, *args: Any, **inputs: Any) -> CMROutput:
        """Embed whichever modalities are given; see [`CMRModel.embed`]."""
        self.check_fitted()
        return super().embed(*args, **inputs)

    def check_fitted(self) -> None:
        """Raise NotFittedError where `fit` (or `from_pretrained`) has not been called yet."""
        # What is exported has no values to look at.
        if not torch.compiler.is_exporting() and not self.is_fitted:
            raise NotFittedError(
                f"This {type(self).__name__} has no projections yet: call fit() or from_pretrained()."
            )
