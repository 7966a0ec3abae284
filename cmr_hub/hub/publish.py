"""Publish a folder on the Hub, after checking that it is fit for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from safetensors import SafetensorError, safe_open

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import check, folders_inside
from cmr_hub.utils.files import SCRATCH_PATTERNS, file_names, reading
from cmr_hub.utils.hub import REPO_KINDS, RepoType, check_repo_id
from cmr_hub.utils.hub_errors import HOW_TO_LOG_IN, root_cause, why_not_the_hub

from .checkpoints import read_card
from .weights import WEIGHTS_KEY, is_of_other_weights

logger = logging.getLogger(__name__)

# What trainers leave beside the weights: pickles, and the state of the optimiser in whatever format.
_NEVER_PUBLISHED = (
    *("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.npy", "*.npz"),
    *("optimizer*", "*/optimizer*", "checkpoint-*/*", "*/checkpoint-*/*"),
)


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
    required = REPO_KINDS[repo_type].required if required is None else tuple(required)
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
    for each in (folder, *folders_inside(folder)):
        try:
            check(each)
        except CheckpointError as error:
            yield str(error).removesuffix(".")
    if "README.md" in names:
        try:
            metadata = read_card(folder / "README.md").data
            if not metadata.get("license"):
                yield "README.md has no metadata block that names a license"
            if is_of_other_weights(metadata.get(WEIGHTS_KEY), folder):
                yield "README.md gives the figures of other weights: write it again with `cmr publish`"
        except CheckpointError as error:
            yield str(error)
    if repo_type == "model" and "config.json" in names:
        try:
            if "model_type" not in read_json(folder / "config.json"):
                yield "config.json names no model_type"
        except CheckpointError as error:
            yield str(error)


def _file_names(folder: Path) -> list[str]:
    return [name for name in file_names(folder) if not _matches(name, (".git/*", ".cache/*"))]


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
    check_repo_id(repo_id)
    folder = Path(folder).expanduser()
    with reading(folder) if folder.is_dir() else nullcontext():
        check_publishable(folder, repo_type=repo_type, required=required)
        url, commit = _upload(folder, repo_id, repo_type, private, HfApi(token=token), commit_message, revision)
    logger.info("Published %s as commit %s.", repo_id, commit.oid)
    return url


def _upload(
    folder: Path,
    repo_id: str,
    repo_type: RepoType,
    private: bool | None,
    api: HfApi,
    commit_message: str,
    revision: str | None,
) -> tuple[str, CommitInfo]:
    patterns = REPO_KINDS[repo_type].patterns
    if left_out := [name for name in _file_names(folder) if not _matches(name, patterns)]:
        logger.warning("Not published, because cmr_hub does not read such files: %s.", ", ".join(left_out))
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
            ignore_patterns=list(SCRATCH_PATTERNS),
        )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise _push_error(repo_id, root_cause(error)) from None
    return str(url), commit


def _push_error(repo_id: str, error: BaseException) -> CheckpointError:
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403, 404):
        reason = f"The Hub asks for an access token that may write there: {HOW_TO_LOG_IN}."
    elif isinstance(error, (HTTPError, OfflineModeIsEnabled)):
        reason = why_not_the_hub(error)
    else:
        reason = str(error)
    return CheckpointError(f"{repo_id!r} could not be published. {reason}")
