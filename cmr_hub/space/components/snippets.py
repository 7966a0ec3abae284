"""What is on screen as code: to be run on any machine, against this server, or by an agent's client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cmr_hub.retrieval.gallery import Gallery

from ..services.catalogue import Entry
from ..services.examples import most_hits
from ..services.queries import Asked

WIDTH = 88  # characters of a line that needs no scrolling beside the page's margins
PHOTO = "photo.jpg"  # nobody else has the image that was uploaded
SHOW_HITS = 'for hit in hits:\n    print(f"{hit.score:.3f}", hit.id, *hit.texts[:1])'
SHOW_RECORDS = 'for hit in hits:\n    print(f"{hit[\'score\']:.3f}", hit["id"], *hit["texts"][:1])'


def python_lines(entry: Entry, method: str, gallery: Gallery, asked: Asked) -> str:
    """The question asked in Python, of the same items by the same checkpoint.

    Args:
        entry: the data set that is searched.
        method: by which model.
        gallery: the same data set, open.
        asked: the question.

    Returns:
        A program without a line break at its end. Of an uploaded image it names a file in its place.

    Example:
    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> from cmr_hub.space.services.queries import Asked, Query
    >>> catalogue = Catalogue()
    >>> asked = Asked(Query("text", "a smiling cat"), "image", 3)
    >>> lines = python_lines(catalogue["emoji"], "dscmr", catalogue.open("emoji", "dscmr"), asked).splitlines()
    >>> lines[-3]
    'hits = gallery.search(text="a smiling cat", target="image", k=3)'
    ```
    """
    asks = {kind: _quoted(terms) for kind, terms in _terms(asked).items()}
    search = _call("hits = gallery.search", {**asks, **_rest(asked, gallery)})
    return "\n".join([*_opening(entry, method), search, SHOW_HITS])


def client_lines(address: str, name: str, method: str, asked: Asked, gallery: Gallery) -> str:
    """The question asked over the API of this server, by `gradio_client`.

    Args:
        address: of the page.
        name: of the gallery, as the API calls it.
        method: of the model, as the API calls it.
        asked: the question.
        gallery: the gallery, open.

    Returns:
        As [`python_lines`].
    """
    query = asked.query
    imports = "Client, handle_file" if query.kind == "image" else "Client"
    if query.more:
        asks, endpoint = _combined(asked), "/search_combined"
    else:
        asks, endpoint = {query.kind: _quoted(query.value)}, f"/search_{query.kind}"
    if query.kind == "image":
        asks["image"] = f"handle_file({_quoted(PHOTO)})"
    where = {"gallery": _quoted(name), "model": _quoted(method)}
    rest = {**_rest(asked, gallery), "api_name": _quoted(endpoint)}
    search = _call("hits = client.predict", {**asks, **where, **rest})
    return f"from gradio_client import {imports}\n\nclient = Client({_quoted(address)})\n{search}\n{SHOW_RECORDS}"


def mcp_settings(address: str) -> str:
    """What a client of the Model Context Protocol is told of this server, as JSON.

    Example:
    ```python
    >>> print(mcp_settings("http://127.0.0.1:7860/"))
    {
      "mcpServers": {
        "cmr_hub": {
          "url": "http://127.0.0.1:7860/gradio_api/mcp/"
        }
      }
    }
    ```
    """
    return json.dumps({"mcpServers": {"cmr_hub": {"url": f"{address}gradio_api/mcp/"}}}, indent=2)


def _opening(entry: Entry, method: str) -> list[str]:
    """Lines that give the gallery on any machine: as it was prepared, downloaded, or from its checkpoint and data."""
    name, source = entry.info.name, entry.sources[method]
    if entry.is_own:
        return [
            "import cmr_hub",
            "",
            '# The folder that "Your gallery" gives to download, unpacked.',
            'gallery = cmr_hub.Gallery.from_pretrained("my-gallery")',
        ]
    if source.folder is not None:
        folder = f"prepared_folder({_quoted(name)}, {_quoted(source.method)})"
        return [
            "import cmr_hub",
            f"from cmr_hub.retrieval.prepared import prepared_folder  # filled by `cmr prepare {name}`",
            "",
            f'gallery = cmr_hub.Gallery.from_pretrained({folder} / "gallery")',
        ]
    return [
        "import cmr_hub",
        "from cmr_hub.data import load_dataset",
        "from datasets import concatenate_datasets",
        "",
        f"retriever = cmr_hub.from_pretrained({_quoted(source.checkpoint)})",
        f"items = concatenate_datasets([*load_dataset({_quoted(name)}).values()])",
        "gallery = cmr_hub.Gallery.from_dataset(items, retriever)",
    ]


def _terms(asked: Asked) -> dict[str, Any]:
    """What is asked, as arguments of `Gallery.search`."""
    terms = asked.query.terms()
    if asked.query.kind == "image":
        terms["image"] = PHOTO if asked.query.weight == 1 else {PHOTO: asked.query.weight}
    return terms


def _combined(asked: Asked) -> dict[str, str]:
    """What is asked, as arguments of the endpoint for several terms, as code."""
    terms = _terms(asked)
    asks: dict[str, str] = {}
    for kind, argument in (("text", "texts"), ("item", "items")):
        if kind in terms:
            asks[argument] = _quoted(terms[kind] if isinstance(terms[kind], dict) else {terms[kind]: 1})
    if asked.query.kind == "image" and asked.query.weight != 1:
        asks["image_weight"] = _quoted(asked.query.weight)
    return asks


def _rest(asked: Asked, gallery: Gallery) -> dict[str, str]:
    """Everything but what is asked, as code; fitted to a gallery that may have few items or one modality."""
    target = asked.target if asked.target in gallery.embeds else next(iter(gallery.embeds))
    rest = {
        "target": target,
        "source": asked.query.modality,
        "k": min(asked.k, most_hits(gallery)),
        "label": asked.label,
        "focus": asked.of(gallery).focus,
        "min_score": asked.min_score,
    }
    return {name: _quoted(value) for name, value in rest.items() if value is not None}


def _call(function: str, arguments: Mapping[str, str]) -> str:
    """A call with named arguments that are code, in one line where they fit."""
    parts = [f"{name}={code}" for name, code in arguments.items()]
    line = f"{function}({', '.join(parts)})"
    return line if len(line) <= WIDTH else "\n".join([f"{function}(", *(f"    {part}," for part in parts), ")"])


def _quoted(value: str | float | dict[str, float]) -> str:
    """A value as Python has it, text between double quotes: JSON's escapes are Python's, too."""
    return json.dumps(value, ensure_ascii=False)
