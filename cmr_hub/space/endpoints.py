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
        """
        return _records(catalogue, Query("text", text), gallery, model, target, k, label, focus)

    def search_image(
        image: dict | None,
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "text",
        k: int = 10,
        label: str = "",
        focus: float | None = None,
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
        """
        if image is None:
            raise InputError("There is no image. Send one.")
        return _records(catalogue, Query("image", image["path"]), gallery, model, target, k, label, focus)

    def search_item(
        item: str,
        gallery: str = "",
        model: str = "",
        target: Literal["image", "text"] = "image",
        source: Literal["", "image", "text"] = "",
        k: int = 10,
        label: str = "",
        focus: float | None = None,
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
        """
        return _records(catalogue, Query("item", item, source or None), gallery, model, target, k, label, focus)

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

    for endpoint in (galleries, search_text, search_item):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=RUNS_AT_ONCE)
    name, model, target, label = (gr.Textbox(value, visible=False) for value in ("", "", "text", ""))
    k, focus = gr.Number(10, precision=0, visible=False), gr.Number(visible=False)
    upload = gr.Image(type="filepath", visible=False, format="png")
    records, item = gr.JSON(visible=False), gr.Textbox(visible=False)
    _expose(search_image, [upload, name, model, target, k, label, focus], records)
    _expose(image, [item, name], gr.Image(format="png", visible=False))
    _expose(picture, [item, name], gr.Image(format="png", visible=False), api_visibility="undocumented")


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
) -> list[HitRecord]:
    asked = Asked(query, target or query.default_target, k, label or None, focus)
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
