"""`cmr gallery`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cmr_hub.cli.command import Command
from cmr_hub.cli.options import (
    backend_options,
    checkpoint_option,
    option,
    output_dir_option,
    settings,
)
from cmr_hub.cli.types import PATH


@click.command("gallery", cls=Command, shared=True)
@checkpoint_option
@option(
    "--source",
    several=True,
    type=PATH,
    required=True,
    metavar="PATH",
    help="Parquet or image files, or one folder or archive: of Parquet files, or of images with or without a table.",
)
@backend_options
@output_dir_option("Receives the gallery.")
@option("--index", default="auto", metavar="NAME", help="Index; auto chooses one by the number of items.")
@settings("--index-option", "Options of the index.")
@option("--name", default="gallery", help="Name of the gallery.")
@option("--shard-rows", type=int, metavar="ROWS", help="Items per file.")
@option("--refer", is_flag=True, help="Store paths of image files instead of copies.")
@option("--image-root", type=PATH, metavar="DIR", help="Folder of the image files that Parquet files name.")
@option("--keep-real-valued", is_flag=True, help="Store the values of codes too, to re-rank by.")
@option("--remove-missing", is_flag=True, help="Drop items of the gallery that the source no longer has.")
@option("--strict", is_flag=True, help="Stop at items that cannot be used, instead of leaving them out.")
def command(
    *,
    checkpoint: str,
    source: Sequence[Path],
    output_dir: Path,
    index: str,
    index_option: Mapping[str, Any],
    name: str,
    shard_rows: int | None,
    refer: bool,
    image_root: Path | None,
    keep_real_valued: bool,
    remove_missing: bool,
    strict: bool,
) -> None:
    """Embed any number of items into a gallery.

    An interrupted build continues. Run again, it embeds what is new or has changed, and nothing else.
    """
    from cmr_hub.retrieval.gallery import Gallery
    from cmr_hub.retrieval.gallery_layout import SHARD_ROWS
    from cmr_hub.retrieval.retriever import Retriever

    # Whoever ends a long job politely finds what was embedded, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    built = Gallery.build(
        source[0] if len(source) == 1 else source,
        Retriever.from_pretrained(checkpoint),
        output_dir,
        index,
        index_options=index_option,
        name=name,
        keep_images=not refer,
        keep_real_valued=keep_real_valued,
        remove_missing=remove_missing,
        strict=strict,
        image_root=image_root,
        shard_rows=SHARD_ROWS if shard_rows is None else shard_rows,
    )
    logging.info("%s: %d items, index %r (%s)", output_dir, len(built), built.index.name, built.index.reason)
