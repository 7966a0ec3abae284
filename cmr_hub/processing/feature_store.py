"""Features of frozen encoders, kept on disk so that no image is ever encoded twice by the same encoder.

The store is addressed by content: an encoder's fingerprint names a folder, the digest of an input's bytes names a row.
A data set that grows, moves or shares images with another costs only what is new, and an interrupted extraction goes
on where it stopped. The features of the embedded emoji images ship with the package in the same format.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from cmr_hub.encoders.base import Encoder, input_position
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.utils.damaged import set_aside
from cmr_hub.utils.deprecation import renamed_arguments
from cmr_hub.utils.files import atomic_file, cache_folder
from cmr_hub.utils.images import load_image, read_file, turned
from cmr_hub.utils.processes import Process

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "shipped_features"
SHARD_ROWS = 1024
DIGEST_BYTES = 16
CHECKSUM = "xxh3_128"  # key in a shard's metadata; those of before version 0.2 have none


def content_digest(source: Any) -> bytes:
    """Digest of an input's content: a text, an image file, a `datasets` image record, a PIL image or an array.

    Strings and paths are image files.

    Raises:
        InputError: there is no such file, or it is empty or too large.
    """
    if isinstance(source, dict):
        source = source["bytes"] if source.get("bytes") is not None else Path(source["path"])
    if isinstance(source, Image.Image):
        source = load_image(source)  # its palette, transparency and orientation are content too
        source = f"{source.mode}{source.size}".encode() + source.tobytes()
    elif isinstance(source, np.ndarray):
        source = f"{source.dtype}{source.shape}".encode() + source.tobytes()
    elif isinstance(source, str | os.PathLike):
        source = read_file(source)
    return hashlib.sha256(source).digest()[:DIGEST_BYTES]


class StoredFeatures:
    """Features of `n` images that stay on disk, mapped into memory, until rows of them are asked for.

    Args:
        rows: the images' features in half precision, all of one shape.

    Example:
    ```python
    >>> features = StoredFeatures([torch.zeros(49, 1280).half()] * 3)
    >>> len(features), features[[0, 2]].shape, features[1:].dtype
    (3, torch.Size([2, 49, 1280]), torch.float32)
    ```
    """

    def __init__(self, rows: Sequence[torch.Tensor]):
        self._rows = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Float32 features of one row, or of several stacked."""
        if isinstance(index, torch.Tensor):
            index = index.tolist()
        if isinstance(index, int):
            return self._rows[index].float()
        chosen = self._rows[index] if isinstance(index, slice) else [self._rows[row] for row in index]
        return torch.stack(chosen).float() if chosen else torch.empty(0)


