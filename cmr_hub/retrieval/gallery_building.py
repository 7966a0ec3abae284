"""Embed any number of items into a gallery's folder: nothing is embedded twice, and little is in memory.

The source is cut into shards of the same number of items. A shard contains digests of the items that it is made of.
One whose items are those of the source stays as it is; another one is put together anew from what is embedded already,
wherever it was, and from what the checkpoint embeds now. A new shard is written when all of it is embedded; the
embeddings of one that is interrupted, or that takes the place of a shard in use, are stored in a file of their own.
The settings are written last, together with all shards that change: with them the folder is a gallery.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image, concatenate_datasets
from tqdm.auto import tqdm

from cmr_hub.data.image_cells import ImageFiles
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import read_checksums, saved
from cmr_hub.utils.damaged import set_aside
from cmr_hub.utils.files import atomic_file, changing, make_folder
from cmr_hub.utils.messages import name_some
from cmr_hub.utils.processes import Process, this_process

from .gallery_before import LEFT, EmbeddedBefore, Left, Place, read_stored
from .gallery_contents import ContentReader
from .gallery_embedding import ChunkEmbedder, Embedded, joined
from .gallery_files import filled, is_damaged, write_config, write_items, write_unusable
from .gallery_layout import (
    CONFIG_NAME,
    MAP_NAME,
    RECORD_NAME,
    UNUSABLE_NAME,
    Content,
    ShardRecord,
    Unusable,
    contents_digest,
    same_images,
    shard_number,
    shard_path,
)
from .gallery_sources import ArchiveSource, Source, open_source
from .retriever import Retriever

logger = logging.getLogger(__name__)

CHUNK_ROWS = 256  # embedded between two updates of the progress bar


@dataclass(frozen=True)
class Outcome:
    """What a building did.

    Attributes:
        items: number of items of the gallery.
        added: ids that are new.
        changed: ids of items whose content is another one than before.
        removed: ids that are no longer in the gallery.
        missing: ids that are in the gallery and not in the source.
        unusable: items that were left out.
        duplicates: ids of items whose images have the same bytes, in groups.
        embedded: how many items the checkpoint has embedded.
    """

    items: int
    added: Sequence[str]
    changed: Sequence[str]
    removed: Sequence[str]
    missing: Sequence[str]
    unusable: Sequence[Unusable]
    duplicates: Sequence[tuple[str, ...]]
    embedded: int


@dataclass
class _Shard:
    """The items of a shard that have been read so far, with their embeddings.

    Attributes:
        items: pieces of them, as they are read; the images of those that `is_stored` says are as a shard has them.
        is_stored: of each piece whether it comes from a shard.
        contents: of each item.
        embeds: column -> rows of those that can be used, in pieces.
        unusable: number of an item -> why it cannot be used.
    """

    items: list[Dataset] = field(default_factory=list)
    is_stored: list[bool] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    embeds: list[Mapping[str, np.ndarray]] = field(default_factory=list)
    unusable: dict[int, str] = field(default_factory=dict)

    def take(self, items: Dataset, contents: Sequence[Content], *, is_stored: bool) -> None:
        self.items.append(items)
        self.is_stored.append(is_stored)
        self.contents.extend(contents)

    def take_embeds(self, embedded: Embedded, first: int) -> None:
        self.embeds.append(embedded.embeds)
        self.unusable |= {first + row: reason for row, reason in embedded.unusable.items()}

    @property
    def record(self) -> ShardRecord:
        unusable = [Unusable(row, self.contents[row].id, reason) for row, reason in sorted(self.unusable.items())]
        return ShardRecord(self.contents, unusable)


class Building:
    """One gallery being built, or brought up to date.

    Args:
        source: what [`open_source`] takes.
        retriever: the checkpoint.
        folder: receives the gallery.
        settings: "name", "index" and "index_options", as `Gallery.from_pretrained` reads them.
        shard_rows, keep_images, keep_real_valued, strict, image_root, remove_missing: as for `Gallery.build`.
        is_same_source: whether the gallery is known to be of this source, so that all of its items may have changed.

    Attributes:
        outcome: after [`run`], in the main process, what it did; None elsewhere.

    Raises:
        InputError: there are no items, the folder holds another gallery or its beginnings, or images of an archive
            are not to be copied.
    """

    outcome: Outcome | None = None

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
        remove_missing: bool = False,
        is_same_source: bool = False,
    ):
        self.source, self.retriever, self.folder = open_source(source, image_root), retriever, folder
        self.settings = settings
        self.image_root = None if image_root is None else str(Path(image_root).resolve())
        self.shard_rows, self.keep_images = shard_rows, keep_images
        self.remove_missing, self.is_same_source = remove_missing, is_same_source
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
        self._kept: list[tuple[Place, Content]] = []  # items of the gallery that are not in the source
        self._old: dict[str, Content] = {}  # items of the gallery as it was
        self._embedded = 0

    def run(self, show_progress: bool) -> None:
        """Embed what is missing, and finish the folder.

        Raises:
            ConflictError: another process is building in the folder.
        """
        process = this_process()
        make_folder(self.folder)
        with ExitStack() as stack:
            process.run_on_main(lambda: stack.enter_context(changing(self.folder)))
            self._run(process, show_progress)

    def _run(self, process: Process, show_progress: bool) -> None:
        process.run_on_main(self._remove_empty_shards)
        process.gather(self._check_record)
        process.gather(lambda: self._set_damaged_aside(process.share(sorted(self.folder.glob("items-*.parquet")))))
        self._before = EmbeddedBefore(self.folder)
        self._reader = ContentReader(
            self.source.image_files,
            list(self.embedder.columns.values()),
            with_paths=not self.keep_images,
            known=self._before.known_files,
        )
        # One after another, not every second: a Parquet file is read from its beginning to its end.
        own = np.array_split(np.arange(-(-len(self.source) // self.shard_rows)), process.count)[process.rank].tolist()
        contents = {number: self._read_contents(number) for number in own} if self._before.records else {}
        old = self._before.items()
        if old:
            self._compare_with_gallery(process, contents, old)
        self._old = {item: content for item, (_, content) in old.items()}
        self.shards = -(-self._count // self.shard_rows)
        if process.is_main:
            own = sorted({*own, *range(-(-len(self.source) // self.shard_rows), self.shards)})
        # Of the last shard of the source an item of the gallery may follow.
        missing = [number for number in own if self._is_missing(number, contents)]
        process.run_on_main(self._write_record)
        process.gather(lambda: self._embed_shards(missing, show_progress and process.is_main))
        counts = process.gather(lambda: self._embedded)
        self._embedded = sum(counts)
        process.run_on_main(self._finish)

    @property
    def _count(self) -> int:
        """How many items the gallery will be made of, those that cannot be used included."""
        return len(self.source) + len(self._kept)

    def _compare_with_gallery(
        self,
        process: Process,
        contents: Mapping[int, Sequence[Content]],
        old: Mapping[str, tuple[Place, Content]],
    ) -> None:
        """Find the items of the gallery that are not in the source.

        Raises:
            InputError: all items of the gallery are others than those of the source.
        """
        own = [content for shard in contents.values() for content in shard]
        has_common = any(content.embedded in self._before for content in own)
        if not (self.is_same_source or any(process.gather(lambda: has_common))):
            raise self._another("all items (no item of the source is in the gallery)")
        ids = {item for ids in process.gather(lambda: [content.id for content in own]) for item in ids}
        self._missing = [item for item in old if item not in ids]
        if not self.remove_missing:
            self._kept = [old[item] for item in self._missing]

    def _is_missing(self, number: int, contents: Mapping[int, Sequence[Content]]) -> bool:
        """Whether a shard has to be written: it is not there, or has others than the items that it is to have."""
        path, rows = shard_path(self.folder, number), self._rows(number)
        record = self._before.records.get(path)
        if record is None:
            return True
        kept = [content for _, content in self._kept_in(rows)]
        wanted = [*contents.get(number, ()), *kept]
        if [content.item for content in record.contents] != [content.item for content in wanted]:
            return True
        if not self.keep_images and any(
            new.file and old.file != new.file for old, new in zip(record.contents, wanted, strict=True)
        ):
            return True  # the files are the same, and are found to be so without being read the next time
        if self._is_any_usable_now(record, rows):
            return True
        self._forget_left(number)  # of a process that ended between the two
        return False

    def _is_any_usable_now(self, record: ShardRecord, rows: range) -> bool:
        """Whether an item that a shard leaves out can be used now, as with a library that was not installed then."""
        unusable = [rows.start + item.row for item in record.unusable]
        if not unusable:
            return False
        items = concatenate_datasets([self.source.read(row, row + 1) for row in unusable])
        return len(self.embedder.embed(items).unusable) < len(unusable)

    def _set_damaged_aside(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if is_damaged(path):
                set_aside(path, "is damaged")

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
        return shard_path(self.folder, number).with_suffix(LEFT)

    def _rows(self, number: int) -> range:
        """The items of a shard: those of the source come first, and then those that are kept of the gallery."""
        start = number * self.shard_rows
        return range(start, min(start + self.shard_rows, self._count))

    def _source_rows(self, rows: range) -> range:
        return range(min(rows.start, len(self.source)), min(rows.stop, len(self.source)))

    def _kept_in(self, rows: range) -> list[tuple[Place, Content]]:
        start = len(self.source)
        return self._kept[max(0, rows.start - start) : max(0, rows.stop - start)]

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

    def _read_contents(self, number: int) -> list[Content]:
        """The contents of the source's items in a shard."""
        start = number * self.shard_rows
        rows, contents = self._source_rows(range(start, start + self.shard_rows)), list[Content]()
        for first in rows[::CHUNK_ROWS]:
            contents += self._reader.read(self.source.read(first, min(first + CHUNK_ROWS, rows.stop)))
        return contents

    def _embed_shard(self, number: int, bar: tqdm) -> None:
        """Put one shard together, and embed what is new in it."""
        rows, shard = self._rows(number), _Shard()
        embedded: list[Content] = []
        try:
            own = self._source_rows(rows)
            for start in own[::CHUNK_ROWS]:
                items = self.source.read(start, min(start + CHUNK_ROWS, own.stop))
                first, contents = len(shard.contents), self._reader.read(items)
                chunk = self._embed(items, contents)
                shard.take(items, contents, is_stored=False)
                shard.take_embeds(chunk, first)
                embedded = list(shard.contents)
                bar.update(len(items))
            if kept := self._kept_in(rows):
                places, contents = [place for place, _ in kept], [content for _, content in kept]
                shard.take(read_stored(places, self.source.features), contents, is_stored=True)
                shard.embeds.append(self._before.embeds([content.embedded for content in contents]))
                embedded = list(shard.contents)
                bar.update(len(kept))
        except BaseException:
            if shard.embeds:
                shard.contents = embedded
                self._save_left(number, shard)
            raise
        if shard_path(self.folder, number).exists():  # others, of a gallery that may be in use until the end
            self._save_left(number, shard)
            return
        with atomic_file(shard_path(self.folder, number)) as scratch:
            self._write_shard(scratch, shard)
        self._forget_left(number)
        self._before.add(shard_path(self.folder, number), shard.record)

    def _embed(self, items: Dataset, contents: Sequence[Content]) -> Embedded:
        """The embeddings of some items: of those that were embedded before from where they are."""
        digests = [content.embedded for content in contents]
        known = list(dict.fromkeys(digest for digest in digests if digest in self._before))
        new: dict[str, int] = {}
        for row, digest in enumerate(digests):
            if digest not in self._before:
                new.setdefault(digest, row)
        if not new:
            taken = self._before.embeds(digests)
            return Embedded(taken, {})
        embedded = self.embedder.embed(items.select(list(new.values())))
        self._embedded += len(new)
        unusable = {
            digest: embedded.unusable[number] for number, digest in enumerate(new) if number in embedded.unusable
        }
        if not known and len(new) == len(items):
            return embedded
        order = {
            digest: number for number, digest in enumerate([*known, *(one for one in new if one not in unusable)])
        }
        places = [order[digest] for digest in digests if digest not in unusable]
        stacked = joined([self._before.embeds(known), embedded.embeds]) if known else embedded.embeds
        return Embedded(
            {name: rows[places] for name, rows in stacked.items()},
            {row: unusable[digest] for row, digest in enumerate(digests) if digest in unusable},
        )

    def _save_left(self, number: int, shard: _Shard) -> None:
        left = Left(shard.contents, shard.record.unusable, joined(shard.embeds))
        left.save(self._left(number))
        self._before.add(self._left(number), left.record)

    def _forget_left(self, number: int) -> None:
        self._left(number).unlink(missing_ok=True)
        self._before.add(self._left(number), ShardRecord([]))

    def _left_shard(self, number: int) -> _Shard:
        """A shard whose embeddings are stored; its items are read again."""
        rows, shard, left = self._rows(number), _Shard(), Left.read(self._left(number))
        own = self._source_rows(rows)
        if left is None:
            raise InputError(f"{self._left(number)} is damaged: build again.")
        for start in own[::CHUNK_ROWS]:
            items = self.source.read(start, min(start + CHUNK_ROWS, own.stop))
            shard.take(items, self._reader.read(items), is_stored=False)
        if kept := self._kept_in(rows):
            stored = read_stored([place for place, _ in kept], self.source.features)
            shard.take(stored, [content for _, content in kept], is_stored=True)
        if contents_digest(shard.contents) != contents_digest(left.contents):
            raise _changed()
        shard.embeds.append(left.embeds)
        shard.unusable = {item.row: item.reason for item in left.unusable}
        return shard

    def _write_shard(self, path: Path, shard: _Shard) -> None:
        again: list[Content] = []
        for items, is_stored in zip(shard.items, shard.is_stored, strict=True):
            if not is_stored:
                again += self._reader.read(items)
        if not shard.embeds or [one.item for one in again] != [one.item for one in shard.contents[: len(again)]]:
            raise _changed()
        pieces, first = [], 0
        for items, is_stored in zip(shard.items, shard.is_stored, strict=True):
            usable = [row for row in range(len(items)) if first + row not in shard.unusable]
            first += len(items)
            if len(usable) < len(items):
                items = items.select(usable)
            pieces.append(items if is_stored else self._stored(items))
        trusted = ImageFiles(is_trusted=True)  # images are stored as they are to be by now
        write_items(
            path,
            concatenate_datasets(pieces),
            joined(shard.embeds),
            copy_images=False,
            image_files=trusted,
            record=shard.record,
        )

    def _stored(self, items: Dataset) -> Dataset:
        """Items with images as a shard has them: copies, or the absolute paths of files."""
        table = items.with_format("arrow")[:]
        for column, kind in items.features.items():
            if isinstance(kind, Image):
                cells = self.source.image_files.store(table[column], copy=self.keep_images)
                table = table.set_column(table.column_names.index(column), column, cells)
        table = table.cast(items.features.arrow_schema)
        return Dataset(table.replace_schema_metadata(items.features.arrow_schema.metadata))

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
        """Write the settings, and put shards that changed in the place of those before."""
        changed = [number for number in range(self.shards) if self._left(number).exists()]
        config = {
            **self.settings,
            "retriever": self.retriever.reference,
            "fingerprint": self.retriever.fingerprint,
            "shards": self.shards,
        }
        surplus = [path for path in self.folder.glob("items-*") if shard_number(path) >= self.shards]
        in_place = [path.name for path in self._shard_paths]
        replaces = (UNUSABLE_NAME, *(path.name for path in surplus), *((MAP_NAME,) if changed or surplus else ()))
        with saved(self.folder, in_place=in_place, replaces=replaces) as scratch:
            for number in changed:
                self._write_shard(shard_path(scratch, number), self._left_shard(number))
            paths = [shard_path(scratch if n in changed else self.folder, n) for n in range(self.shards)]
            records = [record for path in paths if (record := ShardRecord.of_shard(path))]
            unusable = [item for record in records for item in record.unusable]
            named = name_some(f"{item.id!r} ({item.reason.rstrip('.')})" for item in unusable)
            if not filled(paths):
                raise InputError(
                    f"A gallery needs at least one item, and of {len(self.source)} none can be used: {named}."
                )
            if unusable:
                write_unusable(scratch, unusable)
            write_config(scratch, config)
        for number in changed:
            self._left(number).unlink()
        if unusable:
            listed, count = self.folder / UNUSABLE_NAME, f"{len(unusable):,} of {len(self.source):,}"
            logger.warning("Left out %s items, which cannot be used: %s. All are listed in %s.", count, named, listed)
        self.outcome = self._outcome([content for record in records for content in record.usable], unusable)

    def _outcome(self, contents: Sequence[Content], unusable: Sequence[Unusable]) -> Outcome:
        old = self._old
        changed = [one.id for one in contents if one.id in old and one.embedded != old[one.id].embedded]
        ids = {content.id for content in contents}
        return Outcome(
            items=len(contents),
            added=[content.id for content in contents if content.id not in old],
            changed=changed,
            removed=[item for item in old if item not in ids],
            missing=[content.id for _, content in self._kept],
            unusable=unusable,
            duplicates=same_images(contents),
            embedded=self._embedded,
        )


def _changed() -> InputError:
    return InputError("Items of the source changed while they were embedded: build again.")
