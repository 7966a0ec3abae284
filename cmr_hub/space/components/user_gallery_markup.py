"""The HTML of a visitor's own gallery: how to make one, how far it is, and what came of it."""

from __future__ import annotations

from markupsafe import Markup

from ..services.upload_tables import SUFFIXES
from ..services.uploads import LIMITS
from ..services.user_galleries import GRACE, IDLE
from ..services.user_gallery import UserGallery
from .markup import notice
from .rendering import render

MAX_NAMED = 50  # images that were left out


def introduction() -> Markup:
    """What can be uploaded, the limits, and what becomes of the files."""
    return render(
        "user_gallery_introduction",
        limits=LIMITS,
        tables=" or ".join(SUFFIXES),
        grace=round(GRACE / 60),
        idle=round(IDLE / 60),
    )


def message(text: str) -> Markup:
    """Why there is no gallery."""
    return render("user_gallery_message", text=text)


def status(own: UserGallery) -> Markup:
    """How far a gallery is, and what came of it."""
    if own.progress.state == "failed":
        return notice(own.progress.message)
    if own.progress.state == "done":
        return _result(own)
    return render("user_gallery_progress", progress=own.progress)


def _result(own: UserGallery) -> Markup:
    gallery, upload = own.gallery, own.upload
    assert gallery is not None  # as it is done
    assert upload is not None
    others = [
        _counted(upload.unlisted, "image is", "images are", "not in the table"),
        _counted(upload.skipped, "file was", "files were", "neither images nor a table"),
    ]
    return render(
        "user_gallery_result",
        own=own,
        images=len(gallery),
        has_texts="text" in gallery.embeds,
        classes=len(gallery.class_names),
        others=" ".join(filter(None, others)),
        left_out=upload.left_out,
        max_named=MAX_NAMED,
    )


def _counted(count: int, one: str, many: str, what: str) -> str:
    return f"{count:,} {one if count == 1 else many} {what}." if count else ""
