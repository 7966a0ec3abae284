"""Every kind of image that a user may bring, and every kind that must be refused."""

import io
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from cmr_hub.errors import InputError
from cmr_hub.utils import images
from cmr_hub.utils.images import load_image
from cmr_hub.utils.memory import MemoryBudget

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


def deep_png(values: np.ndarray) -> bytes:
    """`(H, W, bands)` values as a PNG of 16 bits; Pillow writes none in colour."""
    height, width, bands = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


HEIC = struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(12)


@pytest.fixture
def heif():
    """Pillow that also writes HEIF."""
    pytest.importorskip("pillow_heif").register_heif_opener()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
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


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIF", "TIFF", "PNG"])
def test_photos_of_phones_are_upright(format, heif):
    image = Image.new("RGB", (80, 40), "blue")
    image.paste(RED, (0, 0, 40, 40))
    loaded = load_image(encoded(image, format, exif=turned_upright(6)["exif"].tobytes()))
    assert loaded.size == (40, 80)
    assert np.argmax(loaded.getpixel((20, 10))) == 0
    assert np.argmax(loaded.getpixel((20, 70))) == 2


def test_photos_of_phones_under_another_name_are_read(tmp_path, heif):
    (tmp_path / "IMG_1.jpg").write_bytes(encoded(noise(), "HEIF", quality=90))
    assert load_image(tmp_path / "IMG_1.jpg").size == (64, 48)


