"""Where a checkpoint is found, which ones are bundled, and how one is published. All of it on plain folders."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import CommitInfo, EvalResult, HfApi, ModelCard, ModelCardData, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.repocard import RepoCard
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open

from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, UnknownNameError

logger = logging.getLogger(__name__)

NAMESPACE = "cmr/"
ARRAYS = "precomputed"  # the encoder that passes arrays on; no torch is imported to ask it
_HOW_TO_LOG_IN = "pass token=… or run `hf auth login`"
RepoType = Literal["model", "dataset"]


@dataclass(frozen=True)
class _RepoKind:
    """What cmr_hub keeps in one kind of repo: `patterns` are all that it reads or publishes, so never a pickle."""

    noun: str
    patterns: tuple[str, ...]
    required: tuple[str, ...]


_KINDS: dict[str, _RepoKind] = {
    "model": _RepoKind(
        noun="checkpoint",
        patterns=("*.json", "*.safetensors", "*.md", "*.yaml", "*.txt", "LICENSE"),
        required=("README.md", "config.json", "model.safetensors"),
    ),
    "dataset": _RepoKind(
        noun="gallery",
        patterns=(
            *("*.json", "*.jsonl", "*.csv", "*.parquet", "*.safetensors", "*.md", "*.yaml", "*.txt", "LICENSE"),
            *("*.png", "*.jpg", "*.jpeg", "*.webp"),
        ),
        required=("README.md",),
    ),
}

# What trainers leave beside the weights: pickles, and the state of the optimiser in whatever format.
_NEVER_PUBLISHED = (
    *("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy", "*.npz"),
    *("optimizer*", "*/optimizer*", "checkpoint-*/*", "*/checkpoint-*/*"),
)
_SCRATCH = ".writing-*"  # an interrupted save of cmr_hub.utils.files


def bundled_folder() -> Path:
    """Where the checkpoints that come with cmr_hub live: `model_cards/` in a checkout, `cmr_hub/_bundled` in a wheel.

    Example:

    ```python
    >>> from cmr_hub.hub import bundled_folder
    >>> bundled_folder().name in ("model_cards", "_bundled")
    True
    ```
    """
    package = Path(__file__).resolve().parents[1]
    is_checkout = (package.parent / "pyproject.toml").is_file()
    return package.parent / "model_cards" if is_checkout else package / "_bundled"


def resolve(
    repo_id_or_path: str | os.PathLike,
    *,
    revision: str | None = None,
    force_download: bool = False,
    token: str | bool | None = None,
    repo_type: RepoType = "model",
) -> Path:
    """The local folder of a checkpoint (or gallery), downloaded if need be.

    Looked up in this order: a folder on this machine; for `cmr/<name>` the bundled folder, unless `revision` or
    `force_download` is given; then the Hub and its local cache as huggingface_hub does it: an update of an unpinned
    revision is fetched, and where the Hub cannot be reached the cached copy serves.

    Args:
        repo_id_or_path: a folder, or a repo id such as "cmr/dscmr-emoji".
        revision: branch, tag or commit on the Hub.
        force_download: fetch every file again.
        token: for private and gated repos; default is the one that `hf auth login` stored.
        repo_type: "model" for checkpoints, "dataset" for galleries.

    Returns:
        An existing folder. From the Hub it holds JSON, safetensors, YAML, Markdown and text only (galleries also
        tables and images): whatever else the repo has is never downloaded.

    Raises:
        CheckpointNotFoundError: no such folder, id or revision, or no way to reach it; says what is bundled, which
            names are near, and whether a token would help.
        CheckpointError: what was found is no checkpoint, or cannot be stored.

    Example:

    ```python
    >>> import tempfile
    >>> from cmr_hub.hub import resolve
    >>> folder = tempfile.mkdtemp()
    >>> str(resolve(folder)) == folder
    True
    ```
    """
    name = os.fspath(repo_id_or_path)
    if name.startswith(NAMESPACE) and ".." in name:
        raise CheckpointNotFoundError(f"{name!r:.200} leads out of {NAMESPACE}; give an id such as 'cmr/dscmr-emoji'.")
    path = Path(os.path.expanduser(name))  # which, unlike the method of Path, lets an unknown ~user stand
    if name and os.path.isdir(path):
        return path
    if name and os.path.isfile(path):
        raise CheckpointError(
            f"{path} is a file. Give the folder that holds it, or a repo id such as 'cmr/dscmr-emoji'."
        )
    if _is_surely_a_path(repo_id_or_path):
        raise CheckpointNotFoundError(f"There is no folder {name!r:.200} (looked in {Path.cwd()}).")
    _check_repo_id(name)

    bundled = bundled_folder() / name.removeprefix(NAMESPACE)
    wants_bundled = repo_type == "model" and name.startswith(NAMESPACE) and revision is None and not force_download
    if wants_bundled and (bundled / "config.json").is_file():
        return bundled
    return _download(name, repo_type, revision=revision, force_download=force_download, token=token)


def _is_surely_a_path(repo_id_or_path: str | os.PathLike) -> bool:
    """Whether no repo id is written like this, so that the Hub need not be asked."""
    name = os.fspath(repo_id_or_path)
    return (
        not isinstance(repo_id_or_path, str) or name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1
    )


def _check_repo_id(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{name!r:.200} is neither a folder on this machine nor a repo id. An id is 'owner/name' of letters, "
            "digits, '-', '_' and '.', such as 'cmr/dscmr-emoji'."
        ) from None


def _download(repo_id: str, repo_type: RepoType, *, revision: str | None, **options: Any) -> Path:
    kind = _KINDS[repo_type]
    try:
        folder = Path(
            snapshot_download(
                repo_id, repo_type=repo_type, revision=revision, allow_patterns=list(kind.patterns), **options
            )
        )
    except (HTTPError, OSError, ValueError) as error:
        # The chain of errors under this one says nothing that the message does not.
        raise _lookup_error(repo_id, repo_type, revision, _root(error)) from None
    landmark = "config.json" if repo_type == "model" else "README.md"
    if not (folder / landmark).is_file():
        raise CheckpointError(
            f"The Hub's {repo_id!r} is no cmr_hub {kind.noun}: it has no {landmark}. "
            f"Only {', '.join(kind.patterns)} files are read, never pickles."
        )
    return folder


def _root(error: BaseException) -> BaseException:
    """What went wrong first: huggingface_hub wraps it in errors that say only that a file was not found."""
    while error.__cause__ is not None and not isinstance(error, HTTPError):
        error = error.__cause__
    return error


def _lookup_error(repo_id: str, repo_type: RepoType, revision: str | None, error: BaseException) -> CheckpointError:
    """The one error that a user sees, for the reason why a repo could not be fetched."""
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{constants.REPO_TYPES_URL_PREFIXES.get(repo_type, '')}{repo_id}"
        return CheckpointNotFoundError(f"{repo_id!r} is gated: ask for access at {page}, then {_HOW_TO_LOG_IN}.")
    if isinstance(error, RevisionNotFoundError):
        return CheckpointNotFoundError(f"The Hub's {repo_id!r} has no revision {revision!r} (branch, tag or commit).")
    if isinstance(error, OSError) and error.errno is not None:
        return CheckpointError(f"{repo_id!r} cannot be stored in {constants.HF_HUB_CACHE}: {error.strerror}.")
    here = _not_here(repo_id, repo_type)
    return CheckpointNotFoundError(f"{here} It is not in the local cache. {_why_not_the_hub(error)}")


def _not_here(repo_id: str, repo_type: RepoType) -> str:
    bundled = bundled_checkpoints()
    if repo_type != "model":
        return f"There is no folder {repo_id!r}."
    if repo_id in bundled:
        return f"{repo_id!r} is bundled, but a given revision or a forced download has to come from the Hub."
    return str(UnknownNameError("bundled checkpoint", repo_id, bundled))


def _why_not_the_hub(error: BaseException) -> str:
    """One sentence on why the Hub did not serve a request, with what to do."""
    if isinstance(error, RepositoryNotFoundError):
        return f"The Hub has none of this name, or it is private: then {_HOW_TO_LOG_IN}."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"The Hub refused the access token (status {status}): {_HOW_TO_LOG_IN}."
        return f"The Hub answered with status {status}: {error.server_message or 'try again later'}."
    if isinstance(error, OfflineModeIsEnabled):
        return "Offline mode is on: unset HF_HUB_OFFLINE to ask the Hub."
    return f"The Hub ({constants.ENDPOINT}) cannot be reached ({error}): check the connection."


@dataclass(frozen=True)
class CheckpointInfo:
    """What a bundled checkpoint says of itself in its configuration and card.

    Attributes:
        repo_id: "cmr/<name>".
        method: the method's name in the registry ("dscmr", "cca" …).
        dataset: name of the data set that it was trained on.
        license: licence of the weights.
        image_input: name of its image encoder; None where it eats arrays.
        text_input: name of its text encoder; None where it eats arrays.
        metrics: the measured results, as in the card's model-index.
    """

    repo_id: str
    method: str
    dataset: str
    license: str
    image_input: str | None
    text_input: str | None
    metrics: tuple[EvalResult, ...]

    @property
    def accepts_raw_images(self) -> bool:
        """Whether it embeds images; else it embeds arrays of image features."""
        return self.image_input is not None

    @property
    def accepts_raw_texts(self) -> bool:
        """Whether it embeds strings; else it embeds arrays of text features."""
        return self.text_input is not None


def list_checkpoints(pattern: str = "*") -> list[CheckpointInfo]:
    """The bundled checkpoints whose id ("cmr/dscmr-emoji") or name ("dscmr-emoji") matches a shell-style pattern.

    Raises:
        CheckpointError: a bundled folder is damaged; names the file.

    Example:

    ```python
    >>> from cmr_hub.hub import list_checkpoints
    >>> all(info.method == "cca" for info in list_checkpoints("cca-*"))
    True
    ```
    """
    return [_read_info(folder) for folder in bundled_checkpoints(pattern).values()]


def bundled_checkpoints(pattern: str = "*") -> dict[str, Path]:
    """Repo id -> folder of the bundled checkpoints, sorted; the pattern is that of [`list_checkpoints`]."""
    folders = sorted(path.parent for path in bundled_folder().glob("*/config.json"))
    return {
        NAMESPACE + folder.name: folder
        for folder in folders
        if fnmatchcase(folder.name, pattern) or fnmatchcase(NAMESPACE + folder.name, pattern)
    }


def _read_info(folder: Path) -> CheckpointInfo:
    path = folder / "README.md"
    card = _card_data(path, path.stat().st_mtime_ns if path.exists() else 0)
    metrics = tuple(card.eval_results or ())
    image_input, text_input = read_inputs(folder)
    return CheckpointInfo(
        repo_id=NAMESPACE + folder.name,
        method=read_json(folder / "config.json").get("model_type", ""),
        dataset=metrics[0].dataset_type if metrics else "",
        license=card.license or "",
        image_input=image_input,
        text_input=text_input,
        metrics=metrics,
    )


@lru_cache  # a card's YAML takes long to parse, and the Space's views ask for all of them each time they open
def _card_data(path: Path, changed: int) -> ModelCardData:
    return read_card(path, ModelCard).data


def read_inputs(folder: Path) -> tuple[str | None, str | None]:
    """Names of the image and the text encoder in a checkpoint's `processor_config.json`; None where it eats arrays.

    Raises:
        CheckpointError: the file is missing or is no JSON object.
    """
    config = read_json(folder / "processor_config.json")
    names = ((config.get(f"{modality}_encoder") or {}).get("name") for modality in ("image", "text"))
    image_input, text_input = (None if name == ARRAYS else name for name in names)
    return image_input, text_input


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Raises:
        CheckpointError: the file is missing or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} is no complete checkpoint: it has no {path.name}.") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is no valid JSON: {error}.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object, and holds a {type(content).__name__}.")
    return content


def read_card(path: Path, card_class: type[RepoCard] = RepoCard) -> RepoCard:
    """A repo's README with its metadata parsed.

    Raises:
        CheckpointError: the file is missing, or its metadata block cannot be parsed.
    """
    try:
        return card_class(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no card: {path.name} is missing.") from None
    except (ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"The metadata block of {path} cannot be parsed: {error}") from None


def check_publishable(
    folder: str | os.PathLike, *, repo_type: RepoType = "model", required: Iterable[str] | None = None
) -> None:
    """Refuse a folder that should not go to the Hub, naming everything that is wrong with it at once.

    Args:
        folder: a checkpoint or gallery.
        repo_type: "model" or "dataset".
        required: files that must be there; by default those of a checkpoint, or a gallery's README.md.

    Raises:
        CheckpointError: the folder or a required file is missing, a safetensors file is corrupt or empty, the card
            has no metadata or licence, or there are pickles, optimiser states or trainer checkpoints.

    Example:

    ```python
    >>> import tempfile
    >>> from cmr_hub.hub import check_publishable
    >>> check_publishable(tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cmr_hub.errors.CheckpointError: ... cannot be published: README.md is missing; config.json is missing; ...
    ```
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder} to publish.")
    required = _KINDS[repo_type].required if required is None else tuple(required)
    problems = list(_publishing_problems(folder, repo_type, required))
    if problems:
        raise CheckpointError(f"{folder} cannot be published: {'; '.join(problems)}.")


