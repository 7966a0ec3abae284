"""Small images in terminals: which ones show them, and what they are sent."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from cmr_hub.cli.thumbnails import Thumbnails, iterm2, kitty, protocol, sixel


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-256color"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty", "TERM": "xterm-256color"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"LC_TERMINAL": "iTerm2", "TERM": "xterm"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "mlterm-256color"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({}, None),
    ],
)
def test_the_environment_says_which_protocol(environment, expected):
    assert protocol(environment, Terminal()) == expected
    assert protocol(environment, io.StringIO()) is None  # piped


def noise(width=50, height=31):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_kitty_is_sent_a_png_in_chunks():
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty(noise()))
    assert len(parts) > 1
    assert [options for options, _ in parts] == ["a=T,f=100,m=1", *["m=1"] * (len(parts) - 2), "m=0"]
    assert max(len(content) for _, content in parts) <= 4096
    sent = Image.open(io.BytesIO(base64.b64decode("".join(content for _, content in parts))))
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(noise()))


def test_iterm2_is_sent_a_png():
    options, content = re.fullmatch(r"\x1b\]1337;File=([^:]*):(.*)\x07", iterm2(noise())).groups()
    assert "inline=1" in options
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (50, 31)


def test_sixels_are_the_pixels():
    """Read back by the format's own rules: a character is six pixels of a column, "$" returns, "-" goes six down."""
    image = Image.new("RGB", (9, 8), "red")
    image.paste("blue", (3, 2, 7, 8))
    text = sixel(image)
    palette = {
        number: tuple(int(part) for part in values)
        for number, *values in re.findall(r"#(\d+);2;(\d+);(\d+);(\d+)", text)
    }
    body = text[text.rindex(";2;") :].split("#", 1)[1].removesuffix("\x1b\\")
    pixels, column, top, colour = {}, 0, 0, ""
    for token in re.findall(r"#\d+|[?-~]|\$|-", "#" + body):
        if token.startswith("#"):
            colour = token[1:]
        elif token in "$-":
            column, top = 0, top + 6 * (token == "-")
        else:
            for row in range(6):
                if (ord(token) - 63) >> row & 1:
                    pixels[column, top + row] = palette[colour]
            column += 1
    assert len(pixels) == 72
    assert all(pixels[x, y] == ((0, 0, 100) if 3 <= x < 7 and y >= 2 else (100, 0, 0)) for x, y in pixels)


def test_what_cannot_be_shown_is_passed_over(tmp_path):
    terminal = Terminal()
    thumbnails = Thumbnails(terminal, {"TERM": "xterm-kitty"})
    (tmp_path / "a.png").write_bytes(b"no image")
    thumbnails.show(str(tmp_path / "a.png"))
    assert terminal.getvalue() == ""
    noise(900, 500).save(tmp_path / "a.png")
    thumbnails.show(str(tmp_path / "a.png"))
    assert terminal.getvalue().startswith("\x1b_Ga=T")
