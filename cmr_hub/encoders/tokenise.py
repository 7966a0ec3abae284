"""How a text becomes words: one rule for all encoders that know words."""

from __future__ import annotations

import unicodedata

import regex

# "'s" and the like carry no topic; "n't" does mean something and is a word of its own in the Penn Treebank and GloVe.
_CLITIC = regex.compile(r"'(?:s|re|ve|m|ll|d)\b")
_NOT = regex.compile(r"(?<=\w)n't\b")
_WORD = regex.compile(
    r"""n't\b
    | \p{Han}                                                  # no spaces part these: each is a word
    | \p{Nd}+(?:[.,]\p{Nd}+)+                                  # 3.5  3,000
    | (?:(?!\p{Han})[\p{L}\p{N}])                              # a letter or digit, then marks too (but no emoji's)
      (?:(?!\p{Han})[[\p{L}\p{N}\p{Mn}\p{Mc}]--[\ufe00-\ufe0f]])*
      (?:'\p{L}+)*                                             # o'clock
    """,
    regex.VERBOSE | regex.VERSION1,
)


def tokenise(text: str) -> list[str]:
    """The words of a text, in lower case and in order.

    A word is a run of letters, digits and their marks, in any script; a Chinese character is a word by itself. Numbers
    keep their inner points and commas. Apostrophes follow the Penn Treebank, whose tokens GloVe was trained on, save
    that "'s", "'re", "'ve", "'m", "'ll" and "'d" are dropped. Other punctuation, symbols and emoji part words and
    are dropped. Unicode variants (full-width letters, curly apostrophes, split accents) are made one (NFKC) first.

    Example:
    ```python
    >>> tokenise("The dog's 3.5 red-haired friends don't SING… 😀")
    ['the', 'dog', '3.5', 'red', 'haired', 'friends', 'do', "n't", 'sing']
    ```
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return _WORD.findall(_NOT.sub(" n't", _CLITIC.sub("", text)))
