"""Features of frozen encoders, kept on disk so that no image or text is ever encoded twice by the same encoder.

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
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from cmr_hub.encoders.base import Encoder, check_texts, input_position
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
    """Digest of an image's content: a file, a `datasets` image record, a PIL image or an array.

    Strings and paths are files.

    Raises:
        InputError: there is no image or no such file, or it is empty or too large.
    """
    if isinstance(source, dict):
        source = source["bytes"] if source.get("bytes") is not None else source["path"]
    if source is None:
        raise InputError("there is no image. Leave the item out.")
    if isinstance(source, Image.Image):
        source = load_image(source)  # its palette, transparency and orientation are content too
        source = f"{source.mode}{source.size}".encode() + source.tobytes()
    elif isinstance(source, np.ndarray):
        source = f"{source.dtype}{source.shape}".encode() + source.tobytes()
    elif isinstance(source, str | os.PathLike):
        source = read_file(source)
    return hashlib.sha256(source).digest()[:DIGEST_BYTES]


def text_digest(text: str) -> bytes:
    """Digest of a text."""
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]


class StoredFeatures:
    """Features of `n` images or texts that stay on disk, mapped into memory, until rows of them are asked for.

    Args:
        rows: the inputs' features in half precision, all of one shape; or of texts' words `(words, dim)` each, which
            come padded with zeros to the longest of those that are asked for.

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
        return pad_sequence(chosen, batch_first=True).float() if chosen else torch.empty(0)


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
    """Images' or texts' features of one encoder, in half precision, as shards of 1,024 rows.

    What comes out is rounded to half precision whether it was stored before or not, so that a result never depends on
    what happened to be cached. Shards are mapped into memory, not read: what is not asked for takes none. Equal inputs
    are encoded once, and texts of about one length together.

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
        self._noun = f"{encoder.modality}s"
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

    def encode(self, inputs: Sequence[Any], *, show_progress: bool = False) -> torch.Tensor:
        """Features of `n` images or texts, all in memory: as the encoder gives them, but rounded to half precision.

        Raises:
            InputError: an input cannot be used; everything before it is stored already.
        """
        return self.stored(inputs, show_progress=show_progress)[:]

    def stored(self, inputs: Sequence[Any], *, show_progress: bool = False) -> StoredFeatures:
        """Features of `n` images or texts, encoded where the store lacks them; in the order of `inputs`.

        Raises:
            InputError: an input cannot be used; everything before it is stored already.
        """
        digests = self._digests(inputs, show_progress)
        self._encode_missing(dict(zip(digests, inputs, strict=True)), show_progress)
        return StoredFeatures([self._rows[digest] for digest in digests])

    def extract(self, inputs: Sequence[Any], process: Process) -> None:
        """Encode what the store lacks of `n` images or texts by several processes, and show progress.

        Each process encodes a share of the distinct ones.

        Args:
            inputs: the same in every process, each of which must call this.
            process: which of them this is.

        Raises:
            InputError: an input cannot be used; everything before it is stored already.
            OtherProcessError: one of another process's share cannot be used.
        """
        by_digest = dict(zip(self._digests(inputs, process.is_main), inputs, strict=True))
        own = {digest: by_digest[digest] for digest in process.share(list(by_digest))}
        process.gather(lambda: self._encode_missing(own, process.is_main))
        self._read_folder()
        if lacking := len(by_digest.keys() - self._rows.keys()):
            logger.warning(
                "%d of %d %s that other processes have encoded are not in %s: let $CMR_HUB_CACHE be a folder "
                "that all machines reach, or each encodes all of them.",
                lacking,
                len(by_digest),
                self._noun,
                self.folder,
            )

    def export(self, inputs: Sequence[Any], path: Path) -> Path:
        """Write the features of these images or texts, and of no others, as one file in the store's format."""
        self.encode(inputs, show_progress=True)
        digests = list(dict.fromkeys(self._digests(inputs, show_progress=False)))
        _save(path, digests, self._arrays([self._rows[digest] for digest in digests]))
        return path

    def _digests(self, inputs: Sequence[Any], show_progress: bool) -> list[bytes]:
        if self.encoder.modality == "text":
            return [text_digest(text) for text in check_texts(inputs)]
        digests = []
        for index, image in enumerate(tqdm(inputs, "Reading images", disable=not show_progress)):
            with input_position("image", index, len(inputs)):
                digests.append(content_digest(image))
        return digests

    def _encode_missing(self, inputs: Mapping[bytes, Any], show_progress: bool) -> None:
        """Encode and write what is not stored yet of inputs by their digests."""
        self._drop_damaged(inputs)
        missing = [digest for digest in inputs if digest not in self._rows]
        if self.encoder.modality == "text":  # little is computed, and stored, on padding
            missing.sort(key=lambda digest: len(inputs[digest]))
        if missing:
            logger.info("%d of %d %s are new to %s", len(missing), len(inputs), self._noun, self.encoder.name)
        with tqdm(
            total=len(missing), desc=self.encoder.name, unit=self._noun, disable=not show_progress or not missing
        ) as bar:
            for start in range(0, len(missing), SHARD_ROWS):
                shard = missing[start : start + SHARD_ROWS]
                self._write(shard, self._encode_new([inputs[digest] for digest in shard], bar))

    def _encode_new(self, inputs: Sequence[Any], bar: tqdm) -> list[torch.Tensor]:
        """The features of each of some inputs."""
        rows: list[torch.Tensor] = []
        for start in range(0, len(inputs), 64):
            batch = inputs[start : start + 64]
            if self.augmentation:
                batch = _Turned(batch, self.augmentation)
            features = self.encoder.encode(batch)
            if self.encoder.is_ragged:
                rows.extend(row[:length] for row, length in zip(features, row_lengths(features), strict=True))
            else:
                rows.extend(features)
            bar.update(len(features))
        return rows

    def _arrays(self, rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """What a shard holds of these features."""
        if self.encoder.is_ragged:
            return {"features": torch.cat(list(rows)).half(), "lengths": torch.tensor([len(row) for row in rows])}
        return {"features": torch.stack(list(rows)).half()}

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
        rows = shard["features"].split(shard["lengths"].tolist()) if self.encoder.is_ragged else shard["features"]
        self._rows.update(zip(digests, rows, strict=True))
        self._shard_of.update(dict.fromkeys(digests, path))
        self._unchecked[path] = shard, checksum

    def _damage(self, shard: Mapping[str, torch.Tensor]) -> str | None:
        """What is wrong with the arrays of a shard, without reading the values of features."""
        names = {"digests", "features", *(["lengths"] if self.encoder.is_ragged else [])}
        if set(shard) != names:
            return f"holds the arrays {', '.join(sorted(shard)) or 'none'} instead of {', '.join(sorted(names))}"
        digests, features, lengths = shard["digests"], shard["features"], shard.get("lengths")
        count = features.shape[:1].numel() if lengths is None else lengths.numel()
        if digests.dtype != torch.uint8 or digests.shape != (count, DIGEST_BYTES):
            return f"has digests of {digests.dtype} and shape {tuple(digests.shape)} for {count} rows"
        grid = getattr(self.encoder, "grid", None)
        shape = (self.encoder.dim,) if grid is None else (grid**2, self.encoder.dim)
        if features.dtype != torch.float16 or features.shape[1:] != shape:
            return f"has rows of {features.dtype} and shape {tuple(features.shape[1:])} instead of {shape}"
        if lengths is not None and not _are_lengths(lengths, len(features)):
            return f"has lengths that do not share out {len(features)} rows"
        return None

    def _drop_damaged(self, digests: Collection[bytes]) -> None:
        """Set the shards of these rows aside whose values are not those that were written; each is read once."""
        asked = {self._shard_of[digest] for digest in digests if digest in self._shard_of}
        for path in sorted(asked & self._unchecked.keys()):
            if reason := _fault(*self._unchecked.pop(path)):
                for digest in [digest for digest, shard in self._shard_of.items() if shard == path]:
                    del self._rows[digest], self._shard_of[digest]
                _set_aside(path, reason)

    def _write(self, digests: Sequence[bytes], rows: Sequence[torch.Tensor]) -> None:
        arrays = self._arrays(rows)
        if not _is_finite(arrays["features"]):
            broken = sum(not row.half().isfinite().all() for row in rows)
            raise InputError(
                f"{self.encoder.name} gives values that are not finite, in half precision, for {broken} of "
                f"{len(rows)} {self._noun}: its weights may be damaged."
            )
        path = self.folder / f"{hashlib.sha256(b''.join(digests)).hexdigest()[:16]}.safetensors"
        _save(path, digests, arrays)
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
    for name in sorted(shard):
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


def row_lengths(features: torch.Tensor) -> list[int]:
    """How many rows each of `(n, longest, dim)` features has, which zeros follow; at least one.

    Example:
    ```python
    >>> row_lengths(torch.tensor([[[1.0], [0.0], [2.0], [0.0]], [[0.0], [0.0], [0.0], [0.0]]]))
    [3, 1]
    ```
    """
    places = torch.arange(1, features.shape[1] + 1)
    return (features.any(dim=2) * places).amax(dim=1).clamp(min=1).tolist()


def _are_lengths(lengths: torch.Tensor, total: int) -> bool:
    """Whether these lengths share out so many rows."""
    is_list = lengths.dtype == torch.int64 and lengths.ndim == 1
    return is_list and bool((lengths > 0).all()) and int(lengths.sum()) == total


def _save(path: Path, digests: Sequence[bytes], arrays: Mapping[str, torch.Tensor]) -> None:
    rows = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).reshape(-1, DIGEST_BYTES)
    shard = {"digests": rows, **arrays}
    with atomic_file(path) as scratch:
        save_file(shard, scratch, {CHECKSUM: _checksum(shard)})


def _as_digests(rows: torch.Tensor) -> list[bytes]:
    return [bytes(row) for row in rows.numpy()]