class StoredViews:
    """Features of `n` images in several views, of which each row that is asked for is one at random (torch's).

    Args:
        views: of the same images in the same order.
    """

    def __init__(self, views: Sequence[StoredFeatures]):
        self._views = views

    def __len__(self) -> int:
        return len(self._views[0])

    def __getitem__(self, index: int | slice | Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Float32 features of one row, or of several stacked."""
        rows = torch.arange(len(self))[index]
        if not rows.ndim:
            return self[rows[None]][0]
        chosen = torch.randint(len(self._views), (len(rows),)).tolist()
        return torch.stack([self._views[view][row] for view, row in zip(chosen, rows.tolist(), strict=True)])


class FeatureStore:
    """Images' features of one encoder, in half precision, as shards of 1,024 rows.

    What comes out is rounded to half precision whether it was stored before or not, so that a result never depends on
    what happened to be cached. Shards are mapped into memory, not read: what is not asked for takes none.

    Args:
        encoder: whose features they are.
        folder: where stores are kept; by default in the cache.
        augmentation: how each image is turned before it is encoded; see [`~cmr_hub.utils.images.turned`].

    Example:
    ```python
    >>> from cmr_hub.encoders import create_encoder
    >>> from cmr_hub.processing.feature_store import FeatureStore
    >>> encoder = create_encoder("image", "efficientnet-lite0")
    >>> FeatureStore(encoder).encode(["a.jpg", "b.jpg"])  # doctest: +SKIP
    ```
    """

    @renamed_arguments(turn="augmentation")
    def __init__(self, encoder: Encoder, folder: str | os.PathLike | None = None, augmentation: str | None = None):
        self.encoder, self.augmentation = encoder, augmentation
        name = f"{encoder.name.replace('/', '-')}-{encoder.fingerprint}" + (f"-{augmentation}" if augmentation else "")
        self.folder = Path(folder or cache_folder("features")) / name
        self._rows: dict[bytes, torch.Tensor] = {}
        self._shard_of: dict[bytes, Path] = {}
        self._shards: set[Path] = set()
        self._unchecked: dict[Path, tuple[Mapping[str, torch.Tensor], str | None]] = {}  # shards not looked at yet
        shipped = SHIPPED / f"{self.folder.name}.safetensors"
        if shipped.exists():
            self._read(shipped)
        self._read_folder()

    def __len__(self) -> int:
        return len(self._rows)

    def encode(self, images: Sequence[Any], *, show_progress: bool = False) -> torch.Tensor:
        """Features of `n` images, all in memory: as the encoder gives them, but rounded to half precision.

        Raises:
            InputError: an image cannot be used; everything before it is stored already.
        """
        return self.stored(images, show_progress=show_progress)[:]

    def stored(self, images: Sequence[Any], *, show_progress: bool = False) -> StoredFeatures:
        """Features of `n` images, encoded where the store lacks them; in the order of `images`.

        Raises:
            InputError: an image cannot be used; everything before it is stored already.
        """
        digests = _digests(images, show_progress)
        self._encode_missing(dict(zip(digests, images, strict=True)), show_progress)
        return StoredFeatures([self._rows[digest] for digest in digests])

    def extract(self, images: Sequence[Any], process: Process) -> None:
        """Encode what the store lacks of `n` images by several processes, and show progress.

        Each process encodes a share of the distinct images.

        Args:
            images: the same in every process, each of which must call this.
            process: which of them this is.

        Raises:
            InputError: an image cannot be used; everything before it is stored already.
            OtherProcessError: one of another process's share cannot be used.
        """
        by_digest = dict(zip(_digests(images, process.is_main), images, strict=True))
        own = {digest: by_digest[digest] for digest in process.share(list(by_digest))}
        process.gather(lambda: self._encode_missing(own, process.is_main))
        self._read_folder()
        if lacking := len(by_digest.keys() - self._rows.keys()):
            logger.warning(
                "%d of %d images that other processes have encoded are not in %s: let $CMR_HUB_CACHE be a folder "
                "that all machines reach, or each encodes all of them.",
                lacking,
                len(by_digest),
                self.folder,
            )

    def export(self, images: Sequence[Any], path: Path) -> Path:
        """Write the features of these images, and of no others, as one file in the store's format."""
        self.encode(images, show_progress=True)
        digests = list(dict.fromkeys(content_digest(image) for image in images))
        _save(path, digests, torch.stack([self._rows[digest] for digest in digests]))
        return path

    def _encode_missing(self, images: Mapping[bytes, Any], show_progress: bool) -> None:
        """Encode and write what is not stored yet of images by their digests."""
        self._drop_damaged(images)
        missing = [digest for digest in images if digest not in self._rows]
        if missing:
            logger.info("%d of %d images are new to %s", len(missing), len(images), self.encoder.name)
        with tqdm(
            total=len(missing), desc=self.encoder.name, unit="img", disable=not show_progress or not missing
        ) as bar:
            for start in range(0, len(missing), SHARD_ROWS):
                shard = missing[start : start + SHARD_ROWS]
                self._write(shard, self._encode_new([images[digest] for digest in shard], bar))

    def _encode_new(self, images: Sequence[Any], bar: tqdm) -> torch.Tensor:
        batches = []
        for start in range(0, len(images), 64):
            batch = images[start : start + 64]
            if self.augmentation:
                batch = _Turned(batch, self.augmentation)
            batches.append(self.encoder.encode(batch))
            bar.update(len(batches[-1]))
        return torch.cat(batches)

    def _read_folder(self) -> None:
        """Read the shards that this process has not read or written yet."""
        for path in sorted(set(self.folder.glob("*.safetensors")) - self._shards):
            self._read(path)

    def _read(self, path: Path) -> None:
        """Take the rows of a shard; one that is damaged is set aside.

        Raises:
            CheckpointError: it cannot be opened.
        """
        self._shards.add(path)
        if path.exists() and not (path.is_file() or path.is_dir()):  # opening a pipe would wait for ever
            _set_aside(path, "is no regular file")
            return
        try:
            with safe_open(path, framework="pt") as file:
                shard = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
                checksum = (file.metadata() or {}).get(CHECKSUM)
        except FileNotFoundError:  # another process has set it aside
            return
        except SafetensorError as error:
            _set_aside(path, f"cannot be read ({error})")
            return
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read: {error}. Make it readable, or remove it: its features are then computed anew."
            ) from error
        if reason := self._damage(shard):
            _set_aside(path, reason)
            return
        digests = _as_digests(shard["digests"])
        self._rows.update(zip(digests, shard["features"], strict=True))
        self._shard_of.update(dict.fromkeys(digests, path))
        self._unchecked[path] = shard, checksum

    def _damage(self, shard: Mapping[str, torch.Tensor]) -> str | None:
        """What is wrong with the arrays of a shard, without reading their values."""
        if set(shard) != {"digests", "features"}:
            return f"holds the arrays {', '.join(sorted(shard)) or 'none'} instead of digests and features"
        digests, features = shard["digests"], shard["features"]
        rows = features.shape[:1]
        if digests.dtype != torch.uint8 or digests.shape != (*rows, DIGEST_BYTES):
            return f"has digests of {digests.dtype} and shape {tuple(digests.shape)} for {rows.numel()} rows"
        grid = getattr(self.encoder, "grid", None)
        shape = (self.encoder.dim,) if grid is None else (grid**2, self.encoder.dim)
        if features.dtype != torch.float16 or features.shape[1:] != shape:
            return f"has rows of {features.dtype} and shape {tuple(features.shape[1:])} instead of {shape}"
        return None

    def _drop_damaged(self, digests: Collection[bytes]) -> None:
        """Set the shards of these rows aside whose values are not those that were written; each is read once."""
        asked = {self._shard_of[digest] for digest in digests if digest in self._shard_of}
        for path in sorted(asked & self._unchecked.keys()):
            if reason := _fault(*self._unchecked.pop(path)):
                for digest in [digest for digest, shard in self._shard_of.items() if shard == path]:
                    del self._rows[digest], self._shard_of[digest]
                _set_aside(path, reason)

    def _write(self, digests: Sequence[bytes], features: torch.Tensor) -> None:
        features = features.half()
        if not _is_finite(features):
            broken = (~features.flatten(1).isfinite().all(dim=1)).sum().item()
            raise InputError(
                f"{self.encoder.name} gives values that are not finite, in half precision, for {broken} of "
                f"{len(features)} images: its weights may be damaged."
            )
        path = self.folder / f"{hashlib.sha256(b''.join(digests)).hexdigest()[:16]}.safetensors"
        _save(path, digests, features)
        self._read(path)


