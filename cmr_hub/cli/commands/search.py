"""`cmr search`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import option
from cmr_hub.cli.query_options import QueryTerms, min_score_option, query_options
from cmr_hub.cli.thumbnails import Thumbnails
from cmr_hub.cli.types import PATH, WholeNumber
from cmr_hub.errors import InputError

if TYPE_CHECKING:
    from cmr_hub.retrieval.photo_search import PhotoHit, PhotoQuery


@click.command("search", cls=Command)
@query_options
@option("--folder", type=PATH, metavar="DIR", help="Folder that was indexed; by default the current one, or above it.")
@option("--gallery", type=PATH, metavar="DIR", help="Gallery, or an index that is stored elsewhere.")
@option(
    "--server", metavar="URL", help="A Space that is running (`cmr serve FOLDER`), which searches its first gallery."
)
@option("-k", "k", type=WholeNumber(1), default=10, metavar="HITS", help="How many hits.")
@min_score_option()
@option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
@option("--open", "opens", is_flag=True, help="Open the best hit in its program.")
@option("--thumbnails/--no-thumbnails", default=True, help="Show small images where the terminal can.")
def command(
    *,
    query: QueryTerms,
    folder: Path | None,
    gallery: Path | None,
    server: str | None,
    k: int,
    min_score: float | Literal["auto"] | None,
    as_json: bool,
    opens: bool,
    thumbnails: bool,
) -> None:
    """Search an indexed folder of photos by words, by images, or by both.

    Prints the score and the path of each hit, best first.
    """
    if folder is not None and gallery is not None:
        raise click.UsageError("Give --folder or --gallery, not both.")
    from cmr_hub.retrieval.photo_index import PhotoIndex, find_index
    from cmr_hub.retrieval.photo_search import PhotoQuery, search_photos

    terms = PhotoQuery(query.text, query.image, query.item)
    if server is not None:
        if gallery is not None:
            raise click.UsageError("Give --server or --gallery, not both.")
        show_all(served(server, terms, k, min_score, folder), as_json=as_json, opens=opens, thumbnails=thumbnails)
        return
    where = gallery or find_index(folder or Path())
    hits = search_photos(where, terms, k, min_score)
    gone = sum(hit.exists is False for hit in hits)
    if gone and (index := PhotoIndex.read(where)):
        elsewhere = f" --output-dir {shlex.quote(str(gallery))}" if gallery else ""
        click.echo(
            f"{gone} of these hits are no longer on the disk. Bring the index up to date: "
            f"cmr index {shlex.quote(index.photos)}{elsewhere}",
            err=True,
        )
    show_all(hits, as_json=as_json, opens=opens, thumbnails=thumbnails)


def served(
    server: str, query: PhotoQuery, k: int, min_score: float | Literal["auto"] | None, folder: Path | None
) -> list[PhotoHit]:
    """The hits of a running Space.

    Args:
        server: its address.
        query: texts and items.
        k: how many hits.
        min_score: hits with a lower score are left out.
        folder: of the photos, to name their paths; otherwise hits have ids alone.
    """
    from cmr_hub.cli.running_server import search_server
    from cmr_hub.retrieval.photo_index import check_photo_folder
    from cmr_hub.retrieval.photo_search import as_hit

    if query.images or min_score == "auto":
        raise InputError(
            "A server is searched by words and items: leave --server out for images and --min-score auto."
        )
    arguments = {"texts": dict(query.texts), "items": dict(query.items), "k": k, "min_score": min_score}
    hits = search_server(server, arguments, "search_combined")
    photos = None if folder is None else check_photo_folder(folder)
    return [as_hit(hit["id"], hit["score"], photos, hit["texts"]) for hit in hits]


def show_all(hits: Sequence[PhotoHit], *, as_json: bool, opens: bool, thumbnails: bool) -> None:
    """Print the hits, and open the best one."""
    if as_json:
        click.echo(json.dumps([record(hit) for hit in hits], ensure_ascii=False, indent=2))
    else:
        show(hits, Thumbnails() if thumbnails else None)
    if opens and (there := next((hit.path for hit in hits if hit.exists), None)):
        click.launch(there)


def record(hit: PhotoHit) -> dict[str, Any]:
    """A hit as JSON has it."""
    texts = {"texts": list(hit.texts)} if hit.texts else {}
    return {"id": hit.id, "score": round(hit.score, 4), "path": hit.path, "exists": hit.exists, **texts}


def show(hits: Sequence[PhotoHit], thumbnails: Thumbnails | None) -> None:
    """Print the hits for a person."""
    if not hits:
        click.echo("No hits.", err=True)
    for hit in hits:
        gone = "  (no longer there)" if hit.exists is False else ""
        texts = f"  {hit.texts[0]}" if hit.texts else ""
        click.echo(f"{hit.score:.3f}  {hit.path or hit.id}{texts}{gone}")
        if thumbnails is not None and hit.exists and hit.path is not None:
            thumbnails.show(hit.path)
