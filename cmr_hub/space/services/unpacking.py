"""Unpack files that anybody may have sent: nothing in them is trusted, and little is written.

Only images and one table are ever written, never over one another and never outside of one folder. What a limit
forbids is refused as a whole where going on would cost too much, and otherwise left out and named.
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from PIL import Image

from cmr_hub.data.archives import zip_name
from cmr_hub.data.image_folders import is_image_name, is_litter
from cmr_hub.data.paths import unsafe_reason
from cmr_hub.data.table import Pair, to_pairs
from cmr_hub.data.table_files import read_rows
from cmr_hub.encoders.backbone import check_shape
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.utils.images import FORMATS, OTHER_SUFFIXES, load_image

from .upload_tables import MAX_LINES, MAX_TABLE, MB, SUFFIXES, check_size, check_text, printable, without_folders

MAX_IMAGES = 1_000
MAX_UNPACKED = 200 * MB  # of all images and the table together
MAX_IMAGE = 20 * MB
MAX_FILES = 5_000  # in a zip, images or not
MAX_RATIO = 500  # a file of a zip that grows by more was made to do harm; images hardly grow at all
MAX_READ = 4 * MB  # of a zip at once; only a hostile one has a longer list of its files
BLOCK = 1 << 16
WORKBOOKS = (".xlsx", ".xls", ".ods", ".numbers")
LONGEST_NAME, LONGEST_PART = 1_000, 200  # bytes of a path and of a name in it; file systems take 255
# What errors of tables advise, and the page does not have.
OPTIONS = re.compile(r": set the option label_separator [^\n]*(?=\.$)|, or name its encoding by the option encoding")

Kind = Literal["image", "table", "hidden", "other"]
Step = Callable[[float, str], None]  # told the share that is done, in [0, 1], and what is done; may raise to stop


@dataclass(frozen=True)
class Table:
    """A table that was sent.

    Attributes:
        path: its file.
        name: how the sender calls it.
        start: the folder that the names in it start from.
        is_loose: whether it was sent next to its images, which are then without their folders, and not in a zip.
    """

    path: Path
    name: str
    start: Path
    is_loose: bool


@dataclass
class Unpacked:
    """What has been written so far.

    Attributes:
        root: everything lies in it.
        images: file -> how the sender calls it. Of those that are refused the file is empty.
        refused: file -> why the image in it cannot be used.
        table: the table, where there is one.
        skipped: files that were neither images nor tables.
        workbook: one of these that is a table of a spreadsheet.
        spent: bytes unpacked.
    """

    root: Path
    images: dict[Path, str] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)
    table: Table | None = None
    skipped: int = 0
    workbook: str = ""
    spent: int = 0

    @property
    def folder(self) -> Path:
        """Where the images lie, and nothing else."""
        return self.root / "images"

    def add(self, path: Path, name: str, step: Step) -> None:
        """Take in one uploaded file."""
        if not path.is_file():
            raise InputError(f"{name} is no longer on the server. Choose it again.")
        step(0.0, f"Unpacking {name}")
        kind = _kind(name)
        if name.lower().endswith(".zip"):
            self._add_zip(path, name, step)
        elif kind == "table":
            self._add_table(name, path.read_bytes(), is_loose=True)
        elif kind == "image":
            self._add_image(name, lambda: path.open("rb"))
        else:
            self._skip(kind, name)

    def _skip(self, kind: Kind, name: str) -> None:
        """Count a file that is not taken, unless people do not know of it."""
        self.skipped += kind == "other"
        if kind == "other" and name.lower().endswith(WORKBOOKS):
            self.workbook = name

    def _add_zip(self, path: Path, name: str, step: Step) -> None:
        with _Careful(path, name) as raw:
            try:
                archive = ZipFile(raw)
            except InputError:
                raise
            except Exception as error:  # on a hostile file the parsing raises whatever it runs into
                raise InputError(f"{name} is no zip file, or a damaged one. Pack it again.") from error
            entries = self._entries(archive, name)
            for done, (kind, entry) in enumerate(entries):
                step(done / len(entries), f"Unpacking {name}: {done + 1:,} of {len(entries):,}")
                inside = printable(zip_name(entry))
                if kind == "image":
                    self._add_image(inside, partial(archive.open, entry))
                else:
                    self._add_table(inside, _table_of(archive, entry, inside), is_loose=False)

    def _entries(self, archive: ZipFile, name: str) -> list[tuple[Kind, ZipInfo]]:
        """The images and tables of a zip, if it can be trusted to be unpacked at all."""
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(files) > MAX_FILES:
            raise InputError(f"{name} holds {len(files):,} files; at most {MAX_FILES:,} are taken. Send fewer.")
        kinds = [_kind_of(entry) for entry in files]
        for kind, entry in zip(kinds, files, strict=True):
            self._skip(kind, printable(zip_name(entry)))
        wanted: list[tuple[Kind, ZipInfo]] = [
            (kind, entry) for kind, entry in zip(kinds, files, strict=True) if kind in ("image", "table")
        ]
        for kind, entry in wanted:
            if entry.flag_bits & 1:
                raise InputError(f"{name} is encrypted. Pack it without a password.")
            if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise InputError(f"{name} is packed in an unusual way. Pack it as an ordinary zip (deflate).")
            if kind == "image" and entry.file_size > MAX_RATIO * max(entry.compress_size, 1_000):
                raise InputError(
                    f"{name} holds {printable(entry.filename)!r}, which would grow from {entry.compress_size:,} to "
                    f"{entry.file_size:,} bytes, as no image does. Take it out."
                )
        self._check_total(self.spent + sum(min(entry.file_size, MAX_IMAGE) for _, entry in wanted))
        return wanted

    @staticmethod
    def _check_total(size: int) -> None:
        if size > MAX_UNPACKED:
            raise InputError(
                f"Unpacked, the files have more than {MAX_UNPACKED // MB} MB, the most that is taken. Scale the "
                "images down, or send fewer."
            )

    def _add_image(self, name: str, opened: Callable[[], AbstractContextManager[IO[bytes]]]) -> None:
        if len(self.images) == MAX_IMAGES:
            raise InputError(f"These are more than {MAX_IMAGES:,} images, the most that are taken. Send fewer.")
        path, reason = self._reserve(name)
        self.images[path] = name
        if path.suffix.lower() in OTHER_SUFFIXES:
            reason = f"it is none of {', '.join(FORMATS)}; save it as one of them"
        if reason is None:
            try:
                with opened() as stream, path.open("wb") as file:
                    reason = self._copy(stream, file)
            except (InputError, OSError):
                raise
            except Exception:  # as above
                path.write_bytes(b"")
                reason = "it is damaged in the zip; pack it again"
        if reason:
            self.refused[path] = reason

    def _reserve(self, name: str) -> tuple[Path, str | None]:
        """A new file for an image and, if nothing will come into it, why."""
        reason = _unusable_name(name)
        if reason is None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.touch(exist_ok=False)
                return path, None
            except FileExistsError:
                reason = "there is another one of this name"
        return self.root / f"unusable-{len(self.images)}", reason

    def _copy(self, stream: IO[bytes], file: IO[bytes]) -> str | None:
        """Write an image as long as the limits hold; why it was not kept, if so."""
        size = 0
        while block := stream.read(BLOCK):
            size += len(block)
            self.spent += len(block)
            self._check_total(self.spent)
            if size > MAX_IMAGE:
                file.truncate(0)
                return f"it has more than {MAX_IMAGE // MB} MB; scale it down"
            file.write(block)
        return None

    def _add_table(self, name: str, content: bytes, is_loose: bool) -> None:
        if self.table is not None:
            raise InputError(f"There are two tables, {self.table.name} and {name}; keep one of them.")
        check_size(name, content)
        path = self.root / f"table{PurePosixPath(name).suffix.lower()}"
        path.write_bytes(content)
        start = self.folder if _unusable_name(name) else (self.folder / name).parent
        self.table = Table(path, name, start, is_loose)

    def read_table(self) -> tuple[list[Pair], str | None]:
        """The pairs that the table lists, and which column has their classes."""
        assert self.table is not None  # whoever asks has looked
        path, name, start = self.table.path, self.table.name, self.table.start
        try:
            rows = read_rows(path)
            pairs, columns = to_pairs(path, without_folders(rows, name) if self.table.is_loose else rows, start)
        except DatasetError as error:
            message = OPTIONS.sub("", str(error)).replace(str(path), name).replace(str(start), "the upload")
            raise InputError(message) from error
        if sum(len(pair.texts) for pair in pairs) > MAX_LINES:
            raise InputError(f"{name} has more than {MAX_LINES:,} texts, the most that are taken. Shorten it.")
        for pair in pairs:
            for text in (*pair.texts, *pair.labels, pair.id):
                check_text(text, f"{name}, line {pair.where.rpartition(' ')[2]}")
        return pairs, columns.label

    def check(self, path: Path) -> None:
        """Look into an image; one that cannot be used is removed."""
        if path not in self.refused:
            try:
                load_image(path, min_side=1, reduce=True)  # decoded as a whole, but hardly anything is kept
                with Image.open(path) as image:
                    check_shape(image)
                return
            except InputError as error:
                self.refused[path] = str(error).removeprefix(f"{path} ").rstrip(".")
        path.unlink(missing_ok=True)


class _Careful(io.FileIO):
    """A zip's file of which no reader takes much at once: the list of what is in it is read in one piece."""

    def __init__(self, path: Path, title: str):
        super().__init__(path)
        self.title = title

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_READ:
            raise InputError(f"{self.title} lists far too many files; at most {MAX_FILES:,} are taken. Send fewer.")
        return super().read(size)


def _table_of(archive: ZipFile, entry: ZipInfo, name: str) -> bytes:
    """The content of a table in a zip, or as much of it as shows that it is too large."""
    try:
        with archive.open(entry) as stream:
            return stream.read(MAX_TABLE + 1)
    except Exception as error:  # as above
        raise InputError(f"{name} is damaged in the zip. Pack it again.") from error


def _kind_of(entry: ZipInfo) -> Kind:
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    return "other" if is_link else _kind(zip_name(entry))


def _kind(name: str) -> Kind:
    if is_litter(name):
        return "hidden"
    return "image" if is_image_name(name) else "table" if name.lower().endswith(SUFFIXES) else "other"


def _unusable_name(name: str) -> str | None:
    """Why no file may get this name; None when it may."""
    parts = [part.encode() for part in name.split("/")]
    if len(name.encode()) > LONGEST_NAME or max(map(len, parts)) > LONGEST_PART:
        return "its name is too long"
    if any(is_image_name(part.decode()) for part in parts[:-1]):
        return "it lies in a folder that is called like an image"
    return unsafe_reason(name)
