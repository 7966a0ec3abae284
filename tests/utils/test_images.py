"""Every kind of image that a user may bring, and every kind that must be refused."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.utils.images import load_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_accepted_format_opens_as_rgb(format):
    loaded = load_image(encoded(Image.new("RGB", (30, 20), RED), format))
    assert (loaded.mode, loaded.size) == ("RGB", (30, 20))
    assert np.abs(np.subtract(loaded.getpixel((15, 10)), RED)).max() <= 2


def test_every_kind_of_source_gives_the_same_image(tmp_path):
    image = noise()
    content = encoded(image, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    sources = [
        path,
        str(path),
        content,
        bytearray(content),
        image,
        np.asarray(image),
        {"path": None, "bytes": content},
        {"path": str(path), "bytes": None},
    ]
    for source in sources:
        assert np.array_equal(load_image(source), image)


def test_the_result_is_independent_of_the_source():
    image = Image.new("RGB", (4, 4), RED)
    load_image(image).putpixel((0, 0), WHITE)
    assert image.getpixel((0, 0)) == RED


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, "blue", "green")]
    for format in ("GIF", "WEBP"):
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **lossless(format))
        assert load_image(content).getpixel((4, 4)) == RED


def lossless(format: str) -> dict:
    return {"lossless": True} if format == "WEBP" else {}


def test_cmyk_becomes_rgb():
    loaded = load_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(np.subtract(loaded.getpixel((8, 8)), RED)).max() <= 8


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(format):
    grey = np.array([[0, 1000, 32768, 65535]], np.uint16)
    loaded = load_image(encoded(Image.fromarray(grey), format))
    assert np.asarray(loaded)[0, :, 0].tolist() == [0, 4, 128, 255]


def test_floating_point_grey_lies_in_0_to_1():
    loaded = load_image(encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF"))
    assert np.asarray(loaded)[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(InputError, match=r"grey values from -1.0 to 9.0, outside 0 to 1"):
        load_image(Image.fromarray(np.array([[-1.0, 9.0]], np.float32)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_over_white(mode):
    clear, half = Image.new(mode, (4, 4)), Image.new(mode, (4, 4), (0,) * (len(mode) - 1) + (128,))
    assert load_image(encoded(clear, "PNG")).getpixel((0, 0)) == WHITE
    assert load_image(encoded(half, "PNG")).getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 1), 1)
    loaded = load_image(encoded(image, "PNG", transparency=0))
    assert loaded.getpixel((0, 0)) == WHITE
    assert loaded.getpixel((1, 1)) == RED


def test_palette_and_1_bit_images():
    assert load_image(encoded(Image.new("RGB", (4, 4), RED).quantize(2), "PNG")).getpixel((0, 0)) == RED
    assert load_image(encoded(Image.new("1", (4, 4), 1), "PNG")).getpixel((0, 0)) == WHITE


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (40, 20), "blue")
    image.paste(RED, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left of what is stored is the top
    loaded = load_image(encoded(image, "JPEG", exif=exif, quality=95))
    assert loaded.size == (20, 40)
    assert np.argmax(loaded.getpixel((10, 5))) == 0
    assert np.argmax(loaded.getpixel((10, 35))) == 2


def test_a_large_jpeg_is_decoded_smaller_when_a_side_is_enough():
    content = encoded(noise().resize((1600, 1200)), "JPEG")
    assert load_image(content, min_side=256).size == (400, 300)
    assert load_image(content).size == (1600, 1200)
    assert load_image(encoded(noise(), "JPEG"), min_side=256).size == (64, 48)


@pytest.mark.parametrize(
    "array",
    [
        np.full((2, 3), 255, np.uint8),
        np.full((2, 3, 3), 255, np.uint8),
        np.full((2, 3, 4), 255, np.uint8),
        np.ones((2, 3), np.float64),
        np.ones((2, 3, 3), np.float32),
    ],
)
def test_arrays(array):
    loaded = load_image(array)
    assert loaded.size == (3, 2)
    assert loaded.getpixel((0, 0)) == WHITE


def test_an_array_with_alpha_is_composited_over_white():
    assert load_image(np.zeros((1, 1, 4), np.uint8)).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), 255.0), r"go from 255 to 255.*Divide by 255"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\).*channels last"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        load_image(array)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    for source in (path, b"", {"bytes": b"", "path": None}):
        with pytest.raises(InputError, match="0 bytes"):
            load_image(source)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("these are words")
    with pytest.raises(InputError, match=r"notes.jpg is not an image.*JPEG, PNG"):
        load_image(path)


def test_svg_is_refused():
    with pytest.raises(InputError, match="SVG"):
        load_image(b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')


def test_a_format_outside_the_list_is_refused():
    with pytest.raises(InputError, match="not an image"):
        load_image(encoded(noise(), "PPM"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(format, share):
    content = encoded(noise(), format)
    with pytest.raises(InputError, match=r"truncated or damaged|not an image"):
        load_image(content[: int(len(content) * share)])


def test_a_lazily_opened_truncated_image_is_refused():
    content = encoded(noise(), "JPEG")
    with pytest.raises(InputError, match="truncated"):
        load_image(Image.open(io.BytesIO(content[: len(content) // 2])))


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_100_megapixels_are_refused_before_decoding(size):
    content = png_header(*size)
    assert len(content) < 100
    with pytest.raises(InputError, match="pixels"):
        load_image(content)


def test_a_pil_image_of_too_many_pixels_is_refused():
    with pytest.raises(InputError, match="10 x 10 pixels, more than the 50"):
        load_image(Image.new("1", (10, 10)), max_pixels=50)


def test_a_file_of_too_many_bytes_is_refused(tmp_path):
    path = tmp_path / "huge.bmp"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(InputError, match="65 MiB, more than the 64 MiB"):
        load_image(path)


@pytest.mark.parametrize(
    "url", ["https://example.org/a.jpg", "HTTP://127.0.0.1/a", "file:///etc/passwd", "data:image/png,"]
)
def test_urls_are_never_fetched(url):
    with pytest.raises(InputError, match="never fetched"):
        load_image(url)


@pytest.mark.parametrize("path", ["/nowhere/a.jpg", "", "a\0b", "x" * 5000, Path("nowhere")])
def test_paths_that_lead_to_no_file(path):
    with pytest.raises(InputError, match=r"no file at|not a file's path"):
        load_image(path)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(InputError, match="no file at"):
        load_image(tmp_path)


@pytest.mark.parametrize("source", [None, 5, ["a.jpg"], {"path": None, "bytes": None}])
def test_other_things_are_no_images(source):
    with pytest.raises(InputError, match="cannot be made from"):
        load_image(source)
