"""Any vision or text model of transformers as a frozen encoder."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from PIL import Image
from torch import nn

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import CheckpointError, CMRError
from cmr_hub.utils.checkpoint_files import check_finite, check_folder, read_json
from cmr_hub.utils.hub import check_repo_id
from cmr_hub.utils.images import ImageSource

from .backbone import BackboneEncoder
from .backends import Compute, Inputs
from .base import NetworkEncoder, TextEncoder, check_texts, checkpoint_file
from .parallel import map_in_order

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

FAMILY = "transformers/"
MAX_SIZE, MAX_LAYERS = 1 << 24, 1000
MIN_SPELLED = 3  # letters of a word that pieces of single letters say nothing of
COUNTS = ("layers", "depth", "blocks", "stages")  # how often a part is built, whatever its size
# Fields of a config.json that fetch kernels or name other files than the folder's own.
CODE_FIELDS = ("attn_implementation", "experts_implementation", "configuration_files", "transformers_weights")


class Pretrained(NetworkEncoder):
    """What the two encoders share: a repo id or folder, its weights, and its preprocessor.

    Args:
        model: a repo id of the Hub, or a local folder. A local folder's model is saved with a checkpoint.
        revision: branch, tag or commit of the repo.

    Attributes:
        saved_in: the folder inside a checkpoint that a local model is saved in; None where the repo id is enough. The
            two encoders of one model may name the same, and it is stored once.
        hub_options: how the repo is fetched (`cache_dir`, `token` …), in the words of transformers; not saved.

    Raises:
        CheckpointError: on first use, when the model cannot be loaded: unknown, offline, incomplete, without
            safetensors.
    """

    family: ClassVar[str] = FAMILY
    _preprocessor_class: ClassVar[str]

    def __init__(self, model: str, revision: str | None = None):
        self.model, self.revision = model, revision
        self._is_local = Path(model).is_dir()
        self.name = self.family + (Path(model).name if self._is_local else model)
        self.saved_in = f"{self.modality}_encoder" if self._is_local else None
        self.hub_options: dict[str, Any] = {}
        self._known_dim: int | None = None

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Self:
        return cls(cls._model_of(name), **options)

    @classmethod
    def credit_of(cls, name: str) -> str:
        model = name.removeprefix(cls.family)
        if "/" not in model:  # of a local folder, whose name alone is known
            return f"{model}, a model of transformers under the licence that its authors gave it"
        return f"[{model}](https://huggingface.co/{model}), under the licence that its own card names"

    @classmethod
    def _model_of(cls, name: str) -> str:
        """The repo id or folder that an encoder's name goes on with."""
        return name.removeprefix(cls.family)

    def fetch_with(self, **options: Any) -> Self:
        self.hub_options = options
        return self

    @cached_property
    def _model(self) -> tuple[PreTrainedModel, bool]:
        """The model, and whether its pooler was learned: many repos leave it out, and it would be random."""
        from transformers import AutoModel

        model, report = self._load(AutoModel, use_safetensors=True, dtype=torch.float32, output_loading_info=True)
        missing = sorted(report["missing_keys"])
        check_finite(model.state_dict(), Path(self.model))
        pooler = [key for key in model.state_dict() if "pooler" in key]
        without_pooler = set(pooler) <= set(missing)
        lost = [key for key in missing if key not in pooler or not without_pooler]
        if lost or report["mismatched_keys"]:
            raise CheckpointError(
                f"{self.model} is incomplete: weights are missing ({lost[:3]}) or of other shapes "
                f"({sorted(report['mismatched_keys'])[:3]}). Fetch it again."
            )
        return model, not missing

    def share_model(self, other: Pretrained) -> None:
        """Compute with the model of `other`, loaded now if it is not yet: two encoders of one model hold it once."""
        self._model = other._model

    @cached_property
    def _preprocessor(self) -> Any:
        import transformers

        return self._load(getattr(transformers, self._preprocessor_class))

    @property
    def _source(self) -> str | Path:
        """What transformers loads: a repo id of the Hub, or a local folder as a path."""
        return Path(self.model) if self._is_local else self.model

    def _load(self, auto_class: Any, **options: Any) -> Any:
        source = self._source
        if isinstance(source, Path):
            check_folder(source)
            check_config(read_json(source / "config.json"), self.model)
        try:
            # No code of a repo is ever run, and nobody is asked whether it may be.
            return auto_class.from_pretrained(
                source, revision=self.revision or "main", trust_remote_code=False, **self.hub_options, **options
            )
        except CheckpointError:
            raise
        except Exception as error:  # of many kinds, by what is missing or broken
            raise CheckpointError(
                f"The model {self.model!r} could not be loaded: {error}\nOffline, fetch it first on a machine with "
                f"network: `hf download {self.model}`, or give the path of its folder."
            ) from error

    def _preprocessed(self, *inputs: Any, **options: Any) -> Any:
        """Preprocess images or texts.

        Raises:
            CheckpointError: its settings cannot be used.
        """
        try:
            return self._preprocessor(*inputs, **options)
        except Exception as error:  # of many kinds, by which setting has another type
            raise CheckpointError(
                f"The preprocessor of {self.model!r} cannot be used with its settings: {error!r:.300}. Fetch it again."
            ) from error

    @contextmanager
    def _naming_model(self) -> Iterator[None]:
        """Name the model in the errors of a block that computes with it.

        Raises:
            CheckpointError: the model and its preprocessor do not fit each other.
        """
        try:
            yield
        except CMRError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The model {self.model!r} cannot compute with its {self._preprocessor_class} ({error}). Fetch it "
                "again."
            ) from error

    @property
    def dim(self) -> int:
        if self._known_dim is None:
            with self._naming_model():
                self._known_dim = self._measured_dim()
        return self._known_dim

    @abstractmethod
    def _measured_dim(self) -> int:
        """The width of the vectors, by encoding something."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "modality": self.modality,
            "revision": self.revision,
            "saved_in": self.saved_in,
            "dim": self.dim,
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        model, revision = cls._model_of(config["name"]), config["revision"]
        if config["saved_in"]:
            model = str(checkpoint_file(folder, config["saved_in"], config["name"]))
            if not Path(model).is_dir():
                raise CheckpointError(f"{model} is no folder of a model. Fetch the whole checkpoint again.")
        else:
            _check_repo(model)
        if revision is not None and not isinstance(revision, str):
            raise CheckpointError(f"The encoder {config['name']!r} has the revision {revision!r}, which is no name.")
        encoder = cls(model, revision)
        encoder.name, encoder.saved_in, encoder._known_dim = config["name"], config["saved_in"], config["dim"]
        return encoder

    def save_files(self, folder: Path) -> None:
        if self.saved_in:
            target = Path(folder) / self.saved_in
            self._model[0].save_pretrained(target)
            self._preprocessor.save_pretrained(target)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        if self._is_local:
            for _, value in sorted(self._model[0].state_dict().items()):
                yield value.cpu().contiguous().numpy().data


def _check_repo(model: str) -> None:
    """Refuse a model that a checkpoint names, but does not bring, unless it is a repo of the Hub.

    Raises:
        CheckpointError: it is a path, or a folder here has its name, which transformers would read instead.
    """
    check_repo_id(model)
    if Path(model).exists():
        raise CheckpointError(
            f"The checkpoint names the Hub's {model!r}, and {Path(model).absolute()} would be read instead: only the "
            "checkpoint's own files are. Run from another folder."
        )


def check_config(config: object, model: str) -> None:
    """Refuse the configuration of a model that makes transformers fetch something else, or build for ever.

    Args:
        config: content of a `config.json`, or a part of it.
        model: whose it is, for the error.

    Raises:
        CheckpointError: it has such a field, or a number that is too large.
    """
    parts = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for name, value in parts:
        if name in CODE_FIELDS and value is not None:
            raise CheckpointError(f"{model} has {name!r}, which makes transformers load code or files from elsewhere.")
        most = MAX_LAYERS if any(word in str(name) for word in COUNTS) else MAX_SIZE
        if isinstance(value, int) and value > most:
            raise CheckpointError(f"{model} says {name!r} is above {most:,}. Fetch it again.")
        check_config(value, model)


@register_encoder("image", "transformers/")
class TransformersImageEncoder(Pretrained, BackboneEncoder):
    """A transformers vision model (CLIP, DINOv2, ViT, ResNet, Swin …) with its own image processor.

    The vector is the image embedding of a dual encoder (CLIP, SigLIP), else the model's pooled output, else the class
    token, else the mean over patches. A pooler that the repo has no weights for is not used.

    Args:
        model: a repo id of the Hub, or a local folder. A local folder's model is saved with a checkpoint.
        revision: branch, tag or commit of the repo.

    Example:
    ```python
    >>> encoder = TransformersImageEncoder("facebook/dinov2-small")  # doctest: +SKIP
    >>> encoder.encode(["cat.jpg"]).shape  # doctest: +SKIP
    torch.Size([1, 384])
    ```
    """

    _preprocessor_class = "AutoImageProcessor"

    @property
    def takes(self) -> list[str]:
        """What the image processor makes of an image; the encoder hands on "pixel_values" alone."""
        return list(self._preprocessor.model_input_names)

    def _build_network(self) -> nn.Module:
        return ImageTower(*self._model)

    def encode(self, inputs: Sequence[ImageSource]) -> torch.Tensor:
        with self._naming_model():
            return super().encode(inputs)

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        return self._preprocessed(images=images, return_tensors="pt")["pixel_values"].float()

    @torch.inference_mode()
    def _measured_dim(self) -> int:
        return self._embed(self._preprocess([Image.new("RGB", (64, 64))])).shape[1]


class ImageTower(nn.Module):
    """Pixel values `(n, 3, height, width)` to one vector an image, `(n, dim)`."""

    def __init__(self, model: PreTrainedModel, has_pooler: bool):
        super().__init__()
        self.model: Any = model
        self.has_pooler = has_pooler
        self.has_class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if hasattr(self.model, "get_image_features"):
            return self.model.get_image_features(pixel_values=pixel_values, return_dict=True).pooler_output
        output = self.model(pixel_values=pixel_values, return_dict=True)
        if self.has_pooler and output.get("pooler_output") is not None:
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.ndim == 4:  # a convolutional map (n, dim, height, width)
            return states.mean(dim=(2, 3))
        return states[:, 0] if self.has_class_token else states.mean(dim=1)


@register_encoder("text", "transformers/")
class TransformersTextEncoder(Pretrained, TextEncoder):
    """A transformers text model (MiniLM, BERT, CLIP …) with its own tokenizer; longer texts are cut to what it takes.

    The vector is the text embedding of a dual encoder (CLIP, SigLIP), else the mean of the last states over the text's
    tokens, as sentence-transformers do. A text of blanks or of unknown tokens alone is the zero vector, and
    `has_known_tokens` is False for it.

    Args:
        model: a repo id of the Hub, or a local folder. A local folder's model is saved with a checkpoint.
        revision: branch, tag or commit of the repo.

    Example:
    ```python
    >>> encoder = TransformersTextEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.encode(["a red bird"]).shape  # doctest: +SKIP
    torch.Size([1, 384])
    ```
    """

    cacheable = True
    batch_size = 16
    varying_sizes = 2  # the number of texts, and of tokens
    _preprocessor_class = "AutoTokenizer"
    _has_warned = False

    def _build_network(self) -> nn.Module:
        return self._model[0]

    def encode(self, inputs: Sequence[str]) -> torch.Tensor:
        with self._naming_model():
            return self._encode(inputs)

    def _encode(self, inputs: Sequence[str]) -> torch.Tensor:
        read = self._read(inputs)
        self._warn_of_cuts(read)
        features = torch.zeros(len(inputs), self.dim)
        known = [index for index, tokens in enumerate(read) if self._has_known(tokens)]
        # Texts of about one length share a batch: little is computed on padding.
        known.sort(key=lambda index: len(read[index]))
        compute = self._computing(len(known))

        def embed(batch: tuple[list[int], Any]) -> tuple[list[int], torch.Tensor]:
            return batch[0], self._embed(batch[1], compute)

        batches = self._batches(inputs, known, compute)
        for batch, rows in map_in_order(embed, batches, compute.workers):
            features[batch] = rows
        return features

    def _batches(self, texts: Sequence[str], order: list[int], compute: Compute) -> Iterator[tuple[list[int], Any]]:
        """Positions and tokens of one batch after another; a tokenizer must not be called by two threads at once."""
        size = compute.batch_size(len(order), self.batch_size)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            yield batch, self._padded([texts[index] for index in batch])

    @torch.inference_mode()
    def _embed(self, tokens: Any, compute: Compute | None = None) -> torch.Tensor:
        outputs = (compute or self._compute_in_torch)(*tokens.values()).float().cpu()
        return outputs if outputs.ndim == 2 else self._pooled(outputs, tokens["attention_mask"])

    @property
    def _tower(self) -> nn.Module:
        return TextTower(self.network, self._token_names).eval()

    @cached_property
    def _token_names(self) -> list[str]:
        return list(self._padded(["a"]))

    def _example_inputs(self, count: int) -> Inputs:
        return tuple(self._padded([" ".join(["a bird"] * count * (row + 1)) for row in range(count)]).values())

    def _padded(self, texts: list[str]) -> Any:
        """What the model is given of texts, name -> `(n, tokens)`."""
        return self._tokens(texts, max_length=self._max_length, padding=self._padding, return_tensors="pt")

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The texts' vectors `(n, dim)`.

        Args:
            states: of the texts' tokens, `(n, tokens, dim)`.
            mask: `(n, tokens)` int64, 1 at tokens and 0 at padding.
        """
        return (states * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1, keepdim=True)

    def _tokens(self, texts: Sequence[str], max_length: int, **options: Any) -> Any:
        return self._preprocessed(list(texts), truncation=True, max_length=max_length, **options)

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of each text's tokens, without special ones; of a longer text one more than are read."""
        filled = [text for text in check_texts(texts) if text.strip()]
        if not filled:
            return [[] for _ in texts]
        with self._naming_model():
            tokens = iter(self._tokens(filled, self._window + 1, add_special_tokens=False)["input_ids"])
        return [next(tokens) if text.strip() else [] for text in texts]

    def _has_known(self, tokens: list[int]) -> bool:
        return any(token != self._preprocessor.unk_token_id for token in tokens[: self._window])

    def _warn_of_cuts(self, read: Sequence[list[int]]) -> None:
        """Say once that texts are longer than the model reads."""
        longer = sum(len(tokens) > self._window for tokens in read)
        if longer and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s reads %d tokens of a text, and %d of %d texts are longer: what follows is left out. Split them, "
                "or let each begin with what matters.",
                self.name,
                self._window,
                longer,
                len(read),
            )

    @cached_property
    def _window(self) -> int:
        """How many tokens of a text are read, in addition to special ones.

        Raises:
            CheckpointError: none are.
        """
        window = self._max_length - self._preprocessor.num_special_tokens_to_add()
        if window < 1:
            raise CheckpointError(
                f"{self.model} reads {self._max_length} tokens of a text, special ones included, and none is left for "
                "words. Fetch the model again."
            )
        return window

    @cached_property
    def _config(self) -> Any:
        """The model's configuration, without its weights."""
        from transformers import AutoConfig

        return self._load(AutoConfig)

    @cached_property
    def _max_length(self) -> int:
        config = self._config
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        return min(self._preprocessor.model_max_length, positions or 512)

    @cached_property
    def _padding(self) -> str:
        # SigLIP reads the vector off the last position, padding or not, and has only seen texts of full length.
        return "max_length" if "siglip" in self._config.model_type else "longest"

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        return [self._has_known(tokens) for tokens in self._read(texts)]

    def read_words(self, text: str) -> list[tuple[str, bool]]:
        """The words of a text in order, each with whether it has a meaning to this encoder.

        A word of three letters or more that the tokenizer spells letter by letter has none: it is of a script or a
        language that the tokenizer was not made for.
        """
        unknown = self._preprocessor.unk_token_id
        if not self._preprocessor.is_fast:  # it does not say where in the text a token stands
            words = text.split()
            return [(word, unknown not in tokens) for word, tokens in zip(words, self._read(words), strict=True)]
        with self._naming_model():
            tokens = self._tokens([text], self._window, add_special_tokens=False, return_offsets_mapping=True)
        pieces = [
            (word, text[start:end].strip(), token != unknown)
            for word, (start, end), token in zip(
                tokens.word_ids(0), tokens["offset_mapping"][0], tokens["input_ids"][0], strict=True
            )
        ]
        return [_joined([piece[1:] for piece in word]) for _, word in groupby(pieces, lambda piece: piece[0])]

    def _measured_dim(self) -> int:
        return self._embed(self._padded(["a"])).shape[1]


def _joined(pieces: Iterable[tuple[str, bool]]) -> tuple[str, bool]:
    """A word of its pieces, and whether these mean more than its letters."""
    parts, known = zip(*pieces, strict=True)
    word = "".join(parts)
    is_spelled = len(word) >= MIN_SPELLED and all(len(part) < 2 for part in parts)
    # Marks that letters of some scripts have are no letters by themselves.
    is_of_letters = word[:1].isalpha() and not any(map(str.isdigit, word))
    return word, all(known) and not (is_spelled and is_of_letters)


class TextTower(nn.Module):
    """Tokens to the vectors of a dual encoder's texts, `(n, dim)`, or to the states of tokens, `(n, tokens, dim)`.

    Args:
        model: of transformers.
        names: what it calls the inputs of `forward`, in order.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model: Any = model
        self.names = names

    def forward(
        self, first: torch.Tensor, second: torch.Tensor | None = None, third: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = [tokens for tokens in (first, second, third) if tokens is not None]
        tokens = dict(zip(self.names, given, strict=True))
        if hasattr(self.model, "get_text_features"):
            return self.model.get_text_features(**tokens, return_dict=True).pooler_output
        return self.model(**tokens, return_dict=True).last_hidden_state
