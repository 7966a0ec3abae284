"""Which models of a gallery are worth comparing."""

from __future__ import annotations

from collections.abc import Mapping

from cmr_hub.methods import METHODS

from .catalogue import Source

FIRST_MODELS = 3


def of_different_kinds(sources: Mapping[str, Source], method: str) -> list[str]:
    """A model, and after it others of a gallery that differ from it and from one another in kind.

    A kind is what a method learns from, and whether it gives codes. Where there are too few kinds, the next models
    follow, whatever they are.

    Args:
        sources: the gallery's models, in order.
        method: the one to start with.

    Returns:
        At most `FIRST_MODELS` keys of `sources`.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> of_different_kinds(Catalogue()["emoji"].sources, "dscmr")
    ['dscmr', 'contrastive', 'dscmr_hash']
    ```
    """
    first_of: dict[tuple[str, str], str] = {}
    for key in (method, *sources):
        model = METHODS[sources[key].method]
        first_of.setdefault((model.supervision, model.representation), key)
    return list(dict.fromkeys([*first_of.values(), *sources]))[:FIRST_MODELS]