def test_a_damaged_photo_of_a_phone_is_refused(heif):
    content = encoded(noise(), "HEIF")
    for damaged in (content[: len(content) // 2], HEIC):
        with pytest.raises(InputError, match=r"truncated or damaged|not an image"):
            load_image(damaged)


def test_a_photo_of_a_phone_names_the_extra_that_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(images, "_register_heif", images._register_heif.__wrapped__)
    with pytest.raises(InputError, match=r'the image.s bytes cannot be read.*pip install "cmr-hub\[heif\]"'):
        load_image(HEIC)


def test_an_avif_that_this_pillow_cannot_read_says_so(monkeypatch):
    content = encoded(noise(), "AVIF")
    monkeypatch.setattr(images.features, "check", lambda feature: False)
    with pytest.raises(InputError, match=r"AVIF image, which this Pillow cannot read: pip install --upgrade pillow"):
        load_image(content)


def test_a_film_is_no_image():
    with pytest.raises(InputError, match="not an image"):
        load_image(struct.pack(">I4s4s", 24, b"ftyp", b"isom") + bytes(12))


def test_cmyk_becomes_rgb():
    loaded = load_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(np.subtract(loaded.getpixel((8, 8)), RED)).max() <= 8


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(format):
    grey = np.array([[0, 1000, 32768, 65535]], np.uint16)
    loaded = load_image(encoded(Image.fromarray(grey), format))
    assert np.asarray(loaded)[0, :, 0].tolist() == [0, 4, 128, 255]


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_of_fewer_bits_is_scaled_by_these(format, bits):
    top = 2**bits - 1
    grey = np.array([[0, top // 2, top]], np.uint16)
    loaded = load_image(encoded(Image.fromarray(grey), format))
    np.testing.assert_allclose(np.asarray(loaded)[0, :, 0], [0, 127, 255], atol=1)


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_16_bit_colours_of_12_bits_are_scaled_by_these(bands):
    values = np.full((1, 3, bands), 65535)
    values[0, :, : bands - (bands != 3)] = np.array([0, 2048, 4095])[:, None]
    np.testing.assert_allclose(np.asarray(load_image(deep_png(values)))[0, :, 0], [0, 136, 255], atol=1)


def test_16_bit_colours_of_all_bits_stay():
    values = np.array([[[0, 0, 0], [2048, 32768, 65535]]])
    assert np.asarray(load_image(deep_png(values))).tolist() == [[[0, 0, 0], [8, 128, 255]]]


def test_16_bit_colours_whose_upper_half_is_empty_are_refused():
    with pytest.raises(InputError, match="uses the lower 8 alone"):
        load_image(deep_png(np.full((2, 2, 3), 200)))


def test_16_bit_grey_is_shown_as_it_is_read():
    shown = load_image(encoded(Image.fromarray(np.array([[0, 4095]], np.uint16)), "PNG"), to_rgb=False)
    assert (shown.mode, shown.getpixel((1, 0))) == ("L", 255)


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


def gradient(mode: str, width: int = 60, height: int = 42) -> Image.Image:
    """An image whose every pixel differs, with every degree of transparency where the mode has any."""
    values = np.random.default_rng(1).integers(0, 256, (height, width, max(1, len(mode))), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(values[..., 0].astype(np.float32) / 255)
    return Image.merge(mode, [Image.fromarray(band) for band in np.moveaxis(values, 2, 0)])


def palette(**info) -> Image.Image:
    image = gradient("RGB").quantize(16)
    image.info.update(info)
    return image


def turned_upright(orientation: int) -> dict:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


KINDS = {
    "grey": (lambda: gradient("L"), "PNG", {}),
    "1-bit": (lambda: gradient("L").convert("1"), "PNG", {}),
    "RGB": (lambda: gradient("RGB"), "PNG", {}),
    "RGB, one colour clear": (lambda: gradient("RGB").convert("P").convert("RGB"), "PNG", {"transparency": (0, 0, 0)}),
    "RGBA": (lambda: gradient("RGBA"), "PNG", {}),
    "LA": (lambda: gradient("LA"), "PNG", {}),
    "palette": (palette, "PNG", {}),
    "palette, one colour clear": (palette, "PNG", {"transparency": 3}),
    "16-bit": (lambda: gradient("I;16"), "PNG", {}),
    "12-bit": (lambda: gradient("I;16").point(lambda value: value * (1 / 16)), "PNG", {}),
    "floats": (lambda: gradient("F"), "TIFF", {}),
    "CMYK": (lambda: gradient("CMYK"), "JPEG", {}),
    "GIF": (palette, "GIF", {}),
    "WebP": (lambda: gradient("RGBA"), "WEBP", {"lossless": True}),
    **{f"turned {turn}": (lambda: gradient("RGBA"), "PNG", turned_upright(turn)) for turn in range(1, 9)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_image_is_converted_in_pieces_to_the_same_pixels(kind, monkeypatch):
    image, format, options = KINDS[kind]
    content = encoded(image(), format, **options)
    whole = load_image(content)
    monkeypatch.setattr(images, "WHOLE", 0)
    monkeypatch.setattr(images, "BLOCK", 16)
    pieces = load_image(content)
    assert (pieces.mode, pieces.size) == (whole.mode, whole.size)
    assert pieces.tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_image_is_scaled_down_where_that_is_enough(kind, monkeypatch):
    image, format, options = KINDS[kind]
    content = encoded(image(), format, **options)
    monkeypatch.setattr(images, "BLOCK", 16)
    reduced, whole = load_image(content, min_side=12, reduce=True), load_image(content)
    if format == "JPEG":
        assert reduced.size == (30, 21)  # by its own decoder, as ever
    else:
        assert reduced.tobytes() == whole.reduce(3).tobytes()


@pytest.mark.parametrize("size", [(4000, 10), (1, 4000), (47, 24), (48, 23), (23, 23), (49, 23), (250, 240)])
def test_neither_side_stays_long(size):
    short, long = sorted(load_image(Image.new("L", size), min_side=12, reduce=True).size)
    assert short < 24
    assert long <= 48


def test_small_images_and_those_for_an_encoder_are_not_scaled_down():
    content = encoded(gradient("RGBA"), "PNG")
    assert load_image(content, min_side=12).size == (60, 42)
    assert load_image(content, min_side=22, reduce=True).tobytes() == load_image(content).tobytes()


@pytest.mark.parametrize(
    ("image", "mode"), [(lambda: gradient("RGBA"), "RGBA"), (palette, "RGBA"), (lambda: gradient("I;16"), "RGB")]
)
def test_scaled_down_it_keeps_its_transparency(image, mode):
    assert load_image(encoded(image(), "PNG"), to_rgb=False, min_side=12, reduce=True).mode == mode


def test_decoding_holds_a_part_of_the_budget(monkeypatch):
    held = []
    load = PngImageFile.load
    monkeypatch.setattr(images, "DECODING", MemoryBudget(10 * 1024**2))
    monkeypatch.setattr(PngImageFile, "load", lambda image: held.append(images.DECODING.held) or load(image))
    load_image(encoded(Image.new("RGBA", (500, 400)), "PNG"))
    assert min(held) >= 4 * 500 * 400
    assert images.DECODING.held == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's record of the process")
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"method": 0, "quality": 1})])
def test_the_peak_is_what_the_budget_counts(kind, options, monkeypatch):
    """A large RGBA image, of which several conversions at once took five times as much."""
    content = encoded(Image.new("RGBA", (2200, 2200), (9, 9, 9, 90)), kind, **options)
    sizes = []
    hold = MemoryBudget.hold
    monkeypatch.setattr(MemoryBudget, "hold", lambda budget, size: sizes.append(size) or hold(budget, size))
    Path("/proc/self/clear_refs").write_text("5")  # sets the record of the peak back
    before = memory("VmRSS")
    load_image(content, min_side=300, reduce=True)
    assert memory("VmHWM") - before < sizes[0] + 16e6


def memory(key: str) -> int:
    """Bytes that this process takes, or took at most."""
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_small_tiff_with_a_huge_tile_is_refused():
    tags = [(256, 9), (257, 9), (258, 8), (259, 1), (262, 1), (277, 1), (322, 30_000), (323, 30_000)]
    tags += [(324, 8), (325, 0)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4)
    with pytest.raises(InputError, match="tiles of 30000 x 30000 pixels"):
        load_image(content)


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


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
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
    with pytest.raises(InputError, match="1 x 65536 pixels; a side may have 65,535 at most"):
        load_image(Image.new("1", (1, 65_536)))


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


@pytest.mark.parametrize(("scans", "is_refused"), [(10, False), (300, True)])
def test_a_jpeg_of_too_many_scans_is_refused(scans, is_refused):
    """Each takes as long as the whole image: a small file of thousands would be decoded for minutes."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last, end = content.rindex(b"\xff\xda"), len(content) - 2
    content = content[:last] + scans * content[last:end] + content[end:]
    if is_refused:
        with pytest.raises(InputError, match="is a JPEG of 309 scans, and 100 are allowed"):
            load_image(content)
    else:
        assert load_image(content).getpixel((0, 0)) == pytest.approx((254, 0, 0), abs=2)
