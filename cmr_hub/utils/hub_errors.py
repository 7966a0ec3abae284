"""Errors of the Hub as one message each: the reason, and what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cmr_hub.errors import CheckpointError, CheckpointNotFoundError

HOW_TO_LOG_IN = "pass token=… or run `hf auth login`"


def root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain; huggingface_hub wraps it in errors that only say that a file is missing."""
    while error.__cause__ is not None and not isinstance(error, HTTPError):
        error = error.__cause__
    return error


@dataclass(frozen=True)
class Lookup:
    """What was looked up, for the error where it is not found.

    Attributes:
        repo_id: "owner/name".
        repo_type: "model" or "dataset".
        revision: the revision that was asked for.
        cache_dir: the cache that was looked into; None for that of Hugging Face.
        not_local: a sentence that says why nothing on this machine serves.
    """

    repo_id: str
    repo_type: str
    revision: str | None
    cache_dir: str | os.PathLike | None
    not_local: str


def lookup_error(lookup: Lookup, error: BaseException) -> CheckpointError:
    """Return the error that a user sees where a repo could not be fetched.

    Args:
        lookup: what was asked for.
        error: its root cause.
    """
    repo_id, repo_type, revision = lookup.repo_id, lookup.repo_type, lookup.revision
    cache = lookup.cache_dir or constants.HF_HUB_CACHE
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{constants.REPO_TYPES_URL_PREFIXES.get(repo_type, '')}{repo_id}"
        return CheckpointNotFoundError(f"{repo_id!r} is gated: ask for access at {page}, then {HOW_TO_LOG_IN}.")
    if isinstance(error, RevisionNotFoundError):
        return CheckpointNotFoundError(f"The Hub's {repo_id!r} has no revision {revision!r} (branch, tag or commit).")
    if isinstance(error, OSError) and error.errno is not None:
        return CheckpointError(f"{repo_id!r} cannot be stored in {cache}: {error.strerror}.")
    return CheckpointNotFoundError(
        f"{lookup.not_local} It is not in the local cache, {cache}. {why_not_the_hub(error)}"
    )


def why_not_the_hub(error: BaseException) -> str:
    """One sentence on why the Hub did not serve a request, with what to do."""
    if isinstance(error, RepositoryNotFoundError):
        return f"The Hub has none of this name, or it is private: then {HOW_TO_LOG_IN}."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"The Hub refused the access token (status {status}): {HOW_TO_LOG_IN}."
        return f"The Hub answered with status {status}: {error.server_message or 'try again later'}."
    if isinstance(error, LocalEntryNotFoundError):
        return "The Hub was not asked: leave out local_files_only=True to fetch it."
    if isinstance(error, OfflineModeIsEnabled):
        return "Offline mode is on: unset HF_HUB_OFFLINE to ask the Hub."
    return f"The Hub ({constants.ENDPOINT}) cannot be reached ({error}): check the connection."
