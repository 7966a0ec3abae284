"""Attention as something to look at: heat maps on images, shaded words, and a panel of both.

Colours tell weights by lightness as much as by hue (from night blue to amber over images, from white to amber behind
words), so that they read the same to people who do not tell red from green. They run from zero to a step's largest
weight: even weights look even, and noise is not stretched until it looks like a choice.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from cmr_hub.utils.extras import require

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

NIGHT, AMBER = (0.06, 0.15, 0.33), (1.0, 0.76, 0.16)
COLOUR_SHARE = 0.6  # in a heat map; the rest is the image in grey
INK, FAINT = "#1c2330", "#6b7280"
LEGEND = "amber: a step's largest weight · blue regions, white words: none"

FONTS = ("DejaVu Sans",)  # comes with matplotlib
NO_GLYPH, NO_WORD = "□", "∅"
MAX_LETTERS = 40

# Pixels, where a column is as wide as this; all grow with it.
COLUMN = 320
MARGIN, GUTTER, GAP = 20, 20, 10
HEADING = 24
LINE, LINE_GAP = 21, 5
WORD_PADDING, WORD_GAP = 5, 3
FONT, SMALL_FONT = 13, 10.5
TALLEST = 1.4  # columns
DPI = 100


class Attended(Protocol):
    """What a panel shows, an [`~cmr_hub.retrieval.explanation.Explanation`] say.

    Attributes:
        image: of mode "RGB".
        words: the text's words as the text encoder reads them.
        known: for each word whether the model has learned anything of it.
        region_attention: `(steps, rows, columns)` float32, how much each step looks at each region of the image.
        word_attention: `(steps, words)` float32, likewise of the words.
        score: the cosine of image and text; None where the model does not match them.
        steps: how many.
    """

    @property
    def image(self) -> Image.Image: ...
    @property
    def words(self) -> list[str]: ...
    @property
    def known(self) -> list[bool]: ...
    @property
    def region_attention(self) -> np.ndarray: ...
    @property
    def word_attention(self) -> np.ndarray: ...
    @property
    def score(self) -> float | None: ...
    @property
    def steps(self) -> int: ...


def heat_map(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """The weights of a grid over a whole image: the image in grey, blue where there is none, amber where most.

    Args:
        image: of mode "RGB".
        weights: `(rows, columns)` floats, none negative, row by row from the top left.

    Returns:
        An image of the same size, of mode "RGB".

    Example:
    ```python
    >>> heat_map(Image.new("RGB", (30, 20), "white"), np.array([[0.0, 1.0]])).size
    (30, 20)
    ```
    """
    grid = Image.fromarray(np.asarray(weights, dtype=np.float32))
    smooth = np.asarray(grid.resize(image.size, Image.Resampling.BICUBIC)).clip(min=0)  # bicubic swings below zero
    share = Image.fromarray(np.rint(255 * smooth / (smooth.max() or 1)).astype(np.uint8))
    night, amber = (Image.new("RGB", image.size, _bytes(colour)) for colour in (NIGHT, AMBER))
    colours = Image.composite(amber, night, share)
    return Image.blend(image.convert("L").convert("RGB"), colours, COLOUR_SHARE)


def _bytes(colour: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in colour)


def panel(explanation: Attended, column: int = COLUMN, fonts: Sequence[str] = FONTS) -> Image.Image:
    """An image above its words; next to it, for each step, both again as the step weighs them.

    Args:
        explanation: what to draw.
        column: width in pixels of each of the `1 + steps` columns.
        fonts: families in which a letter is looked for, in this order; a letter of none is drawn as □.

    Returns:
        An image of mode "RGB".
    """
    require("matplotlib", "train", "Drawing an explanation")
    unit, known = column / COLUMN, explanation.known
    page = _Page(tuple(fonts), unit)
    image = _fitted(explanation.image, column, round(TALLEST * column))
    words, words_height = _set_words(page, explanation.words, column)

    steps = explanation.steps
    margin, gutter = round(MARGIN * unit), round(GUTTER * unit)
    image_top = margin + round(HEADING * unit)
    words_top = image_top + image.height + GAP * unit
    note_top = words_top + words_height + GAP * unit
    page.resize(2 * margin + column + steps * (column + gutter), round(note_top + (LINE + MARGIN / 2) * unit))

    images = {}
    for number in range(1 + steps):
        left = margin + number * (column + gutter)
        if number:
            regions, weights = explanation.region_attention[number - 1], explanation.word_attention[number - 1]
            title, remark = f"step {number}", f"largest: region {regions.max():.0%}, word {weights.max(initial=0):.0%}"
            shown, shades = heat_map(image, regions), weights / (weights.max(initial=0) or 1)
        else:
            title, remark = "image and text", "" if explanation.score is None else f"cosine {explanation.score:.2f}"
            shown, shades = image, np.zeros(len(words))
        page.write(title, left, margin, FONT)
        page.write(remark, left + column, margin, SMALL_FONT, FAINT, align="right")
        images[left + (column - image.width) // 2, image_top] = shown
        for word, shade, is_known in zip(words, shades, known, strict=True):
            page.box(left + word.left, words_top + word.top, word.width, (*AMBER, shade), dashed=not is_known)
            page.write(word.text, left + word.left + WORD_PADDING * unit, words_top + word.top, FONT)
    unknown = "" if all(known) else " · dashed: a word that the model does not know"
    page.write(f"{LEGEND}{unknown}", margin, note_top, SMALL_FONT, FAINT)
    drawn = page.render()
    for corner, shown in images.items():
        drawn.paste(shown, corner)
    return drawn


def drawable(word: str, fonts: tuple[str, ...] = FONTS) -> str:
    r"""A word as it can be drawn: one line, not endless, without the invisible letters that turn others round.

    Example:
    ```python
    >>> drawable("cat"), drawable("two\nlines"), drawable("")
    ('cat', 'two□lines', '∅')
    ```
    """
    glyphs = _glyphs(fonts)
    visible = (letter for letter in word if unicodedata.category(letter) != "Cf")
    letters = "".join(letter if letter.isprintable() and ord(letter) in glyphs else NO_GLYPH for letter in visible)
    return (letters if len(letters) <= MAX_LETTERS else letters[:MAX_LETTERS] + "…") or NO_WORD


@lru_cache(maxsize=8)
def _glyphs(fonts: tuple[str, ...]) -> frozenset[int]:
    """The letters that these fonts have; matplotlib warns of each of the others whenever it draws it."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(letter for font in fonts for letter in get_font(findfont(font)).get_charmap())


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(width / image.width, height / image.height)
    return image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class _Word:
    """A word and its place: pixels from the left and the top of a column's words."""

    text: str
    left: float
    top: float
    width: float


