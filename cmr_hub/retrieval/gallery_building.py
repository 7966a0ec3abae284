"""Embed any number of items into a gallery's folder: nothing is embedded twice, and little is in memory.

The source is cut into shards of the same number of items. A shard is written when all of it is embedded; the
embeddings of a shard that is interrupted are stored in a file of their own. Both files contain a digest of the items
that they are made of, and are used for these only. The settings are written last: with them the folder is a gallery.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, concatenate_datasets
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm.auto import tqdm

from cmr_hub.data.content import ContentDigest
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import read_checksums, saved
from cmr_hub.utils.damaged import set_aside
from cmr_hub.utils.files import atomic_file, make_folder
from cmr_hub.utils.messages import name_some
from cmr_hub.utils.processes import this_process

from .gallery_embedding import ChunkEmbedder, joined
from .gallery_files import (
    CONFIG_NAME,
    RECORD_NAME,
    UNUSABLE_NAME,
    MadeOf,
    Unusable,
    filled,
    is_damaged,
    shard_path,
    write_config,
    write_items,
    write_unusable,
)
from .gallery_sources import ArchiveSource, Source, open_source
from .retriever import Retriever

logger = logging.getLogger(__name__)

CHUNK_ROWS = 256  # embedded between two updates of the progress bar


@dataclass
class _Shard:
    """The items of a shard that have been read so far, and the embeddings of the first of them.

    Attributes:
        digest: of the items.
        items: pieces of them.
        embeds: column -> rows of those that can be used, in pieces.
        unusable: number of an item -> why it cannot be used.
    """

    digest: ContentDigest
    items: list[Dataset] = field(default_factory=list)
    embeds: list[Mapping[str, np.ndarray]] = field(default_factory=list)
    unusable: dict[int, str] = field(default_factory=dict)

    @property
    def made_of(self) -> MadeOf:
        return MadeOf(self.digest.rows, self.digest.hexdigest())

    def take(self, items: Dataset) -> None:
        self.digest.add(items)
        self.items.append(items)

    def embed(self, items: Dataset, embedder: ChunkEmbedder) -> None:
        """Take in some more items with their embeddings."""
        first = self.digest.rows
        self.take(items)
        embedded = embedder.embed(items)
        self.embeds.append(embedded.embeds)
        self.unusable |= {first + row: reason for row, reason in embedded.unusable.items()}


class Building:
    """One gallery being built, or built on.

    Args:
        source: what [`open_source`] takes.
        retriever: the checkpoint.
        folder: receives the gallery.
        settings: "name", "index" and "index_options", as `Gallery.from_pretrained` reads them.
        shard_rows, keep_images, keep_real_valued, strict, image_root: as for `Gallery.build`.

    Raises:
        InputError: there are no items, the folder holds another gallery or its beginnings, or images of an archive
            are not to be copied.
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
        strict: bool,
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
            strict=strict,
        )
        if not len(self.source):
            raise InputError("A gallery needs at least one item, and the source has none.")
        if isinstance(self.source, ArchiveSource) and not keep_images:
            raise InputError("Images of an archive are copied into the gallery. Unpack it to refer to its files.")
        if shard_rows < 1:
            raise InputError(f"shard_rows is {shard_rows}: a file holds at least one item.")
        self.shards = -(-len(self.source) // shard_rows)

    def run(self, show_progress: bool) -> None:
        """Embed what is missing, and finish the folder."""
        process = this_process()
        make_folder(self.folder)
        process.run_on_main(self._remove_empty_shards)
        # One after another, not every second: a Parquet file is read from its beginning to its end.
        own = np.array_split(np.arange(self.shards), process.count)[process.rank].tolist()
        missing = process.gather(lambda: self._missing(own))[process.rank]
        process.run_on_main(self._write_record)
        process.gather(lambda: self._embed_shards(missing, show_progress and process.is_main))
        process.run_on_main(self._finish)

    def _missing(self, numbers: Sequence[int]) -> list[int]:
        """Those of some shards that are missing or have become longer; the others must be of the source's items."""
        self._check_record()
        if shard_path(self.folder, self.shards).exists():
            raise self._another(f"the number of items, which is {len(self.source)} now and was larger")
        missing = []
        for number in numbers:
            path, rows = shard_path(self.folder, number), self._rows(number)
            if path.exists() and is_damaged(path):
                set_aside(path, "is damaged")
            if path.exists():
                before = MadeOf.of_shard(path)
                if before is None:
                    raise InputError(f"{path} does not say of which items it was made: give another folder.")
                if before != self._read(rows[: before.rows]).made_of:
                    raise self._another(
                        f"the items from number {rows.start} on ({path.name} holds others, and new items are added at "
                        "the end alone)"
                    )
                if before.rows == len(rows) and not self._is_any_usable_now(path, rows):
                    self._left(number).unlink(missing_ok=True)  # of a process that ended between the two
                    continue
            missing.append(number)
        return missing

    def _is_any_usable_now(self, path: Path, rows: range) -> bool:
        """Whether an item that a shard leaves out can be used now, as with a library that was not installed then."""
        unusable = [item.row for item in Unusable.of_shard(path)]
        if not unusable:
            return False
        items = concatenate_datasets(self._read(rows).items).select(unusable)
        return len(self.embedder.embed(items).unusable) < len(unusable)

    def _embed_shards(self, numbers: Sequence[int], show_progress: bool) -> None:
        total = sum(len(self._rows(number)) for number in numbers)
        with tqdm(total=total, desc="Building", unit="item", disable=not show_progress) as bar:
            for number in numbers:
                self._embed_shard(number, bar)

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
        processor = self.retriever.processor
        precisions = {name: getattr(processor, f"{name}_encoder").precision for name in ("image", "text")}
        return {
            "retriever": self.retriever.fingerprint,
            # None is also what galleries of earlier versions say.
            "precisions": None if set(precisions.values()) == {"f32"} else precisions,
            "shard_rows": self.shard_rows,
            "keep_images": self.keep_images,
            "keep_real_valued": self.embedder.real_valued,
            "image_root": self.image_root,
        }

    def _check_record(self) -> None:
        path = self.folder / RECORD_NAME
        if path.exists() and self._holds_items():
            before = read_json(path)
            other = [key for key, value in self._record.items() if before.get(key) != value]
            if other:
                there = ", ".join(f"{before.get(key)!r} there, {self._record[key]!r} now" for key in other)
                raise self._another(f"{', '.join(other)} ({there})")
        elif (self.folder / CONFIG_NAME).exists():
            raise InputError(f"{self.folder} holds a gallery that was not built in it: give another folder.")

    def _holds_items(self) -> bool:
        """Whether any item was embedded: a building that failed before that may be asked for otherwise."""
        is_begun = (self.folder / CONFIG_NAME).exists() or any(self.folder.glob("items-*.partial.*"))
        return is_begun or any(is_damaged(path) or filled([path]) for path in self.folder.glob("items-*.parquet"))

    def _remove_empty_shards(self) -> None:
        """Remove what a building left that could use no item."""
        if not self._holds_items():
            for path in self.folder.glob("items-*.parquet"):
                path.unlink()

    def _another(self, difference: str) -> InputError:
        return InputError(
            f"{self.folder} holds another gallery, finished or not: it differs in {difference}. Give another folder, "
            "or remove this one."
        )

    def _digest(self) -> ContentDigest:
        return ContentDigest(self.source.image_files, with_paths=not self.keep_images)

    def _read(self, rows: range) -> _Shard:
        """The items in some rows of the source."""
        shard = _Shard(self._digest())
        for start in rows[::CHUNK_ROWS]:
            shard.take(self.source.read(start, min(start + CHUNK_ROWS, rows.stop)))
        return shard

    def _resumed(self, number: int) -> _Shard:
        """What an interrupt left of a shard, if the source still has its items."""
        rows = self._rows(number)
        try:
            with safe_open(self._left(number), "numpy") as file:
                stored = file.metadata()
                before = MadeOf(**json.loads(stored["made_of"]))
                unusable = {int(row): reason for row, reason in json.loads(stored["unusable"]).items()}
                embeds = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            if stored["digest"] != _digest_of(embeds):
                raise ValueError("damaged")
        except (OSError, SafetensorError, LookupError, TypeError, ValueError):  # there is nothing, or it is damaged
            return self._read(rows[:0])
        shard = self._read(rows[: before.rows])
        if shard.made_of != before:
            return self._read(rows[:0])
        shard.embeds.append(embeds)
        shard.unusable = unusable
        return shard

    def _embed_shard(self, number: int, bar: tqdm) -> None:
        """Embed one shard, from where it was left."""
        rows, shard = self._rows(number), self._resumed(number)
        bar.update(shard.digest.rows)
        embedded = shard.made_of
        try:
            while (start := rows.start + shard.digest.rows) < rows.stop:
                items = self.source.read(start, min(start + CHUNK_ROWS, rows.stop))
                shard.embed(items, self.embedder)
                embedded = shard.made_of
                bar.update(len(items))
        except BaseException:
            if shard.embeds:
                self._save_left(number, shard, embedded)
            raise
        if shard_path(self.folder, number).exists():  # a shorter one, of a gallery that may be in use until the end
            self._save_left(number, shard, embedded)
            return
        with atomic_file(shard_path(self.folder, number)) as scratch:
            self._write_shard(scratch, shard)
        self._left(number).unlink(missing_ok=True)

    def _save_left(self, number: int, shard: _Shard, made_of: MadeOf) -> None:
        with atomic_file(self._left(number)) as scratch:
            embeds = joined(shard.embeds)
            said = {"made_of": json.dumps(asdict(made_of)), "unusable": json.dumps(shard.unusable)}
            save_file(embeds, scratch, {**said, "digest": _digest_of(embeds)})

    def _write_shard(self, path: Path, shard: _Shard) -> None:
        again = self._digest()
        for items in shard.items:
            again.add(items)
        if not shard.embeds or again.hexdigest() != shard.digest.hexdigest():
            raise InputError("Items of the source changed while they were embedded: build again.")
        items = concatenate_datasets(shard.items)
        unusable = [Unusable(row, items["id"][row], reason) for row, reason in sorted(shard.unusable.items())]
        if unusable:
            items = items.select([row for row in range(len(items)) if row not in shard.unusable])
        write_items(
            path,
            items,
            joined(shard.embeds),
            copy_images=self.keep_images,
            image_files=self.source.image_files,
            made_of=shard.made_of,
            unusable=unusable,
        )

    def _write_record(self) -> None:
        with saved(self.folder, replaces=(CONFIG_NAME,) if self._lacks_a_file() else ()) as scratch:
            (scratch / RECORD_NAME).write_text(json.dumps(self._record, indent=2) + "\n")

    def _lacks_a_file(self) -> bool:
        """Whether a finished gallery has lost a shard, without which it is none until it has it again."""
        try:
            return any(not (self.folder / name).is_file() for name in read_checksums(self.folder) or {})
        except CheckpointError:
            return True

    def _finish(self) -> None:
        """Write the settings, and put shards that became longer in the place of the shorter ones."""
        longer = [number for number in range(self.shards) if self._left(number).exists()]
        config = {
            **self.settings,
            "retriever": self.retriever.name,
            "fingerprint": self.retriever.fingerprint,
            "shards": self.shards,
        }
        in_place = [path.name for path in self._shard_paths]
        with saved(self.folder, in_place=in_place, replaces=(UNUSABLE_NAME,)) as scratch:
            for number in longer:
                self._write_shard(shard_path(scratch, number), self._resumed(number))
            paths = [shard_path(scratch if n in longer else self.folder, n) for n in range(self.shards)]
            unusable = [item for path in paths for item in Unusable.of_shard(path)]
            named = name_some(f"{item.id!r} ({item.reason.rstrip('.')})" for item in unusable)
            if not filled(paths):
                raise InputError(
                    f"A gallery needs at least one item, and of {len(self.source)} none can be used: {named}."
                )
            if unusable:
                write_unusable(scratch, unusable)
            write_config(scratch, config)
        for number in longer:
            self._left(number).unlink()
        if unusable:
            listed, count = self.folder / UNUSABLE_NAME, f"{len(unusable):,} of {len(self.source):,}"
            logger.warning("Left out %s items, which cannot be used: %s. All are listed in %s.", count, named, listed)


def _digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """A digest of arrays, by which damage is found."""
    digest = xxhash.xxh3_128()
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
