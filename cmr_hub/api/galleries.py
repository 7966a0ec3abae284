"""The galleries that are served, and how batches of requests are answered with them."""

from __future__ import annotations

import base64
import binascii
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cmr_hub.errors import CMRError, InputError, UnknownNameError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.queries import Query, Term
from cmr_hub.retrieval.search import Hit as FoundItem
from cmr_hub.utils.images import load_image

from .schemas import EncodeAnswer, EncodeRequest, GalleryInfo, Hit, QueryTerm, SearchAnswer, SearchRequest

Request = SearchRequest | EncodeRequest
Answer = SearchAnswer | EncodeAnswer


def open_galleries(folders: Iterable[Path], photos: Mapping[Path, Path] | None = None) -> dict[str, Gallery]:
    """Galleries by the names of their folders.

    Args:
        folders: of saved galleries.
        photos: saved galleries whose images are files of a folder -> that folder, which names them; they come first.

    Raises:
        CheckpointError: there is no gallery in a folder, or it is damaged.
        InputError: there is no folder, or two have one name.
    """
    galleries: dict[str, Gallery] = {}
    for folder, image_root in [*(photos or {}).items(), *((folder, None) for folder in folders)]:
        name = (image_root or folder).resolve().name
        if name in galleries:
            raise InputError(f"Two galleries are named {name!r}: rename one of the folders.")
        galleries[name] = Gallery.from_pretrained(str(folder), image_root=image_root)
    if not galleries:
        raise InputError("There is no gallery to serve: add --gallery DIR, or a folder of photos.")
    return galleries


class GalleryService:
    """Answers requests to galleries.

    Args:
        galleries: by name; the first is the default.

    Raises:
        InputError: there are none.
    """

    def __init__(self, galleries: Mapping[str, Gallery]):
        if not galleries:
            raise InputError("There is no gallery to serve.")
        self.galleries = dict(galleries)

    def gallery(self, name: str | None) -> tuple[str, Gallery]:
        """A gallery by name, or the first.

        Raises:
            UnknownNameError: there is none of this name.
        """
        name = next(iter(self.galleries)) if name is None else name
        if name not in self.galleries:
            raise UnknownNameError("gallery", name, list(self.galleries))
        return name, self.galleries[name]

    def infos(self) -> list[GalleryInfo]:
        """What is served."""
        return [
            GalleryInfo(
                name=name,
                items=len(gallery),
                checkpoint=gallery.retriever.name or "",
                method=gallery.retriever.model.config.model_type,
                targets=list(gallery.indexes),
                labels=list(gallery.class_names),
            )
            for name, gallery in self.galleries.items()
        ]

    def image(self, gallery: str, item: str) -> bytes:
        """The image of an item as a PNG file.

        Raises:
            UnknownNameError: there is no such gallery.
            InputError: there is no such item, or it has no image.
        """
        _, found = self.gallery(gallery)
        image = found.image(found.position(item))
        if image is None:
            raise InputError(f"The item {item!r} has no image.")
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    def answer(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Answer requests; searches with the same options are embedded together."""
        answers: dict[int, Answer | Exception] = {}
        alike: defaultdict[str, list[tuple[int, Query]]] = defaultdict(list)
        for number, request in enumerate(requests):
            try:
                if isinstance(request, EncodeRequest):
                    answers[number] = self._encoded(request)
                    continue
                self.gallery(request.gallery)
                query = Query([_term(term) for term in request.all_terms()])
                alike[_options_key(request)].append((number, query))
            except CMRError as error:
                answers[number] = error
        for group in alike.values():
            first = requests[group[0][0]]
            assert isinstance(first, SearchRequest)
            found = self._answers(first, [query for _, query in group])
            answers.update(zip((number for number, _ in group), found, strict=True))
        return [answers[number] for number in range(len(requests))]

    def _answers(self, request: SearchRequest, queries: list[Query]) -> list[SearchAnswer | Exception]:
        """Answers to queries with the options of one request."""
        name, gallery = self.gallery(request.gallery)
        options: Any = request.model_dump(include={"target", "k", "rerank", "focus", "min_score"})
        options["label"] = request.label or None
        try:
            return [
                SearchAnswer(gallery=name, hits=list(map(_hit, hits)), notes=notes)
                for hits, notes in gallery.search_with_notes(queries, **options)
            ]
        except CMRError as error:
            if len(queries) == 1:
                return [_of_one(error)]
            # One of them cannot be answered: each is answered by itself.
            return [answer for query in queries for answer in self._answers(request, [query])]

    def _encoded(self, request: EncodeRequest) -> EncodeAnswer:
        retriever = self.gallery(request.gallery)[1].retriever
        if request.texts:
            embeds = retriever.encode_texts(request.texts)
        else:
            embeds = retriever.encode_images([_image(image) for image in request.images])
        if retriever.model.is_hashing:
            return EncodeAnswer(codes=[bytes(code).hex() for code in embeds])
        return EncodeAnswer(embeddings=embeds.tolist())


def _of_one(error: CMRError) -> CMRError:
    """An error of a list of one query, without its number."""
    return InputError(str(error).removeprefix("Query 1 of 1: ")) if isinstance(error, InputError) else error


def _options_key(request: SearchRequest) -> str:
    """The same for requests that differ in their queries alone."""
    return request.model_dump_json(exclude={"text", "image", "item", "terms"})


def _term(term: QueryTerm) -> Term:
    image = None if term.image is None else _image(term.image)
    return Term(text=term.text, image=image, item=term.item, weight=term.weight)


def _image(encoded: str) -> Image.Image:
    try:
        return load_image(base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise InputError(f"An image is not base64: {error}. Send the bytes of an image file in base64.") from error


def _hit(hit: FoundItem) -> Hit:
    return Hit(id=hit.id, score=hit.score, texts=list(hit.texts), labels=list(hit.labels))
