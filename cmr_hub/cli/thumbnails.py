"""Small images in the terminals that can show them: by the protocols of kitty and iTerm2, and by sixels."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from PIL import Image

SIDE = 160  # pixels of the longer side at most
CHUNK = 4096  # characters that kitty takes at once
COLOURS = 64  # of a sixel image
# What terminals call themselves in $TERM_PROGRAM -> the protocol that they understand.
PROGRAMS = {
    "iTerm.app": "iterm2",
    "WezTerm": "iterm2",
    "mintty": "iterm2",
    "vscode": "iterm2",
    "rio": "iterm2",
    "ghostty": "kitty",
}
SIXEL_TERMS = ("mlterm", "foot", "yaft", "contour", "sixel")


def protocol(environment: Mapping[str, str], stream: TextIO) -> str | None:
    """Which protocol a terminal understands, by what it says in its environment; None where it shows no images.

    Args:
        environment: variables of the process.
        stream: where images would be written; only a terminal shows any.

    Example:
    ```python
    >>> protocol({"TERM": "xterm-kitty"}, io.StringIO()) is None
    True
    ```
    """
    if not stream.isatty() or "TMUX" in environment or environment.get("TERM", "").startswith("screen"):
        return None
    term = environment.get("TERM", "")
    if "KITTY_WINDOW_ID" in environment or term == "xterm-kitty" or term == "xterm-ghostty":
        return "kitty"
    program = environment.get("TERM_PROGRAM", "")
    if program in PROGRAMS:
        return PROGRAMS[program]
    if environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "sixel" if any(name in term for name in SIXEL_TERMS) else None


class Thumbnails:
    """Writes small images to a terminal, or nothing where it shows none.

    Args:
        stream: the terminal.
        environment: variables of the process.
    """

    def __init__(self, stream: TextIO | None = None, environment: Mapping[str, str] | None = None):
        self.stream = sys.stdout if stream is None else stream
        name = protocol(os.environ if environment is None else environment, self.stream)
        self._encode = ENCODERS.get(name or "")

    def show(self, path: str) -> None:
        """Show the image of a file; one that cannot be read is passed over."""
        from cmr_hub.errors import InputError
        from cmr_hub.utils.images import load_image

        if self._encode is None:
            return
        try:
            image = load_image(path, min_side=SIDE, reduce=True)
        except InputError:
            return
        image.thumbnail((SIDE, SIDE))
        self.stream.write(self._encode(image) + "\n")
        self.stream.flush()


def kitty(image: Image.Image) -> str:
    """An image in kitty's protocol: a PNG in chunks of base64."""
    content = base64.standard_b64encode(_png(image)).decode()
    chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        first = "a=T,f=100," if number == 0 else ""
        parts.append(f"\x1b_G{first}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts)


def iterm2(image: Image.Image) -> str:
    """An image in iTerm2's protocol: a PNG as base64."""
    content = _png(image)
    encoded = base64.standard_b64encode(content).decode()
    return f"\x1b]1337;File=inline=1;size={len(content)};width={image.width}px;height={image.height}px:{encoded}\x07"


def sixel(image: Image.Image) -> str:
    """An image as sixels: bands of six rows, and in each of them a line of characters per colour."""
    import numpy as np

    reduced = image.convert("RGB").quantize(COLOURS)
    palette, pixels = reduced.getpalette() or [], np.asarray(reduced)
    parts = [f'\x1bP0;1q"1;1;{image.width};{image.height}']
    for colour in range(len(palette) // 3):
        red, green, blue = (round(value / 2.55) for value in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, image.height, 6):
        band = pixels[top : top + 6]
        for colour in np.unique(band):
            bits = ((band == colour) << np.arange(len(band))[:, None]).sum(axis=0)
            parts.append(f"#{colour}{''.join(chr(63 + value) for value in bits)}$")
        parts.append("-")
    return "".join(parts) + "\x1b\\"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


ENCODERS: Mapping[str, Callable[[Image.Image], str]] = {"kitty": kitty, "iterm2": iterm2, "sixel": sixel}
