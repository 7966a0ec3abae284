"""Find the folder of a checkpoint or gallery: on this machine, bundled with cmr_hub, in the cache or on the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, UnknownNameError, near_names

from .checkpoint_files import inner_path
from .files import SCRATCH_PATTERNS
from .hub_errors import Lookup, lookup_error, root_cause

NAMESPACE = "cmr/"
RepoType = Literal["model", "dataset"]


class Location(TypedDict, total=False):
    """Which files of a repo are read, and from where: what all `from_pretrained` take, as [`resolve`] describes it."""

    revision: str | None
    cache_dir: str | os.PathLike | None
    subfolder: str
    token: str | bool | None
    local_files_only: bool
    force_download: bool


def pop_location(options: dict[str, Any]) -> Location:
    """Take the arguments that say where files are out of the keyword arguments of a `from_pretrained`.

    Example:
    ```python
    >>> options = {"cache_dir": None, "subfolder": "best", "dtype": "float16"}
    >>> pop_location(options), options
    ({'subfolder': 'best'}, {'dtype': 'float16'})
    ```
    """
    given = {name: options.pop(name) for name in Location.__annotations__ if name in options}
    return cast(Location, {name: value for name, value in given.items() if value is not None})


def fetching_options(location: Location) -> dict[str, Any]:
    """How files are fetched, without which files these are: for another repo that a checkpoint names.

    Example:
    ```python
    >>> fetching_options({"revision": "v1", "subfolder": "", "token": None, "local_files_only": True})
    {'local_files_only': True}
    ```
    """
    asked = {name: value for name, value in location.items() if name not in ("revision", "subfolder")}
    return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class RepoKind:
    """The files of one kind of repo.

    Attributes:
        noun: what such a repo holds, for messages.
        landmark: the file without which a repo is not of this kind.
        patterns: all files that are read or published; never a pickle.
        required: files without which a folder is not published.
    """

    noun: str
    landmark: str
    patterns: tuple[str, ...]
    required: tuple[str, ...]


REPO_KINDS: dict[str, RepoKind] = {
    "model": RepoKind(
        noun="checkpoint",
        landmark="config.json",
        patterns=("*.json", "*.safetensors", "*.md", "*.yaml", "*.txt", "LICENSE"),
        required=("README.md", "config.json", "model.safetensors"),
    ),
    "dataset": RepoKind(
        noun="gallery",
        landmark="README.md",
        patterns=(
            *("*.json", "*.jsonl", "*.csv", "*.parquet", "*.safetensors", "*.md", "*.yaml", "*.txt", "LICENSE"),
            *("*.png", "*.jpg", "*.jpeg", "*.webp"),
        ),
        required=("README.md",),
    ),
}


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
    cache_dir: str | os.PathLike | None = None,
    subfolder: str = "",
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    repo_type: RepoType = "model",
) -> Path:
    """The local folder of a checkpoint (or gallery), downloaded if need be.

    Looked up in this order: a folder on this machine; for `cmr/<name>` the bundled folder, unless `revision` or
    `force_download` is given; then the Hub and its local cache as huggingface_hub does it: an update of an unpinned
    revision is fetched, and where the Hub cannot be reached the cached copy serves.

    Args:
        repo_id_or_path: a folder, or a repo id such as "cmr/dscmr-emoji".
        revision: branch, tag or commit on the Hub.
        cache_dir: where downloads are stored and looked for; default is the cache of Hugging Face.
        subfolder: the folder inside the repo (or local folder) that is the checkpoint.
        token: for private and gated repos; default is the one that `hf auth login` stored.
        local_files_only: never ask the Hub.
        force_download: fetch every file again.
        repo_type: "model" for checkpoints, "dataset" for galleries.

    Returns:
        An existing folder. From the Hub it holds JSON, safetensors, YAML, Markdown and text only (galleries also
        tables and images): whatever else the repo has is never downloaded.

    Raises:
        CheckpointNotFoundError: no such folder, id or revision, or no way to reach it; says what is bundled, which
            names are near, and whether a token would help.
        CheckpointError: what was found is no checkpoint, or cannot be stored; or `subfolder` is no plain relative
            name.

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
        return _inside(path, subfolder)
    if name and os.path.isfile(path):
        raise CheckpointError(
            f"{path} is a file. Give the folder that holds it, or a repo id such as 'cmr/dscmr-emoji'."
        )
    if _is_surely_a_path(repo_id_or_path):
        raise CheckpointNotFoundError(f"There is no folder {name!r:.200} (looked in {Path.cwd()}).")
    check_repo_id(name)

    bundled = bundled_checkpoint(name)
    if bundled is not None and repo_type == "model" and revision is None and not force_download:
        return _inside(bundled, subfolder)
    return _download(
        name,
        repo_type,
        subfolder,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )


def _inside(folder: Path, subfolder: str) -> Path:
    """A folder, or the one inside it that is asked for."""
    if not subfolder:
        return folder
    inner = inner_path(folder, subfolder)
    if not inner.is_dir():
        raise CheckpointNotFoundError(f"There is no folder {subfolder!r:.200} in {folder}.")
    return inner


def _is_surely_a_path(repo_id_or_path: str | os.PathLike) -> bool:
    """Whether no repo id is written like this, so that the Hub need not be asked."""
    name = os.fspath(repo_id_or_path)
    return (
        not isinstance(repo_id_or_path, str) or name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1
    )


def check_repo_id(name: str) -> None:
    """Refuse what cannot be a repo id.

    Raises:
        CheckpointNotFoundError: it is not of the form "owner/name".
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{name!r:.200} is neither a folder on this machine nor a repo id. An id is 'owner/name' of letters, "
            "digits, '-', '_' and '.', such as 'cmr/dscmr-emoji'."
        ) from None


def _download(
    repo_id: str,
    repo_type: RepoType,
    subfolder: str,
    *,
    revision: str | None,
    cache_dir: str | os.PathLike | None,
    **options: Any,
) -> Path:
    kind = REPO_KINDS[repo_type]
    try:
        folder = Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                revision=revision,
                cache_dir=None if cache_dir is None else os.fspath(cache_dir),
                allow_patterns=[f"{subfolder}/{each}" if subfolder else each for each in kind.patterns],
                ignore_patterns=list(SCRATCH_PATTERNS),
                **options,
            )
        )
    except (HTTPError, OSError, ValueError) as error:
        lookup = Lookup(repo_id, repo_type, revision, cache_dir, _not_local(repo_id, repo_type))
        # The chain of errors under this one says nothing that the message does not.
        raise lookup_error(lookup, root_cause(error)) from None
    folder = _inside(folder, subfolder)
    if not (folder / kind.landmark).is_file():
        raise CheckpointError(
            f"The Hub's {repo_id!r} is no cmr_hub {kind.noun}: it has no {kind.landmark}. "
            f"Only {', '.join(kind.patterns)} files are read, never pickles."
        )
    return folder


def _not_local(repo_id: str, repo_type: RepoType) -> str:
    """One sentence on why no folder of this machine serves."""
    bundled = bundled_checkpoints()
    if repo_type != "model":
        return f"There is no folder {repo_id!r}."
    if repo_id in bundled:
        return f"{repo_id!r} is bundled, but a given revision or a forced download has to come from the Hub."
    if not repo_id.startswith(NAMESPACE):
        near = near_names(repo_id, list(bundled))
        return f"There is no folder {repo_id!r} (looked in {Path.cwd()}).{near}"
    return str(UnknownNameError("bundled checkpoint", repo_id, bundled))


def bundled_checkpoint(repo_id: str) -> Path | None:
    """The folder of a bundled checkpoint; None where none of this id is bundled."""
    folder = bundled_folder() / repo_id.removeprefix(NAMESPACE)
    return folder if repo_id.startswith(NAMESPACE) and (folder / "config.json").is_file() else None


def bundled_checkpoints(pattern: str = "*") -> dict[str, Path]:
    """Repo id -> folder of the bundled checkpoints, sorted.

    The pattern is that of [`~cmr_hub.hub.list_checkpoints`].
    """
    folders = sorted(path.parent for path in bundled_folder().glob("*/config.json"))
    return {
        NAMESPACE + folder.name: folder
        for folder in folders
        if fnmatchcase(folder.name, pattern) or fnmatchcase(NAMESPACE + folder.name, pattern)
    }