def _set_aside(path: Path, reason: str) -> None:
    """Let nothing read a damaged shard again; what ships with the package is left as it is."""
    if path.parent == SHIPPED:
        logger.warning("%s %s: install cmr_hub again. Its features are computed anew.", path, reason)
    else:
        set_aside(path, reason)


def _fault(shard: Mapping[str, torch.Tensor], checksum: str | None) -> str | None:
    """What is wrong with the values of a shard."""
    if not _is_finite(shard["features"]):
        return "holds values that are not finite"
    if checksum is not None and checksum != _checksum(shard):
        return "holds other values than were written"
    return None


def _checksum(shard: Mapping[str, torch.Tensor]) -> str:
    digest = xxhash.xxh3_128()
    for name in ("digests", "features"):
        digest.update(shard[name].contiguous().numpy().data)
    return digest.hexdigest()


def _is_finite(features: torch.Tensor) -> bool:
    """Whether all values are numbers: NaN goes into the least and the greatest."""
    return not features.numel() or bool(torch.stack(torch.aminmax(features)).isfinite().all())


class _Turned(Sequence[Image.Image]):
    """Images mirrored or turned, each decoded when it is asked for: a batch of large ones would take gigabytes."""

    def __init__(self, images: Sequence[Any], augmentation: str):
        self._images, self._augmentation = images, augmentation

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        return turned(load_image(self._images[index]), self._augmentation)


def _save(path: Path, digests: Sequence[bytes], features: torch.Tensor) -> None:
    rows = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).reshape(-1, DIGEST_BYTES)
    shard = {"digests": rows, "features": features}
    with atomic_file(path) as scratch:
        save_file(shard, scratch, {CHECKSUM: _checksum(shard)})


def _digests(images: Sequence[Any], show_progress: bool) -> list[bytes]:
    digests = []
    for index, image in enumerate(tqdm(images, "Reading images", disable=not show_progress)):
        with input_position("image", index, len(images)):
            digests.append(content_digest(image))
    return digests


def _as_digests(rows: torch.Tensor) -> list[bytes]:
    return [bytes(row) for row in rows.numpy()]
