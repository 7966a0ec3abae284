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

if TYPE_CHECKING:
    from cmr_hub.retrieval.photo_search import PhotoHit


@click.command("search", cls=Command)
@query_options
@option("--folder", type=PATH, metavar="DIR", help="Folder that was indexed; by default the current one, or above it.")
@option("--gallery", type=PATH, metavar="DIR", help="Gallery, or an index that is stored elsewhere.")
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
    where = gallery or find_index(folder or Path())
    hits = search_photos(where, terms, k, min_score)
    if as_json:
        click.echo(json.dumps([record(hit) for hit in hits], ensure_ascii=False, indent=2))
    else:
        show(hits, Thumbnails() if thumbnails else None)
    gone = sum(hit.exists is False for hit in hits)
    if gone and (index := PhotoIndex.read(where)):
        elsewhere = f" --output-dir {shlex.quote(str(gallery))}" if gallery else ""
        click.echo(
            f"{gone} of these hits are no longer on the disk. Bring the index up to date: "
            f"cmr index {shlex.quote(index.photos)}{elsewhere}",
            err=True,
        )
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
