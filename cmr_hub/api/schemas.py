"""What requests and answers of the API hold. Field descriptions appear on the API's page, `/docs`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_HITS, MAX_RERANKED, MAX_TERMS = 1000, 10_000, 16
MAX_TEXT = 2000  # characters
MAX_TEXTS, MAX_IMAGES = 256, 32  # to encode in one request

Modality = Literal["image", "text"]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
EncodedImage = Annotated[str, Field(description="the bytes of an image file, in base64")]
Name = Annotated[str, Field(max_length=200)]


class Record(BaseModel):
    """A JSON object without unknown fields."""

    model_config = ConfigDict(extra="forbid")


class QueryTerm(Record):
    """One text, image or item of a query, and how much it counts."""

    text: Text | None = None
    image: EncodedImage | None = None
    item: Name | None = Field(None, description="id of an item of the gallery")
    weight: float = Field(1.0, description="below 0 hits are to be unlike the term")


class SearchRequest(Record):
    """One query: a text, an image or an item, or weighted terms; what is given together is one query."""

    text: Text | None = None
    image: EncodedImage | None = None
    item: Name | None = Field(None, description="id of an item of the gallery")
    terms: list[QueryTerm] = Field([], max_length=MAX_TERMS)
    gallery: Name | None = Field(None, description="name, as /galleries lists it; by default the first")
    target: Modality = Field("image", description="whether the items' images or their texts are compared")
    k: int = Field(10, ge=1, le=MAX_HITS, description="number of hits")
    label: list[Name] = Field([], max_length=100, description="classes of which hits must have one")
    rerank: int = Field(0, ge=0, le=MAX_RERANKED)
    focus: float | None = Field(None, ge=0, le=1)
    min_score: float | Literal["auto"] | None = None

    @model_validator(mode="after")
    def _has_a_query(self) -> Self:
        if not (self.terms or self.text is not None or self.image is not None or self.item is not None):
            raise ValueError("there is no query: give text, image, item or terms")
        return self

    def all_terms(self) -> list[QueryTerm]:
        """All that the query consists of."""
        single = {kind: getattr(self, kind) for kind in ("text", "image", "item")}
        return [QueryTerm(**{kind: value}) for kind, value in single.items() if value is not None] + self.terms


class Hit(BaseModel):
    """One found item."""

    id: str
    score: float
    texts: list[str]
    labels: list[str]


class SearchAnswer(BaseModel):
    """Hits, best first."""

    gallery: str
    hits: list[Hit]
    notes: list[str] = Field(description="what speaks against the hits, such as unknown words")


class EncodeRequest(Record):
    """Texts or images to embed."""

    texts: list[Text] = Field([], max_length=MAX_TEXTS)
    images: list[EncodedImage] = Field([], max_length=MAX_IMAGES)
    gallery: Name | None = Field(None, description="the gallery whose checkpoint encodes; by default the first")

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if bool(self.texts) == bool(self.images):
            raise ValueError("give texts or images, and not both")
        return self


class EncodeAnswer(BaseModel):
    """Embeddings as rows of unit length, or of a hashing method codes as hexadecimal digits."""

    embeddings: list[list[float]] | None = None
    codes: list[str] | None = None


class GalleryInfo(BaseModel):
    """One gallery that is served."""

    name: str
    items: int
    checkpoint: str
    method: str
    targets: list[Modality]
    labels: list[str]


class Health(BaseModel):
    """How much the service has to do."""

    galleries: int
    waiting: int = Field(description="requests that wait for the next batch")
