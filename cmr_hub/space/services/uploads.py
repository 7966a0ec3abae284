"""From files that anybody may have sent to items of a gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from datasets import Dataset, Image

from cmr_hub.data.folder import Folder, class_folders
from cmr_hub.data.table import to_dataset
from cmr_hub.errors import InputError
from cmr_hub.retrieval.gallery_sources import Source, open_source
from cmr_hub.utils.images import FORMATS, MAX_PIXELS
from cmr_hub.utils.messages import name_some

from .unpacking import MAX_IMAGE, MAX_IMAGES, MAX_UNPACKED, Step, Unpacked
from .upload_tables import MAX_LINES, MAX_TABLE, MAX_TEXT, MB, printable

MIN_IMAGES = 3  # of fewer there is nothing to choose among

LIMITS = (
    f"At most {MAX_IMAGES:,} images ({', '.join(FORMATS)}) of up to {MAX_IMAGE // MB} MB and "
    f"{MAX_PIXELS // MB} megapixels each, {MAX_UNPACKED // MB} MB together; a table of up to {MAX_LINES:,} lines and "
    f"{MAX_TABLE // MB} MB, texts of up to {MAX_TEXT:,} characters; up to 100 MB a file."
)


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
    unpacked = Unpacked(folder.resolve())
    for done, file in enumerate(files):
        unpacked.add(Path(file["path"]), _name_of(file), part_of(step, 0.5 * done / len(files), 0.5 / len(files)))
    if not unpacked.images:
        raise InputError(
            f"There is no image in {name_some(map(_name_of, files)) or 'nothing'}. Choose images "
            f"({', '.join(FORMATS)}) or a zip of them; a table only says what they show."
        )
    if unpacked.workbook and not unpacked.table:
        raise InputError(f"{unpacked.workbook} is not read: save it as CSV ('CSV UTF-8'), and send that in its place.")
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
        source = _without_table(unpacked.folder)
    else:
        kept = [replace(pair, split=None) for pair in pairs if pair.path not in unpacked.refused]
        source = open_source(to_dataset(Folder.info, kept, label_column, None, lambda item: "test"))
    return Upload(source.read(0, len(source)), left_out, unlisted, unpacked.skipped)


def _without_table(folder: Path) -> Source:
    """The images of a folder; where each is in the folder of its class, with classes."""
    classes = class_folders(folder)
    if not classes:
        return open_source(folder)
    names, labels = zip(*classes, strict=True)
    columns = {"id": names, "image": [str(folder / name) for name in names], "label": labels}
    return open_source(Dataset.from_dict(columns).cast_column("image", Image()))


def part_of(step: Step, start: float, share: float) -> Step:
    """What a part of the work tells its progress to, that goes from `start` over a share of the whole."""
    return lambda fraction, what: step(start + share * fraction, what)


def _name_of(file: Mapping[str, Any]) -> str:
    """How the sender calls a file; browsers give no folders."""
    return printable(PurePosixPath((file.get("orig_name") or file["path"]).replace("\\", "/")).name) or "a file"
