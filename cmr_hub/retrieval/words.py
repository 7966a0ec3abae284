"""What a text encoder does not know of the words that it is given, as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from cmr_hub.encoders.base import TextEncoder, check_text, input_position
from cmr_hub.errors import InputError
from cmr_hub.utils.messages import name_some

MAX_WORD = 60  # characters of a word that are shown
NAMED = 3  # unknown words that are named, with near spellings


def check_words(encoder: TextEncoder, text: str, checkpoint: str | None = None) -> str:
    """Describe the words of a query that have no meaning to a text encoder; "" where each has one.

    Args:
        encoder: of the checkpoint that embeds the query.
        text: the query.
        checkpoint: its name, for the error.

    Raises:
        InputError: the text is empty or no string, or none of its words has a meaning; near spellings are suggested.

    Example:
    ```python
    >>> from cmr_hub.encoders import create_encoder
    >>> encoder = create_encoder("text", "bow", vocabulary=["red", "sunglasses"])
    >>> check_words(encoder, "red sunglases")
    'No vector for: sunglases (sunglasses?). The query is answered without.'
    ```
    """
    if not isinstance(text, str):
        raise InputError(f"The text query is of type {type(text).__name__}: give a string, or a list of them.")
    if not text.strip():
        raise InputError("The text query is empty: type at least one word.")
    with input_position("text", 0, 1):
        check_text(text)
    has_known = encoder.has_known_tokens([text])[0]
    words, unknown = encoder.read_words(text), encoder.unknown_words(text)
    named = name_some([_with_near_words(encoder, word) for word in unknown[:NAMED]] + unknown[NAMED:], NAMED)
    count = sum(is_known for _, is_known in words)
    if not has_known or (words and not count):
        reason = f" (no vector for: {named})" if unknown else ""
        raise InputError(
            f"The checkpoint {checkpoint or ''!r} knows no word of {text[:60]!r}{reason}. Its text encoder is "
            f"{encoder.name!r}; try other words."
        )
    if not unknown:
        return ""
    if 2 * count < len(words):
        return (
            f"The checkpoint knows {count} of the {len(words)} words of the query, and answers by these alone: the "
            f"hits may have nothing to do with it. No vector for: {named}."
        )
    return f"No vector for: {named}. The query is answered without."


def _with_near_words(encoder: TextEncoder, word: str) -> str:
    near = encoder.near_words(word)
    return f"{word[:MAX_WORD]} ({' or '.join(near)}?)" if near else word[:MAX_WORD]


def describe_unknown(encoder: TextEncoder, texts: Sequence[str]) -> str:
    """Say that most words of some texts, or most texts, have no meaning to a text encoder; "" where it is not so.

    Example:
    ```python
    >>> from cmr_hub.encoders import create_encoder
    >>> describe_unknown(create_encoder("text", "bow", vocabulary=["red"]), ["red", "ein rotes Haus"])
    "The text encoder 'bow' knows 25.0 % of the words of these texts, and no word of 1 of 2."
    >>> describe_unknown(create_encoder("text", "bow", vocabulary=["red"]), ["red", "a red"])
    ''
    ```
    """
    share, unknown = encoder.known_share(texts), encoder.has_known_tokens(texts).count(False)
    if 2 * share >= 1 and 2 * unknown <= len(texts):
        return ""
    return (
        f"The text encoder {encoder.name!r} knows {share:.1%} of the words of these texts, and no word of {unknown} "
        f"of {len(texts)}."
    ).replace("%", " %")
