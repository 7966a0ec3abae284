"""The two directions of retrieval and their titles."""

from __future__ import annotations

DIRECTIONS = ("image_to_text", "text_to_image")
DIRECTION_TITLES = {"image_to_text": "image → text", "text_to_image": "text → image"}
