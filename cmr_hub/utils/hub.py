"""Find the folder of a checkpoint or gallery: on this machine, bundled with cmr_hub, in the cache or on the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, UnknownNameError

from .files import SCRATCH_PATTERNS
from .hub_errors import lookup_error, root_cause

NAMESPACE = "cmr/"
RepoType = Literal["model", "dataset"]


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
    check_repo_id(name)

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


def _download(repo_id: str, repo_type: RepoType, *, revision: str | None, **options: Any) -> Path:
    kind = REPO_KINDS[repo_type]
    try:
        folder = Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                revision=revision,
                allow_patterns=list(kind.patterns),
                ignore_patterns=list(SCRATCH_PATTERNS),
                **options,
            )
        )
    except (HTTPError, OSError, ValueError) as error:
        # The chain of errors under this one says nothing that the message does not.
        raise lookup_error(repo_id, repo_type, revision, root_cause(error), _not_local(repo_id, repo_type)) from None
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
    return str(UnknownNameError("bundled checkpoint", repo_id, bundled))


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
