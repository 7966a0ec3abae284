"""The API: the searches of the page as named endpoints for `gradio_client`, with records in the place of HTML.

Annotations are no strings in this module: Gradio reads an endpoint's return type as it stands.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import gradio as gr
from PIL.Image import Image

from cmr_hub.data.columns import Modality
from cmr_hub.errors import InputError
from cmr_hub.retrieval.gallery import Hit
from cmr_hub.retrieval.queries import Term

from .components.session_state import RUNS_AT_ONCE
from .services.catalogue import Catalogue
from .services.queries import MIN_SIDE, Asked, Query, ask


class HitRecord(TypedDict):
    """One hit, best first in its list; notes say what speaks against all of them, such as unknown words."""

    id: str
    score: float
    texts: list[str]
    labels: list[str]
    same_class: bool | None
    notes: list[str]


class GalleryRecord(TypedDict):
    """One gallery; without models it has to be prepared first."""

    name: str
    title: str
    license: str
    homepage: str
    models: list[str]
    how_to_get: str


def add_endpoints(catalogue: Catalogue) -> None:
    """Give the API to the `gr.Blocks` that is being built."""

    def galleries() -> list[GalleryRecord]:
        """List the galleries and the models that search them; the first one with models is the default."""
        return [
            {
                "name": name,
                "title": (info := catalogue[name].info).title,
                "license": info.license,
                "homepage": info.homepage,
                "models": list(catalogue[name].sources),
                "how_to_get": info.how_to_get,
            }
            for name in catalogue.names
        ]

    def search_text(
        text: str,
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "image",
        k: int = 10,
        label: str = "",
        focus: float | None = None,
        min_score: float | None = None,
    ) -> list[HitRecord]:
        """Find the items of a gallery whose image (or text) means the same as a text.

        Args:
            text: what to look for, in up to 2,000 characters.
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
            model: the model that searches, as `galleries` lists it; empty for the gallery's first.
            target: whether the items' images ("image") or their texts ("text") are compared.
            k: how many hits.
            label: a class that hits must have; empty for any.
            focus: from 0 (the same kind of thing) to 1 (this very thing), by models whose embeddings have a class part
                and an item part; empty for the model's own.
            min_score: leave out hits with a lower score, from -1 to 1, as `min_score` suggests one; empty for any.
        """
        return _records(catalogue, Query("text", text), gallery, model, target, k, label, focus, min_score)

    def search_image(
        image: dict | None,
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "text",
        k: int = 10,
        label: str = "",
        focus: float | None = None,
        min_score: float | None = None,
    ) -> list[HitRecord]:
        """Find the items of a gallery whose text (or image) means the same as an image.

        Args:
            image: the image; a file by `gradio_client.handle_file`, a data: URI or a public address by MCP.
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
            model: the model that searches, as `galleries` lists it; empty for the gallery's first.
            target: whether the items' texts ("text") or their images ("image") are compared.
            k: how many hits.
            label: a class that hits must have; empty for any.
            focus: from 0 (the same kind of thing) to 1 (this very thing), by models whose embeddings have a class part
                and an item part; empty for the model's own.
            min_score: leave out hits with a lower score, from -1 to 1, as `min_score` suggests one; empty for any.
        """
        if image is None:
            raise InputError("There is no image. Send one.")
        return _records(catalogue, Query("image", image["path"]), gallery, model, target, k, label, focus, min_score)

    def search_item(
        item: str,
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "image",
        source: Literal["", "image", "text"] = "",
        k: int = 10,
        label: str = "",
        focus: float | None = None,
        min_score: float | None = None,
    ) -> list[HitRecord]:
        """Find the items of a gallery that are nearest to one of its items; `same_class` tells which share its class.

        Args:
            item: the item's id, as hits give it.
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
            model: the model that searches, as `galleries` lists it; empty for the gallery's first.
            target: whether the items' images ("image") or their texts ("text") are compared.
            source: the modality of the item that asks; empty for the one that `target` is not.
            k: how many hits.
            label: a class that hits must have; empty for any.
            focus: from 0 (the same kind of thing) to 1 (this very thing), by models whose embeddings have a class part
                and an item part; empty for the model's own.
            min_score: leave out hits with a lower score, from -1 to 1, as `min_score` suggests one; empty for any.
        """
        return _records(
            catalogue, Query("item", item, source or None), gallery, model, target, k, label, focus, min_score
        )

    def search_combined(
        image: dict | None,
        texts: dict | None = None,
        items: dict | None = None,
        image_weight: float = 1.0,
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "image",
        k: int = 10,
        label: str = "",
        focus: float | None = None,
        min_score: float | None = None,
    ) -> list[HitRecord]:
        """Find the items of a gallery that are like several things together, and unlike others.

        Args:
            image: an image that hits are like, as for `search_image`; empty for none.
            texts: an object of texts and their weights, such as {"horse": 1, "stripes": 1, "snow": -0.5}; below 0 hits
                are unlike the text.
            items: an object of ids of items of the gallery, as hits give them, and their weights.
            image_weight: weight of the image.
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
            model: the model that searches, as `galleries` lists it; empty for the gallery's first.
            target: whether the items' images ("image") or their texts ("text") are compared.
            k: how many hits.
            label: a class that hits must have; empty for any.
            focus: from 0 (the same kind of thing) to 1 (this very thing), by models whose embeddings have a class part
                and an item part; empty for the model's own.
            min_score: leave out hits with a lower score, from -1 to 1, as `min_score` suggests one; empty for any.
        """
        terms = [Term(text=text, weight=weight) for text, weight in (texts or {}).items()]
        terms += [Term(item=item, weight=weight) for item, weight in (items or {}).items()]
        if image is not None:
            query = Query("image", image["path"], more=tuple(terms), weight=image_weight)
        elif terms:
            query = Query(terms[0].kind, terms[0].value, more=tuple(terms[1:]), weight=terms[0].weight)
        else:
            raise InputError("There is nothing to search by. Send an image, texts or items.")
        return _records(catalogue, query, gallery, model, target, k, label, focus, min_score)

    def min_score(
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "image",
        source: Literal["", "image", "text"] = "",
        focus: float | None = None,
    ) -> float:
        """Suggest a least score for hits: what 99 % of the pairs of a gallery that do not belong together stay below.

        Args:
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
            model: the model that searches, as `galleries` lists it; empty for the gallery's first.
            target: whether the items' images ("image") or their texts ("text") are compared.
            source: whether images or texts ask; empty for the one that `target` is not.
            focus: as for the searches.
        """
        opened = catalogue.open(gallery, model)
        return round(opened.suggest_min_score(target, source=source or None, focus=focus), 4)

    def image(item: str, gallery: str = "") -> Image | None:
        """Give the image of an item of a gallery; one of more than 2,047 pixels on both sides is scaled down.

        Args:
            item: the item's id, as hits give it.
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
        """
        opened = catalogue.open(gallery)
        return opened.image(opened.position(item), min_side=MIN_SIDE)

    def picture(item: str, gallery: str = "") -> Image | None:
        """Give the image of an item; the name that `image` had in earlier versions.

        Args:
            item: the item's id, as hits give it.
            gallery: name of the gallery as `galleries` lists it; empty for the default one.
        """
        return image(item, gallery)

    for endpoint in (galleries, search_text, search_item, min_score):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=RUNS_AT_ONCE)
    name, model, target, label = (gr.Textbox(value, visible=False) for value in ("", "", "text", ""))
    k, focus = gr.Number(10, precision=0, visible=False), gr.Number(visible=False)
    upload = gr.Image(type="filepath", visible=False, format="png")
    records, item = gr.JSON(visible=False), gr.Textbox(visible=False)
    least, weight = gr.Number(visible=False), gr.Number(1.0, visible=False)
    texts, items = _weights(), _weights()
    shown = gr.Textbox("image", visible=False)
    _expose(search_image, [upload, name, model, target, k, label, focus, least], records)
    _expose(search_combined, [upload, texts, items, weight, name, model, shown, k, label, focus, least], records)
    _expose(image, [item, name], gr.Image(format="png", visible=False))
    _expose(picture, [item, name], gr.Image(format="png", visible=False), api_visibility="undocumented")


def _weights() -> gr.JSON:
    """An input of texts or ids and their weights."""
    weights = gr.JSON(visible=False)
    # Of its own it has a type that is no JSON schema, and that clients of MCP refuse.
    schema = {"type": "object", "additionalProperties": {"type": "number"}}
    weights.api_info = lambda: schema  # type: ignore[method-assign]
    return weights


def _expose(
    endpoint: Callable, inputs: list[Any], output: Any, api_visibility: Literal["public", "undocumented"] = "public"
) -> None:
    """As `gr.api`, for endpoints that take or give a file, which Gradio checks and stores only for components."""
    # Preprocessing would open a file before `cmr_hub.utils.images` has looked at it.
    gr.Button(visible=False).click(
        endpoint,
        inputs,
        output,
        api_name=endpoint.__name__,
        api_visibility=api_visibility,
        preprocess=False,
        concurrency_limit=RUNS_AT_ONCE,
    )


def _records(
    catalogue: Catalogue,
    query: Query,
    gallery: str,
    model: str,
    target: Modality,
    k: int,
    label: str,
    focus: float | None,
    min_score: float | None,
) -> list[HitRecord]:
    asked = Asked(query, target or query.default_target, k, label or None, focus, min_score)
    answer = ask(catalogue, asked, gallery, model)
    return [_record(hit, answer.notes) for hit in answer.hits]


def _record(hit: Hit, notes: Sequence[str]) -> HitRecord:
    return {
        "id": hit.id,
        "score": round(hit.score, 4),
        "texts": list(hit.texts),
        "labels": list(hit.labels),
        "same_class": hit.same_class,
        "notes": list(notes),
    }
