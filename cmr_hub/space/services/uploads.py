"""From files that anybody may have sent to items of a gallery: nothing in them is trusted, and little is unpacked.

Only images and one table are ever written, never over one another and never outside of one folder. What a limit
forbids is refused as a whole where going on would cost too much, and otherwise left out and named.
"""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from datasets import Dataset

from cmr_hub.data.folder import Folder
from cmr_hub.data.paths import name_some, unsafe_reason
from cmr_hub.data.table import IMAGE_COLUMNS, Pair, read_pairs, to_dataset
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.retrieval.gallery_sources import IMAGES, open_source
from cmr_hub.utils.images import FORMATS, MAX_PIXELS, load_image

MB = 1_000_000
MAX_IMAGES = 1_000
MIN_IMAGES = 3  # of fewer there is nothing to choose among
MAX_UNPACKED = 200 * MB  # of all images and the table together
MAX_IMAGE = 20 * MB
MAX_TABLE = 4 * MB
MAX_LINES = 20_000  # of the table
MAX_TEXT = 5_000  # characters of one text, label or id
MAX_FILES = 5_000  # in a zip, images or not
MAX_RATIO = 500  # a file of a zip that grows by more was made to do harm; images hardly grow at all
MAX_READ = 4 * MB  # of a zip at once; only a hostile one has a longer list of its files
BLOCK = 1 << 16
LONGEST_NAME, LONGEST_PART = 1_000, 200  # bytes of a path and of a name in it; file systems take 255
TABLES = (".csv", ".jsonl")
LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # what systems leave beside people's files
UNREADABLE = (".svg", ".heic", ".heif", ".avif")  # images to people; they are named as left out, not skipped

LIMITS = (
    f"At most {MAX_IMAGES:,} images ({', '.join(FORMATS)}) of up to {MAX_IMAGE // MB} MB and "
    f"{MAX_PIXELS // MB} megapixels each, {MAX_UNPACKED // MB} MB together; a table of up to {MAX_LINES:,} lines and "
    f"{MAX_TABLE // MB} MB, texts of up to {MAX_TEXT:,} characters; up to 100 MB a file."
)

Step = Callable[[float, str], None]  # told the share that is done, in [0, 1], and what is done; may raise to stop


@dataclass(frozen=True)
class Upload:
    """What uploaded files hold.

    Attributes:
        items: rows of `id` and `image` (paths in the folder), and where there is a table `texts` and, if it has
            them, `label` or `labels`.
        left_out: "name: why", of each image that cannot be used.
        unlisted: how many images the table does not name.
        skipped: how many files were neither images nor a table.
    """

    items: Dataset
    left_out: Sequence[str]
    unlisted: int
    skipped: int


def read_upload(files: Sequence[Mapping[str, Any]], folder: Path, step: Step = lambda share, what: None) -> Upload:
    """Unpack uploaded files into a folder, and read what they are.

    Args:
        files: as Gradio gives them unopened: "path" on this machine and "orig_name", how the sender calls it. Zips,
            images, and at most one table (`.csv` or `.jsonl`, see `cmr_hub.data.folder`) among all of them.
        folder: an empty one, that receives images and the table.
        step: told of the progress.

    Raises:
        InputError: there is nothing to use, a limit is passed, an archive or the table cannot be read, or the table
            names what is not there. The messages name files as the sender does.
    """
    unpacked = _Unpacked(folder.resolve())
    for done, file in enumerate(files):
        unpacked.add(Path(file["path"]), _name_of(file), part_of(step, 0.5 * done / len(files), 0.5 / len(files)))
    if not unpacked.images:
        raise InputError(
            f"There is no image in {name_some(map(_name_of, files)) or 'nothing'}. Choose images "
            f"({', '.join(FORMATS)}) or a zip of them; a table only says what they show."
        )
    pairs, label_column = unpacked.read_table() if unpacked.table else (None, None)
    listed = sorted(unpacked.images) if pairs is None else [pair.path for pair in pairs]
    for done, path in enumerate(listed):
        step(0.5 + 0.5 * done / len(listed), f"Looking at image {done + 1:,} of {len(listed):,}")
        unpacked.check(path)
    unlisted = len(unpacked.images.keys() - set(listed) - unpacked.refused.keys())
    left_out = [f"{unpacked.images[path]}: {reason}." for path, reason in unpacked.refused.items()]
    usable = len(listed) - len(unpacked.refused.keys() & set(listed))
    if usable < MIN_IMAGES:
        raise InputError(
            f"{usable} of {len(listed)} images can be used, and a gallery needs {MIN_IMAGES}. "
            f"{name_some(left_out) or 'Send more.'}"
        )
    if pairs is None:
        source = open_source(unpacked.folder)
    else:
        kept = [replace(pair, split=None) for pair in pairs if pair.path not in unpacked.refused]
        source = open_source(to_dataset(Folder.info, kept, label_column, None, lambda item: "test"))
    return Upload(source.read(0, len(source)), left_out, unlisted, unpacked.skipped)