def _publishing_problems(folder: Path, repo_type: RepoType, required: Iterable[str]) -> Iterator[str]:
    names = _file_names(folder)
    yield from (f"{name} is missing" for name in required if name not in names)
    if refused := [name for name in names if _matches(name.lower(), _NEVER_PUBLISHED)]:
        yield f"remove pickles and training state, which are never published: {', '.join(refused)}"
    for name in names:
        if name.endswith(".safetensors") and (fault := _safetensors_fault(folder / name)):
            yield f"{name} {fault}"
    if "README.md" in names:
        try:
            if not read_card(folder / "README.md").data.get("license"):
                yield "README.md has no metadata block that names a license"
        except CheckpointError as error:
            yield str(error)
    if repo_type == "model" and "config.json" in names:
        try:
            if "model_type" not in read_json(folder / "config.json"):
                yield "config.json names no model_type"
        except CheckpointError as error:
            yield str(error)


def _file_names(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not _matches(name, (_SCRATCH, ".git/*", ".cache/*")))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _safetensors_fault(path: Path) -> str | None:
    """What is wrong with a safetensors file. Opening reads the header and holds it against the file's size."""
    try:
        with safe_open(path, framework="numpy") as file:
            return None if file.keys() else "holds no tensors"
    except SafetensorError as error:
        return f"is corrupt ({error})"


