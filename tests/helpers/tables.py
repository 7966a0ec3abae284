"""Reading Markdown tables."""

from __future__ import annotations

import re


def unpadded(markdown: str) -> str:
    """The text with single spaces, so that a row reads the same whatever the widths of its columns."""
    return re.sub(r" {2,}", " ", markdown)
