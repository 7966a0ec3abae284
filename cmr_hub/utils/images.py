"""Opening an image that may come from anyone: every source ends as one kind of image, or as one clear error."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, TiffImagePlugin, features

from cmr_hub.errors import BusyError, InputError, MissingExtraError, UnknownNameError
from cmr_hub.utils.extras import require
from cmr_hub.utils.memory import MemoryBudget

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
# What image files are called, HEIF included, whose reader is an extra.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".hif"),
)
# Images to people, of formats that are not read.
OTHER_SUFFIXES = (
    *(".svg", ".jxl", ".jp2", ".psd", ".ico", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),  # raw files of cameras
)
# The brands of ISO media files with images -> their formats; "mif1" may be either.
BRANDS: dict[bytes, tuple[str, ...]] = {
    **dict.fromkeys((b"avif", b"avis"), ("AVIF",)),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), ("HEIF",)),
    **dict.fromkeys((b"mif1", b"msf1"), ("HEIF", "AVIF")),
}
GREY_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners store in 16
MAX_PIXELS = 64_000_000
MAX_SIDE = 65_535  # pixels, the most that a JPEG can have; Pillow takes memory for each row of an image
MAX_BYTES = 64 * 2**20
MAX_SCANS = 100  # of a progressive JPEG, each of which takes as long as the whole image; encoders write about ten
MAX_SHARE = 4  # of a reduced image: the longer side in terms of `min_side`
BLOCK = 1024  # side of the pieces in which a large image is converted
WHOLE = 4_000_000  # pixels of an image that is converted in one piece
# One budget for everything that this process decodes at once.
DECODING = MemoryBudget(768 << 20)
START_OF_SCAN = b"\xff\xda"  # never within the data of a scan
ORIENTATION, TILE_WIDTH, TILE_LENGTH = 0x0112, 322, 323  # EXIF and TIFF tags
TURNS = {  # EXIF's orientation -> what makes such an image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
AUGMENTATIONS = {turn.name.lower(): turn for turn in Image.Transpose}

ImageSource = str | os.PathLike | bytes | Mapping[str, Any] | Image.Image | np.ndarray

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)


def load_image(
    source: ImageSource,
    *,
    min_side: int | None = None,
    reduce: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    to_rgb: bool = True,
) -> Image.Image:
    """Open an image as 8-bit RGB, upright.

    Files are trusted with nothing: their size, format and pixel count (as the header gives it) are checked before
    anything is decoded, and URLs are never fetched. What an image becomes:

    | the image is | the result is |
    |---|---|
    | animated (GIF, WEBP, TIFF pages) | its first frame; a PIL image gives the frame it stands at |
    | transparent (alpha, palette with a transparent colour) | composited over white |
    | CMYK, YCbCr, LAB, palette, 1-bit, grey | converted to RGB; colour profiles are ignored |
    | of 16 bits | scaled to 8 bits (65535 becomes 255), not clipped |
    | of 16 bits, of which 8, 10, 12 or 14 are in use | scaled by the largest value of so many bits |
    | rotated by EXIF | turned upright |
    | AVIF; HEIF (HEIC) | read by Pillow, and with the extra `heif` |
    | an array | `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, `uint8`, or floats in [0, 1] |

    Args:
        source: a path, a file's bytes, a PIL image, an array, or the `{"path", "bytes"}` of an undecoded
            `datasets.Image`.
        min_side: a large JPEG may be decoded at a half, a quarter or an eighth of its size, many times faster, as
            long as its shorter side keeps this many pixels.
        reduce: with `min_side`, scale other large images down too, by whole numbers, so that they take little memory:
            until the shorter side has less than twice `min_side` pixels and the longer one at most four times as many.
        max_pixels: more than this is refused before decoding.
        max_bytes: a larger file is refused before it is read.
        to_rgb: False leaves the image in the mode that it is stored in, palette and transparency included, except that
            grey of more than 8 bits is "L"; one that is scaled down is "RGBA" then, or "RGB" without transparency.

    Returns:
        An image of mode "RGB", independent of `source`.

    Raises:
        InputError: the source is not an image, or is one that is refused; the message says why and what to do.
        BusyError: so many large images are decoded at once that this one would wait long; only where `DECODING` limits
            waiting, as in the Space.

    Example:
    ```python
    >>> import numpy as np
    >>> from cmr_hub.utils.images import load_image
    >>> load_image(np.array([[0.0, 1.0]])).getpixel((1, 0))
    (255, 255, 255)
    ```
    """
    wanted = _Wanted(min_side, reduce, to_rgb)
    if isinstance(source, Image.Image):
        return _decoded(source, "the image", max_pixels, wanted)
    if isinstance(source, np.ndarray):
        return _decoded(_from_array(source), "the array", max_pixels, wanted)
    with _opened(source, max_bytes) as (file, name), _parsed(file, name, max_pixels) as image:
        return _decoded(image, name, max_pixels, wanted, draft=True)


def read_file(path: str | os.PathLike, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a local, regular file.

    Args:
        path: of the file.
        max_bytes: a larger file is refused before it is read.

    Raises:
        InputError: there is no such file, or it is empty, too large or not readable.
    """
    with _opened(path, max_bytes) as (file, _):
        return file.read(max_bytes)


def read_image_file(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of an image file, which is copied as it is.

    Args:
        path: of the file.
        max_pixels: more than this is refused.
        max_bytes: a larger file is refused before it is read.

    Raises:
        InputError: there is no such file, or its header is not that of an image that `load_image` accepts.
    """
    with _opened(path, max_bytes) as (file, name):
        with _parsed(file, name, max_pixels) as image:
            _check_pixels(image, name, max_pixels)
        file.seek(0)
        return file.read(max_bytes)


def turned(image: Image.Image, augmentation: str) -> Image.Image:
    """An image mirrored or turned by quarters.

    Args:
        image: any.
        augmentation: one of `AUGMENTATIONS`: "flip_left_right", "rotate_90" (anti-clockwise) …

    Raises:
        UnknownNameError: there is no such augmentation.
    """
    if augmentation not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", augmentation, AUGMENTATIONS)
    return image.transpose(AUGMENTATIONS[augmentation])


def _local_path(source: str | os.PathLike) -> Path:
    text = os.fspath(source)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if _URL.match(text):
        raise InputError(f"URLs are never fetched: {text[:200]!r}. Download the image and give its path.")
    try:
        if Path(text).is_file():
            return Path(text)
    except (OSError, ValueError) as error:  # a name too long, or with a NUL, is no file either
        raise InputError(f"{text[:200]!r} is not a file's path. Give the path of an image.") from error
    raise InputError(f"there is no file at {text[:200]!r}. Check the path, relative to {Path.cwd()}.")


def _check_size(size: int, name: str, max_bytes: int) -> None:
    if size == 0:
        raise InputError(f"{name} is empty (0 bytes). Fetch or save the image again.")
    if size > max_bytes:
        raise InputError(
            f"{name} has {size / 2**20:.0f} MiB, more than the {max_bytes / 2**20:.0f} MiB allowed. Save it smaller."
        )


@contextmanager
def _opened(source: Any, max_bytes: int) -> Iterator[tuple[BinaryIO, str]]:
    """The file of an image, and what messages call it."""
    if isinstance(source, Mapping):
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if isinstance(source, bytes | bytearray | memoryview):
        name = "the image's bytes"
        _check_size(memoryview(source).nbytes, name, max_bytes)
        yield io.BytesIO(source), name
    elif isinstance(source, str | os.PathLike):
        path = _local_path(source)
        _check_size(path.stat().st_size, str(path), max_bytes)
        try:
            file = path.open("rb")
        except PermissionError as error:
            raise InputError(f"{path} may not be read by this user. Change its permissions.") from error
        with file:
            yield file, str(path)
    else:
        raise InputError(
            f"an image cannot be made from {type(source).__name__}. Give a path, bytes, a PIL image or a numpy array."
        )


def _parsed(file: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """The image in a file, of which the header alone has been read."""
    formats = _formats_of(file, name)
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} declares too many pixels: at most {max_pixels:,} are allowed. Scale it.") from error
    except Exception as error:  # on a hostile file the format readers raise whatever their parsing runs into
        file.seek(0)
        kind = "an SVG drawing" if b"<svg" in file.read(4096).lower() else "not an image that can be read"
        raise InputError(f"{name} is {kind}. Accepted are {', '.join(FORMATS)}.") from error


def _formats_of(file: BinaryIO, name: str) -> tuple[str, ...]:
    """The formats that a file may have. The reader of HEIF is imported for such files alone.

    Raises:
        InputError: the reader is not installed.
    """
    head = file.read(12)
    file.seek(0)
    possible = BRANDS.get(head[8:], ()) if head[4:8] == b"ftyp" else FORMATS[:-2]
    if possible == ("AVIF",) and not features.check("avif"):
        raise InputError(f"{name} is an AVIF image, which this Pillow cannot read: pip install --upgrade pillow.")
    if "HEIF" in possible:
        try:
            _register_heif()
        except MissingExtraError as error:
            raise InputError(f"{name} cannot be read. {error} Or save it as JPEG.") from error
    return possible


@cache
def _register_heif() -> None:
    require("pillow_heif", "heif", "A HEIF image (HEIC)").register_heif_opener()


def _check_pixels(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if not width * height:
        raise InputError(f"{name} has no pixels ({width} x {height}).")
    if max(width, height) > MAX_SIDE:
        raise InputError(f"{name} has {width} x {height} pixels; a side may have {MAX_SIDE:,} at most. Crop it first.")
    if width * height > max_pixels:
        raise InputError(
            f"{name} has {width} x {height} pixels, more than the {max_pixels:,} allowed. Scale it down first."
        )


@dataclass(frozen=True)
class _Wanted:
    """What `load_image` is asked for; see there."""

    min_side: int | None
    reduce: bool
    to_rgb: bool

    def factor(self, width: int, height: int) -> int:
        """By how much both sides are divided."""
        if not (self.reduce and self.min_side):
            return 1
        short, long = sorted((width, height))
        return max(1, short // self.min_side, -(-long // (MAX_SHARE * self.min_side)))


def _decoded(image: Image.Image, name: str, max_pixels: int, wanted: _Wanted, draft: bool = False) -> Image.Image:
    _check_pixels(image, name, max_pixels)
    pixels = image.width * image.height
    try:
        _check_tiles(image, max_pixels)
        _check_scans(image)
        if draft and wanted.min_side:
            image.draft(None, (wanted.min_side, wanted.min_side))
        is_deep = _is_deep(image)
        with DECODING.hold(_decoding_bytes(image, pixels, wanted)):
            image.load()
            _check_pixels(image, name, max_pixels)  # of HEIF the header may say less than there is
            return _converted(image, wanted, _Depth.of(image, is_deep))
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    except BusyError:
        raise
    except Exception as error:  # as above: the decoders' errors are of every class
        raise InputError(f"{name} is truncated or damaged ({error}). Fetch or save it again.") from error


def _decoding_bytes(image: Image.Image, pixels: int, wanted: _Wanted) -> int:
    """About how much memory decoding and converting an image takes at most.

    Args:
        image: not decoded yet; a JPEG has the size already that it will be decoded at.
        pixels: in the file.
        wanted: what is made of it.
    """
    size = image.width * image.height
    if size <= WHOLE:
        decoded = 24 * size
    else:
        stored = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
        results = 8 * size // wanted.factor(*image.size) ** 2  # before and after it is turned upright
        decoded = size * stored + results
    coefficients = 2 * len(image.getbands())  # where they come in several scans
    extra = {
        "JPEG": coefficients,
        "MPO": coefficients,  # a JPEG with further pictures behind it
        "WEBP": 12,  # the decoder composes frames on two canvases, and gives a third
        "TIFF": 8,  # all may be one strip
        "GIF": 4,  # the first frame may become RGBA
        "AVIF": 8,  # the decoder's planes, and a copy of the result
        "HEIF": 8,  # likewise
        "BMP": 2,  # run lengths are decoded apart
    }
    return decoded + pixels * extra.get(image.format or "", 0)


def _check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles are larger than any image: one tile is decoded as a whole."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag) or 0 for tag in (TILE_WIDTH, TILE_LENGTH))
        if int(width) * int(height) > max_pixels:
            raise InputError(f"has tiles of {width} x {height} pixels. Save it with smaller ones.")


def _check_scans(image: Image.Image) -> None:
    """Refuse a progressive JPEG of so many scans that decoding a small file takes minutes."""
    if isinstance(image, JpegImagePlugin.JpegImageFile) and image.info.get("progressive") and image.fp is not None:
        start = image.fp.tell()
        image.fp.seek(0)
        scans = image.fp.read(MAX_BYTES).count(START_OF_SCAN)
        image.fp.seek(start)
        if scans > MAX_SCANS:
            raise InputError(f"is a JPEG of {scans:,} scans, and {MAX_SCANS} are allowed. Save it again.")


def _is_deep(image: Image.Image) -> bool:
    """Whether a file that is not decoded yet has colours of 16 bits, of which Pillow reads the upper 8."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    return any(";16" in str(tile[3]) for tile in tiles) and not image.mode.startswith("I")


@dataclass(frozen=True)
class _Depth:
    """How values of more than 8 bits become 8 bits.

    Attributes:
        top: of grey values the one that becomes white; None where the image has 8 bits.
        table: of colours what each value of each band becomes; None where they stay.
    """

    top: float | None = None
    table: tuple[int, ...] | None = None

    @classmethod
    def of(cls, image: Image.Image, is_deep: bool) -> _Depth:
        """Return what a decoded image needs.

        Args:
            image: decoded.
            is_deep: whether its values are the upper halves of 16 bits.

        Raises:
            InputError: its values are outside of the range that an image of its kind has.
        """
        if image.mode == "F" or image.mode.startswith("I"):
            values, largest = np.asarray(image), 1.0 if image.mode == "F" else 65535
            low, high = values.min(), values.max()
            if not (low >= 0 and high <= largest):  # also true of NaN
                raise InputError(
                    f"has grey values from {low} to {high}, outside 0 to {largest:g}. Scale them into that range."
                )
            return cls(top=largest if image.mode == "F" else _full_scale(int(high)))
        if not is_deep:
            return cls()
        highest = np.reshape(image.getextrema(), (-1, 2))[:, 1].tolist()
        colours = len(highest) - (image.mode[-1] in "Aa")  # and alpha, which may use other bits
        brightest = max(highest[:colours])
        if not brightest:
            raise InputError("has colours of 16 bits, and uses the lower 8 alone. Save it with 8 bits.")
        if _full_scale(brightest << 8) == 65535:
            return cls()
        tops = [brightest] * colours + highest[colours:]
        scales = [255 / max(1, _full_scale(top << 8) >> 8) for top in tops]
        return cls(table=tuple(min(255, round(value * scale)) for scale in scales for value in range(256)))

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the image, or a piece of it, with 8 bits."""
        if self.top is not None:
            return Image.fromarray(np.rint(np.asarray(image) * (255 / self.top)).astype(np.uint8))
        return image if self.table is None else image.point(self.table)


def _full_scale(value: int) -> int:
    """The largest value of the smallest depth in `GREY_DEPTHS` that has room for a value."""
    return next(2**depth - 1 for depth in GREY_DEPTHS if value < 2**depth)


def _converted(image: Image.Image, wanted: _Wanted, depth: _Depth) -> Image.Image:
    """What is asked for of a decoded image. One that is large is converted in pieces, to the same pixels."""
    factor = wanted.factor(*image.size)
    is_plain = not wanted.to_rgb or (image.mode == "RGB" and not image.has_transparency_data)
    if factor == 1 and (is_plain or image.width * image.height <= WHOLE):
        upright = depth.apply(ImageOps.exif_transpose(image))
        return _to_rgb(upright) if wanted.to_rgb else upright
    mode = "RGB" if wanted.to_rgb or not (image.has_transparency_data or image.mode == "P") else "RGBA"
    size = (-(-image.width // factor), -(-image.height // factor))
    result, step = Image.new(mode, size), max(1, BLOCK // factor) * factor
    for top in range(0, image.height, step):
        for left in range(0, image.width, step):
            block = depth.apply(image.crop((left, top, min(left + step, image.width), min(top + step, image.height))))
            block = _to_rgb(block) if mode == "RGB" else block.convert(mode)
            result.paste(block.reduce(factor) if factor > 1 else block, (left // factor, top // factor))
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    return result if turn is None else result.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        hint = " Move the channels last." if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise InputError(f"the array has shape {array.shape}, but an image is (H, W), (H, W, 3) or (H, W, 4).{hint}")
    if not array.size:
        raise InputError(f"the array has no pixels: its shape is {array.shape}.")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputError("the array holds NaN or infinite values. Replace them.")
        if array.min() < 0 or array.max() > 1:
            raise InputError(
                f"the array's floats go from {array.min():g} to {array.max():g}, but an image's lie in [0, 1]. "
                "Divide by 255, or give uint8."
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"the array is of {array.dtype}, but an image is of uint8, or of floats in [0, 1].")
    return Image.fromarray(np.ascontiguousarray(array))
