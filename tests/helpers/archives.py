"""Small archives in the layouts of official ones: path -> content, packed or laid out as if unpacked."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from cmr_hub.data import info

Entries = Mapping[str, bytes | str]


def jpeg(red: int = 0, size: int = 8) -> bytes:
    """An image in one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, 0)).save(buffer, "jpeg")
    return buffer.getvalue()


def zip_of(entries: Entries) -> bytes:
    """A ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(entries: Entries) -> bytes:
    """A TAR archive, compressed by gzip."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in entries.items():
            content = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def entries_of(folder: Path, pattern: str = "**/*") -> Entries:
    """What files in a folder would be in an archive."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def write_lines(path: Path, lines: Iterable[object], encoding: str = "utf-8") -> Path:
    """A text file, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return path


def lay_out(folder: Path, entries: Entries) -> Path:
    """The same as files in a folder."""
    for name, content in entries.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def lay_out_mirflickr(root: Path, tags: Mapping[int, Iterable[str]]) -> Path:
    """Images with their tags as MIRFlickr-25K's archives have them, none of any concept; all tags are common ones."""
    common = sorted({tag for of_image in tags.values() for tag in of_image})
    write_lines(root / "mirflickr" / "doc" / "common_tags.txt", [f"{tag} 20" for tag in common])
    for number, of_image in tags.items():
        lay_out(root, {f"mirflickr/im{number}.jpg": jpeg()})
        write_lines(root / "mirflickr" / "meta" / "tags" / f"tags{number}.txt", of_image)
        write_lines(root / "mirflickr" / "meta" / "exif" / f"exif{number}.txt", ["camera"])
    for concept in info("mirflickr").classes:
        write_lines(root / f"{concept}.txt", [])
    return root


def save_mat(path: Path, arrays: Mapping[str, np.ndarray], version: str) -> Path:
    """A file of one of MATLAB's versions; "7.3" is HDF5 behind 512 bytes of MATLAB's own, with the axes reversed."""
    if version == "5":
        savemat(path, arrays, do_compression=True)
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, array in arrays.items():
                file[name] = array.T
    return path
