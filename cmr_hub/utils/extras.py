"""Optional libraries: import one, or name the extra that installs it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from cmr_hub.errors import MissingExtraError


def require(package: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional library.

    Args:
        package: name of the module, as `import` takes it.
        extra: the extra of `cmr-hub` that installs it.
        purpose: what needs it, as the subject of a sentence ("A sweep").

    Returns:
        The imported module.

    Raises:
        MissingExtraError: it is not installed, or its import fails.

    Example:
    ```python
    >>> from cmr_hub.utils.extras import require
    >>> require("json", "sweep", "A sweep").dumps([1])
    '[1]'
    ```
    """
    try:
        return import_module(package)
    except ImportError as error:
        # Otherwise the library is there, but something that it imports is not, or it does not fit the machine.
        is_absent = isinstance(error, ModuleNotFoundError) and f"{package}.".startswith(f"{error.name or package}.")
        raise MissingExtraError(package, extra, purpose, reason="" if is_absent else str(error)) from error