def _set_words(page: _Page, words: Sequence[str], column: int) -> tuple[list[_Word], float]:
    """Words next to one another, in as many lines as they need, and the lines' height; one that is too wide is cut."""
    placed, left, top = [], 0.0, 0.0
    for word in words:
        text = drawable(word, page.fonts)
        while (width := page.width_of(text, FONT) + 2 * WORD_PADDING * page.unit) > column and len(text) > 2:
            text = text[:-2] + "…"
        if left and left + width > column:
            left, top = 0.0, top + (LINE + LINE_GAP) * page.unit
        placed.append(_Word(text, left, top, width))
        left += width + WORD_GAP * page.unit
    return placed, top + LINE * page.unit


class _Page:
    """Text and boxes on white, in pixels from the top left; sizes of fonts and lines are multiples of `unit`.

    matplotlib draws them, on a figure of its own and not pyplot's: it needs no display and leaves no state behind. No
    text is ever read as mathematics or TeX.
    """

    def __init__(self, fonts: tuple[str, ...], unit: float):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.transforms import Affine2D

        self.fonts, self.unit = fonts, unit
        self._canvas = FigureCanvasAgg(Figure(dpi=DPI, facecolor="white"))
        self._from_top_left = Affine2D()

    def resize(self, width: int, height: int) -> None:
        """Set the size; to be called before anything is drawn."""
        self._canvas.figure.set_size_inches(width / DPI, height / DPI)
        self._from_top_left.scale(1, -1).translate(0, height)

    def width_of(self, text: str, size: float) -> float:
        return self._canvas.get_renderer().get_text_width_height_descent(text, self._font(size), ismath=False)[0]

    def write(self, text: str, left: float, top: float, size: float, colour: str = INK, align: str = "left") -> None:
        """One line of text, in a line of the usual height whose top is given."""
        self._canvas.figure.text(
            left,
            top + 0.72 * LINE * self.unit,
            text,
            transform=self._from_top_left,
            fontproperties=self._font(size),
            color=colour,
            ha=align,
            va="baseline",
            parse_math=False,
            usetex=False,
        )

    def box(self, left: float, top: float, width: float, fill: tuple[float, ...], dashed: bool) -> None:
        """A rounded box as high as a line."""
        from matplotlib.patches import FancyBboxPatch

        box = FancyBboxPatch(
            (left, top),
            width,
            LINE * self.unit,
            boxstyle=f"round,pad=0,rounding_size={4 * self.unit}",
            transform=self._from_top_left,
            facecolor=fill,
            edgecolor=FAINT if dashed else "none",
            linestyle="--",
            linewidth=0.7 * self.unit,
        )
        self._canvas.figure.add_artist(box)

    def render(self) -> Image.Image:
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")

    def _font(self, size: float) -> FontProperties:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=list(self.fonts), size=size * self.unit * 72 / DPI)