def part_of(step: Step, start: float, share: float) -> Step:
    """What a part of the work tells its progress to, that goes from `start` over a share of the whole."""
    return lambda fraction, what: step(start + share * fraction, what)


@dataclass
class _Unpacked:
    """What has been written so far.

    Attributes:
        root: everything lies in it.
        images: file -> how the sender calls it. Of those that are refused the file is empty.
        refused: file -> why the image in it cannot be used.
        table: the table's file, how the sender calls it, and the folder that its names start from.
        skipped: files that were neither images nor tables.
        spent: bytes unpacked.
    """

    root: Path
    images: dict[Path, str] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)
    table: tuple[Path, str, Path] | None = None
    skipped: int = 0
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
            self.skipped += kind == "other"

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
                inside = _printable(entry.filename)
                if kind == "image":
                    self._add_image(inside, partial(archive.open, entry))
                else:
                    self._add_table(inside, _table_of(archive, entry, inside), is_loose=False)

    def _entries(self, archive: ZipFile, name: str) -> list[tuple[str, ZipInfo]]:
        """The images and tables of a zip, if it can be trusted to be unpacked at all."""
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(files) > MAX_FILES:
            raise InputError(f"{name} holds {len(files):,} files; at most {MAX_FILES:,} are taken. Send fewer.")
        kinds = ["other" if stat.S_ISLNK(entry.external_attr >> 16) else _kind(entry.filename) for entry in files]
        self.skipped += kinds.count("other")
        wanted = [(kind, entry) for kind, entry in zip(kinds, files, strict=True) if kind in ("image", "table")]
        for kind, entry in wanted:
            if entry.flag_bits & 1:
                raise InputError(f"{name} is encrypted. Pack it without a password.")
            if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise InputError(f"{name} is packed in an unusual way. Pack it as an ordinary zip (deflate).")
            if kind == "image" and entry.file_size > MAX_RATIO * max(entry.compress_size, 1_000):
                raise InputError(
                    f"{name} holds {_printable(entry.filename)!r}, which would grow from {entry.compress_size:,} to "
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

    def _add_image(self, name: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> None:
        if len(self.images) == MAX_IMAGES:
            raise InputError(f"These are more than {MAX_IMAGES:,} images, the most that are taken. Send fewer.")
        path, reason = self._reserve(name)
        self.images[path] = name
        if path.suffix.lower() in UNREADABLE:
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

    def _copy(self, stream: BinaryIO, file: BinaryIO) -> str | None:
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
            raise InputError(f"There are two tables, {self.table[1]} and {name}; keep one of them.")
        if len(content) > MAX_TABLE:
            raise InputError(f"{name} has more than {MAX_TABLE // MB} MB, the most that a table may have. Shorten it.")
        if (lines := content.count(b"\n")) > MAX_LINES:
            raise InputError(f"{name} has {lines:,} lines; a table may have {MAX_LINES:,}. Shorten it.")
        path = self.root / f"table{PurePosixPath(name).suffix.lower()}"
        path.write_bytes(_without_folders(content, name) if is_loose else content)
        start = self.folder if _unusable_name(name) else (self.folder / name).parent
        self.table = path, name, start

    def read_table(self) -> tuple[list[Pair], str | None]:
        """The pairs that the table lists, and which column has their classes."""
        path, name, start = self.table
        try:
            pairs, columns = read_pairs(path, start)
        except DatasetError as error:
            raise InputError(str(error).replace(str(path), name).replace(str(start), "the upload")) from error
        if sum(len(pair.texts) for pair in pairs) > MAX_LINES:
            raise InputError(f"{name} has more than {MAX_LINES:,} texts, the most that are taken. Shorten it.")
        for pair in pairs:
            for text in (*pair.texts, *pair.labels, pair.id):
                _check_text(text, f"{name}, line {pair.where.rpartition(' ')[2]}")
        return pairs, columns.label

    def check(self, path: Path) -> None:
        """Look into an image; one that cannot be used is removed."""
        if path not in self.refused:
            try:
                load_image(path)
                return
            except InputError as error:
                self.refused[path] = str(error).removeprefix(f"{path} ").rstrip(".")
        path.unlink(missing_ok=True)


class _Careful(io.FileIO):
    """A zip's file of which no reader takes much at once: the list of what is in it is read in one piece."""

    def __init__(self, path: Path, title: str):
        super().__init__(path)
        self.title = title

    def read(self, size: int = -1) -> bytes:
        if size > MAX_READ:
            raise InputError(f"{self.title} lists far too many files; at most {MAX_FILES:,} are taken. Send fewer.")
        return super().read(size)


def _table_of(archive: ZipFile, entry: ZipInfo, name: str) -> bytes:
    """The content of a table in a zip, or as much of it as shows that it is too large."""
    try:
        with archive.open(entry) as stream:
            return stream.read(MAX_TABLE + 1)
    except Exception as error:  # as above
        raise InputError(f"{name} is damaged in the zip. Pack it again.") from error


def _kind(name: str) -> Literal["image", "table", "hidden", "other"]:
    path = PurePosixPath(name.replace("\\", "/"))
    if any(part in LITTER or (part.startswith(".") and part != "..") for part in path.parts):
        return "hidden"
    suffix = path.suffix.lower()
    return "image" if suffix in (*IMAGES, *UNREADABLE) else "table" if suffix in TABLES else "other"


def _unusable_name(name: str) -> str | None:
    """Why no file may get this name; None when it may."""
    parts = [part.encode() for part in name.split("/")]
    if len(name.encode()) > LONGEST_NAME or max(map(len, parts)) > LONGEST_PART:
        return "its name is too long"
    if any(PurePosixPath(part.decode()).suffix.lower() in IMAGES for part in parts[:-1]):
        return "it lies in a folder that is called like an image"
    return unsafe_reason(name)


def _without_folders(content: bytes, name: str) -> bytes:
    """A table that names files as browsers send them: without the folders that they lay in.

    What cannot be read stays as it is, for `read_pairs` to say why.

    Raises:
        InputError: files of two folders have the same name.
    """
    whose: dict[str, str] = {}

    def bare(value: Any) -> Any:
        found = PurePosixPath(value.replace("\\", "/")).name if isinstance(value, str) else ""
        if found and whose.setdefault(found, value) != value:
            raise InputError(
                f"{name} names {value!r} and {whose[found]!r}, but browsers send files without their folders. Pack "
                "the folder as a zip."
            )
        return found or value

    try:
        text = content.decode("utf-8-sig")
        if name.lower().endswith(".csv"):
            return _bare_csv(text, bare).encode()
        return "\n".join(_bare_json(line, bare) for line in text.split("\n")).encode()
    except (UnicodeError, csv.Error):
        return content


def _bare_csv(text: str, bare: Callable[[Any], Any]) -> str:
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    header = [cell.strip() for cell in rows[0]] if rows else []
    column = next((header.index(known) for known in IMAGE_COLUMNS if known in header), None)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for number, row in enumerate(rows):
        if number and column is not None and column < len(row):
            row[column] = bare(row[column])
        writer.writerow(row)
    return out.getvalue()


def _bare_json(line: str, bare: Callable[[Any], Any]) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line
    known = next((known for known in IMAGE_COLUMNS if isinstance(row, dict) and known in row), None)
    return line if known is None else json.dumps({**row, known: bare(row[known])})


def _check_text(text: str, where: str) -> None:
    if len(text) > MAX_TEXT:
        raise InputError(f"{where}: a text has {len(text):,} characters; {MAX_TEXT:,} are allowed. Shorten it.")
    if text != _printable(text):
        raise InputError(f"{where}: {text[:60]!r} holds halves of letters. Save the table again, as UTF-8.")


def _name_of(file: Mapping[str, Any]) -> str:
    """How the sender calls a file; browsers give no folders."""
    return _printable(PurePosixPath((file.get("orig_name") or file["path"]).replace("\\", "/")).name) or "a file"


def _printable(name: str) -> str:
    """Without halves of letters, which neither file systems nor Parquet can hold."""
    return name.encode("utf-8", "replace").decode()
