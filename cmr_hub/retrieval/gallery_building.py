"""Embedding any number of items into a gallery's folder, so that nothing is embedded twice and little is in memory.

The source is cut into shards of the same number of items. A shard is written when all of it is embedded; what an
interrupt leaves of one is kept beside it. The settings come last: with them the folder is a gallery.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from cmr_hub.errors import InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import saved
from cmr_hub.utils.files import atomic_file
from cmr_hub.utils.processes import this_process

from .gallery_embedding import ChunkEmbedder, joined
from .gallery_files import CONFIG_NAME, RECORD_NAME, filled, shard_path, write_config, write_items
from .gallery_sources import Source, open_source
from .retriever import Retriever

CHUNK_ROWS = 256  # embedded between two looks at the progress


class Building:
    """One gallery being built, or built on.

    Args:
        source: what [`open_source`] takes.
        retriever: the checkpoint.
        folder: receives the gallery.
        settings: "name", "index" and "index_options", as `Gallery.from_pretrained` reads them.
        shard_rows, keep_images, keep_real_valued, skip_unusable, image_root: as for `Gallery.build`.

    Raises:
        InputError: there are no items, or the folder holds another gallery or its beginnings.
    """

    def __init__(
        self,
        source: Source | Dataset | str | os.PathLike | Sequence[str | os.PathLike],
        retriever: Retriever,
        folder: Path,
        *,
        settings: Mapping[str, Any],
        shard_rows: int,
        keep_images: bool,
        keep_real_valued: bool,
        skip_unusable: bool,
        image_root: str | os.PathLike | None = None,
    ):
        self.source, self.retriever, self.folder = open_source(source, image_root), retriever, folder
        self.settings = settings
        self.image_root = None if image_root is None else str(Path(image_root).resolve())
        self.shard_rows, self.keep_images = shard_rows, keep_images
        self.embedder = ChunkEmbedder(
            retriever,
            list(self.source.features),
            self.source.image_files,
            keep_real_valued=keep_real_valued,
            skip_unusable=skip_unusable,
        )
        if not len(self.source):
            raise InputError("A gallery needs at least one item, and the source has none.")
        if shard_rows < 1:
            raise InputError(f"shard_rows is {shard_rows}: a file holds at least one item.")
        self.shards = -(-len(self.source) // shard_rows)

    def run(self, show_progress: bool) -> None:
        """Embed what is missing, and finish the folder."""
        process = this_process()
        self.folder.mkdir(parents=True, exist_ok=True)
        process.gather(self._check_record)
        process.run_on_main(self._write_record)
        # One after another, not every second: a Parquet file is read from its beginning to its end.
        own = np.array_split(np.arange(self.shards), process.count)[process.rank].tolist()
        process.gather(lambda: self._embed_shards(own, show_progress and process.is_main))
        process.run_on_main(self._write_config)

    def _embed_shards(self, numbers: Sequence[int], show_progress: bool) -> None:
        total = sum(len(self._rows(number)) for number in numbers)
        with tqdm(total=total, desc="Building", unit="item", disable=not show_progress) as bar:
            for number in numbers:
                if shard_path(self.folder, number).exists():
                    self._left(number).unlink(missing_ok=True)  # of a process that ended between the two
                    bar.update(len(self._rows(number)))
                else:
                    self._shard(number, bar)

    @property
    def _shard_paths(self) -> list[Path]:
        return [shard_path(self.folder, number) for number in range(self.shards)]

    def _left(self, number: int) -> Path:
        """What an interrupt leaves of a shard."""
        return shard_path(self.folder, number).with_suffix(".partial.safetensors")

    def _rows(self, number: int) -> range:
        start = number * self.shard_rows
        return range(start, min(start + self.shard_rows, len(self.source)))

    @cached_property
    def _record(self) -> dict[str, Any]:
        """What makes an embedded item worth keeping when the building goes on."""
        return {
            "retriever": self.retriever.fingerprint,
            "source": self.source.digest(),
            "items": len(self.source),
            "shard_rows": self.shard_rows,
            "keep_images": self.keep_images,
            "keep_real_valued": self.embedder.real_valued,
            "skip_unusable": self.embedder.skip_unusable,
            "image_root": self.image_root,
        }

    def _check_record(self) -> None:
        path = self.folder / RECORD_NAME
        if path.exists():
            before = read_json(path)
            other = [key for key, value in self._record.items() if before.get(key) != value]
            if other:
                raise InputError(
                    f"{self.folder} holds another gallery, finished or not: it differs in {', '.join(other)} "
                    f"({', '.join(f'{before.get(key)!r} there, {self._record[key]!r} now' for key in other)}). Give "
                    "another folder, or remove this one."
                )
        elif (self.folder / CONFIG_NAME).exists():
            raise InputError(f"{self.folder} holds a gallery that was not built in it: give another folder.")

    def _shard(self, number: int, bar: tqdm) -> None:
        """Embed one shard, from where it was left."""
        rows, left = self._rows(number), self._left(number)
        done = [load_file(left)] if left.exists() else []
        start = rows.start + sum(len(chunk["usable"]) for chunk in done)
        bar.update(start - rows.start)
        try:
            while start < rows.stop:
                stop = min(start + CHUNK_ROWS, rows.stop)
                done.append(self.embedder.embed(self.source.read(start, stop)))
                bar.update(stop - start)
                start = stop
        except BaseException:
            if done:
                with atomic_file(left) as scratch:
                    save_file(joined(done), scratch)
            raise
        embeds = joined(done)
        items = self.source.read(rows.start, rows.stop)
        usable = embeds.pop("usable")
        if not usable.all():
            items = items.select(np.flatnonzero(usable))
        with atomic_file(shard_path(self.folder, number)) as scratch:
            write_items(scratch, items, embeds, copy_images=self.keep_images, image_files=self.source.image_files)
        left.unlink(missing_ok=True)

    def _write_record(self) -> None:
        # A folder that lacks a shard is no gallery until it has it again.
        is_complete = all(path.exists() for path in self._shard_paths)
        with saved(self.folder, replaces=() if is_complete else (CONFIG_NAME,)) as scratch:
            (scratch / RECORD_NAME).write_text(json.dumps(self._record, indent=2) + "\n")

    def _write_config(self) -> None:
        if not filled(self._shard_paths):
            raise InputError(
                f"A gallery needs at least one item, and of {len(self.source)} none could be used; the log says why."
            )
        config = {
            **self.settings,
            "retriever": self.retriever.name,
            "fingerprint": self.retriever.fingerprint,
            "shards": self.shards,
        }
        with saved(self.folder, in_place=[path.name for path in self._shard_paths]) as scratch:
            write_config(scratch, config)