def push_folder(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    repo_type: RepoType = "model",
    required: Iterable[str] | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "Upload with cmr_hub",
    revision: str | None = None,
) -> str:
    """Publish a folder as it stands, in one repo on the Hub that is created if need be.

    Args:
        folder: a checkpoint or gallery; see [`check_publishable`].
        repo_id: "owner/name".
        repo_type: "model" or "dataset".
        required: files that must be there; see [`check_publishable`].
        private: who may read a repo that is created now; None leaves it to the owner's settings.
        token: one that may write; default is the one that `hf auth login` stored.
        commit_message: first line of the commit.
        revision: a branch, created if need be; default is the repo's main branch.

    Returns:
        The repo's address.

    Raises:
        CheckpointError: the folder is not fit for publishing, the id is none, or the Hub refuses or is out of reach.

    Example:

    ```python
    push_folder("outputs/dscmr-emoji", "me/dscmr-emoji", private=True)
    ```
    """
    _check_repo_id(repo_id)
    check_publishable(folder, repo_type=repo_type, required=required)
    folder, patterns = Path(folder).expanduser(), _KINDS[repo_type].patterns
    if left_out := [name for name in _file_names(folder) if not _matches(name, patterns)]:
        logger.warning("Not published, because cmr_hub does not read such files: %s.", ", ".join(left_out))
    api = HfApi(token=token)
    try:
        url = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, repo_type=repo_type, branch=revision, exist_ok=True)
        commit: CommitInfo = api.upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            commit_message=commit_message,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=[_SCRATCH],
        )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise _push_error(repo_id, _root(error)) from None
    logger.info("Published %s as commit %s.", repo_id, commit.oid)
    return str(url)


def _push_error(repo_id: str, error: BaseException) -> CheckpointError:
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403, 404):
        reason = f"The Hub asks for an access token that may write there: {_HOW_TO_LOG_IN}."
    elif isinstance(error, (HTTPError, OfflineModeIsEnabled)):
        reason = _why_not_the_hub(error)
    else:
        reason = str(error)
    return CheckpointError(f"{repo_id!r} could not be published. {reason}")
