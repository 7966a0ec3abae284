"""Permalinks: what is on screen as the query string of the page's address, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from cmr_hub.data.columns import Modality

from .examples import FIRST_HITS, MAX_HITS
from .queries import Asked, Query

# What a link can ask; its parameter for the modality of an item is called "side", as in links of earlier versions.
KINDS: tuple[Literal["text", "item"], ...] = ("text", "item")
MODALITIES: tuple[Modality, ...] = ("image", "text")


@dataclass(frozen=True)
class Destination:
    """Where a link leads. None stands for what the page opens on by itself.

    Attributes:
        gallery, method: names in the catalogue; not checked yet.
        asked: the question.
        view: name of the view.
    """

    gallery: str | None = None
    method: str | None = None
    asked: Asked | None = None
    view: str | None = None


def link_to(gallery: str, method: str, asked: Asked) -> str:
    """The query string that leads to an answer.

    Where a gallery opens on the answer, or the query is an uploaded image that nobody else has, it leads only to the
    gallery.

    Example:
    ```python
    >>> from cmr_hub.space.services.links import link_to
    >>> from cmr_hub.space.services.queries import Asked, Query
    >>> link_to("emoji", "dscmr", Asked(Query("text", "a cat"), "image", 12))
    '?gallery=emoji&model=dscmr&text=a+cat&target=image&k=12'
    ```
    """
    query = asked.query
    parts: dict[str, object] = {"gallery": gallery, "model": method}
    if query.kind != "image" and not asked.is_opening:
        parts |= {query.kind: query.value, "side": query.modality, "target": asked.target, "k": asked.k}
        parts |= {"label": asked.label, "focus": None if asked.focus is None else f"{asked.focus:g}"}
        parts |= {"without": query.without or None, "hide": "chance" if asked.min_score == "auto" else None}
    return "?" + urlencode({name: value for name, value in parts.items() if value is not None})


def read_link(parameters: Mapping[str, str]) -> Destination:
    """Where the query string of the page's address leads. What is no part of a link, or malformed, is passed over."""
    kind = next((kind for kind in KINDS if parameters.get(kind)), None)
    asked = None
    if kind is not None:
        query = Query(kind, parameters[kind], _modality(parameters.get("side")) if kind == "item" else None)
        query = query.together(without=parameters.get("without", ""))
        k = parameters.get("k", "")
        asked = Asked(
            query,
            _modality(parameters.get("target")) or query.default_target,
            min(max(int(k), 1), MAX_HITS) if k.isascii() and k.isdigit() and len(k) < 5 else FIRST_HITS,
            parameters.get("label") or None,
            _focus(parameters.get("focus", "")),
            "auto" if parameters.get("hide") == "chance" else None,
        )
    return Destination(parameters.get("gallery"), parameters.get("model"), asked, parameters.get("view"))


def _focus(number: str) -> float | None:
    """A focus from 0 to 1; None for anything else."""
    is_number = number.isascii() and len(number) < 20 and number.replace(".", "", 1).isdigit()
    return float(number) if is_number and float(number) <= 1 else None


def _modality(name: str | None) -> Modality | None:
    return next((modality for modality in MODALITIES if modality == name), None)
