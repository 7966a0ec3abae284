"""Where embedded items are searched. One module per index.

`@register_index` makes a class known by name: in this folder, in an installed package that has an entry point in the
group `cmr_hub.indexes`, or in your own script.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cmr_hub.errors import CheckpointError, CMRError, InputError
from cmr_hub.utils.lazy_imports import lazy_attributes
from cmr_hub.utils.registry import DEFAULT_ORDER, Registry

if TYPE_CHECKING:
    from .base import Filter, Index
    from .choice import Choice, choose_index

    IndexClass = TypeVar("IndexClass", bound=Index)
else:
    # Whoever only asks for names need not wait for numpy and torch.
    __getattr__ = lazy_attributes(
        __name__,
        dict.fromkeys(("Among", "Filter", "Index"), f"{__name__}.base")
        | dict.fromkeys(("Choice", "choose_index"), f"{__name__}.choice"),
    )

INDEXES: Registry[type[Index]] = Registry(
    "index",
    decorator="register_index",
    package="cmr_hub.indexes",
    group="cmr_hub.indexes",
    base="cmr_hub.indexes.base:Index",
)


def register_index(name: str, *, display_order: int = DEFAULT_ORDER) -> Callable[[type[IndexClass]], type[IndexClass]]:
    """Register a class of indexes, which gets the name as its `name`.

    Args:
        name: what galleries and commands call it.
        display_order: indexes are listed by it, then by name.

    Raises:
        InputError: the name is no text without white space.
        DuplicateNameError: another class has the name.

    Example:
    ```python
    @register_index("toy")
    class ToyIndex(Index):
        def search(self, queries, k, filter=None): ...
    ```
    """
    add = INDEXES.register(name, display_order=display_order)

    def register(cls: type[IndexClass]) -> type[IndexClass]:
        add(cls)
        cls.name = name
        return cls

    return register


def load_index(
    folder: str | os.PathLike, index_options: Mapping[str, Any] | None = None, *, verify: bool = True
) -> Index:
    """An index from the folder that [`Index.save`] wrote, built again from its data.

    Args:
        folder: of the index.
        index_options: options of the caller; see [`Index.options_to_open`]. An index on a server needs its address.
        verify: compare the files with their digests in `checksums.json`.

    Raises:
        CheckpointError: options that the index does not take, or files that are missing or corrupt.
        InputError: the index is on a server that the caller has not named.
        UnknownNameError: it is of a kind that this version does not know.

    Example:
    ```python
    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> INDEXES["exact"](np.eye(3, dtype=np.float32)).save(folder)
    >>> len(load_index(folder))
    3
    ```
    """
    from cmr_hub.utils.checkpoint_files import check_folder, read_json
    from cmr_hub.utils.checksums import checked

    from .base import CONFIG_NAME

    path = Path(folder) / CONFIG_NAME
    with checked(folder, verify):
        check_folder(Path(folder))
        config = read_json(path)
        name, saved = config.get("index"), config.get("options")
        if not isinstance(name, str) or not isinstance(saved, dict):
            raise CheckpointError(f"{path} must name an 'index' and its 'options'. Build the index anew.")
        index_class = INDEXES[name]
        options = index_class.options_to_open(saved, index_options)
        try:
            return index_class.from_saved(folder, options)
        except InputError as error:
            raise CheckpointError(f"The index in {folder} cannot be built: {error}") from error
        except CMRError:
            raise
        except Exception as error:  # of whatever an option of another type breaks
            raise CheckpointError(f"The index in {folder} cannot be built with {saved!r:.300}: {error!r}.") from error


__all__ = ["INDEXES", "Choice", "Filter", "Index", "choose_index", "load_index", "register_index"]
