"""JSON files that list images and captions as MS-COCO's annotations do, or as Karpathy's `dataset_<name>.json`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmr_hub.errors import DatasetError

logger = logging.getLogger(__name__)

LAYOUT = '{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}'
SPLITS = {"restval": "train"}  # of Karpathy's that are no split elsewhere


def rows_of_annotations(table: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One row per image: its file, its captions and, of MS-COCO's files with categories, their names as its classes.

    Images without an annotation are left out, with a warning.

    Args:
        table: the file, for messages.
        content: what it holds.

    Raises:
        DatasetError: it has another layout.
    """
    try:
        read = _of_karpathy if _has_sentences(content) else _of_coco
        rows = [(f"{table}, image {number}", row) for number, row in enumerate(read(content), start=1)]
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{table} is neither a list of objects, one per row, nor laid out as the captions of MS-COCO, {LAYOUT}: "
            f"{type(error).__name__} {error}."
        ) from error
    described = [(where, row) for where, row in rows if row["captions"] or row.get("labels")]
    if len(described) < len(rows):
        logger.warning("%s: %d of %d images have no annotation.", table, len(rows) - len(described), len(rows))
    yield from described


def _has_sentences(content: Mapping[str, Any]) -> bool:
    return "annotations" not in content and bool(content["images"]) and "sentences" in content["images"][0]


def _of_coco(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = {category["id"]: category["name"] for category in content.get("categories", ())}
    captions: dict[Any, list[str]] = {image["id"]: [] for image in content["images"]}
    labels: dict[Any, dict[str, None]] = {image["id"]: {} for image in content["images"]}
    for annotation in content["annotations"]:
        if "caption" in annotation:
            captions[annotation["image_id"]].append(annotation["caption"])
        if "category_id" in annotation and names:
            labels[annotation["image_id"]][names[annotation["category_id"]]] = None
    has_labels = any(labels.values())
    for image in content["images"]:
        row = {"file_name": image["file_name"], "captions": captions[image["id"]]}
        yield {**row, "labels": list(labels[image["id"]])} if has_labels else row


def _of_karpathy(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for image in content["images"]:
        folder = f"{image['filepath']}/" if image.get("filepath") else ""
        split = {"split": SPLITS.get(image["split"], image["split"])} if "split" in image else {}
        captions = [sentence["raw"] for sentence in image["sentences"]]
        yield {"file_name": f"{folder}{image['filename']}", "captions": captions, **split}
