"""The errors that users see. Each message says what was wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


def near_names(name: str, known: Sequence[str]) -> str:
    """A sentence that suggests the known names most like this one, with a space before it; "" where none is like it.

    Example:
    ```python
    >>> near_names("dscrm", ["cca", "dscmr"])
    " Did you mean 'dscmr'?"
    ```
    """
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


class CMRError(Exception):
    """Base of every error that a user of cmr_hub can mend."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default pickle calls the class with the message alone, whatever arguments it takes.
        return _restore, (type(self), self.args, vars(self))


def _restore(kind: type[CMRError], args: tuple[Any, ...], attributes: dict[str, Any]) -> CMRError:
    """The error that another process raised."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


class UnknownNameError(CMRError, ValueError):
    """A method, data set, encoder, index, protocol or checkpoint that does not exist; near names are suggested.

    Example:
    ```python
    >>> from cmr_hub.errors import UnknownNameError
    >>> print(UnknownNameError("method", "dscrm", ["cca", "dscmr"]))
    There is no method named 'dscrm'. Did you mean 'dscmr'? Known: cca, dscmr.
    ```
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        self.kind, self.name, self.known = kind, name, sorted(known)
        hint = near_names(str(name).lower(), self.known)
        super().__init__(f"There is no {kind} named {name!r}.{hint} Known: {', '.join(self.known) or 'none'}.")


class DuplicateNameError(CMRError, ValueError):
    """A name that two classes claim; names the origins of both."""

    def __init__(self, kind: str, name: str, origins: Iterable[str]):
        self.kind, self.name, self.origins = kind, name, list(origins)
        super().__init__(
            f"The {kind} {name!r} is registered more than once: by {' and by '.join(self.origins)}. "
            "Give one of them another name, or uninstall its package."
        )


class PluginError(CMRError, ImportError):
    """An installed package offers a method, data set, encoder or index that cannot be imported."""


class UnknownArgumentError(CMRError, TypeError):
    """An argument that a model does not take; near names are suggested.

    Example:
    ```python
    >>> from cmr_hub.errors import UnknownArgumentError
    >>> print(UnknownArgumentError("DSCMRModel", "labls", ["image_features", "text_features", "labels"]))
    DSCMRModel takes no argument 'labls'. Did you mean 'labels'? It takes: image_features, text_features, labels.
    ```
    """

    def __init__(self, model: str, name: str, known: Iterable[str]):
        self.model, self.name, self.known = model, name, list(known)
        hint = near_names(name, self.known)
        super().__init__(f"{model} takes no argument {name!r}.{hint} It takes: {', '.join(self.known)}.")


class UnsupportedError(CMRError):
    """A class or pipeline of transformers that does not work with checkpoints of cmr_hub; names what does instead."""


class InputError(CMRError, ValueError):
    """An image, text, feature array, label or argument that cannot be used; names its position and the reason."""


class ImageRootError(InputError):
    """Files that a data set from elsewhere names, and whose folder the caller has not named."""


class CheckpointError(CMRError, OSError):
    """A checkpoint that is missing, corrupt, incomplete, of another method or of other shapes."""


class CheckpointNotFoundError(CheckpointError):
    """No checkpoint of this id is bundled, cached or on the Hub."""


class DiskFullError(CMRError, OSError):
    """A disk without space for what is to be written; names the folder."""


class UnwritableError(CMRError, OSError):
    """A folder that cannot be made or written to: a file is in its place, or this user may not; says which."""


class DatasetError(CMRError, ValueError):
    """Data in a layout that its loader does not know, with missing files, or with unusable rows."""


class DownloadError(CMRError, OSError):
    """An official source that cannot be reached or that sent something else than expected."""


class ConflictError(CMRError, OSError):
    """A gallery that another process is changing, or has changed since it was opened; nothing was written."""


class ServerError(CMRError, ConnectionError):
    """A server that is down, too slow, or refuses what it is asked."""


class BusyError(CMRError):
    """This process has too much to do at once; the same request succeeds later."""


class NotFittedError(CMRError, RuntimeError):
    """A closed-form model or an encoder that is used before it was fitted."""


class OtherProcessError(CMRError, RuntimeError):
    """What another of several processes failed at, so that this one cannot go on."""


class TrainingError(CMRError):
    """Trainings failed, or came to other figures than those that they were held against."""


class MissingExtraError(CMRError, ImportError):
    """An optional library that is not installed; names the extra that installs it.

    Example:
    ```python
    >>> from cmr_hub.errors import MissingExtraError
    >>> print(MissingExtraError("optuna", "sweep", "A sweep"))
    A sweep needs optuna, which is not installed: pip install "cmr-hub[sweep]".
    ```
    """

    def __init__(self, package: str, extra: str, purpose: str, *, reason: str = ""):
        self.package, self.extra = package, extra
        problem = f"which cannot be imported ({reason})" if reason else "which is not installed"
        super().__init__(f'{purpose} needs {package}, {problem}: pip install "cmr-hub[{extra}]".')
