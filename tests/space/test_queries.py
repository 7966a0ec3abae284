from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.space.queries import MAX_TEXT, Query, ask, open_upload


def test_text_looks_for_pictures_and_a_picture_for_texts(catalogue: Any, picture_file: Path):
    assert ask(catalogue, Query("text", "a red apple"), k=2).target == "image"
    answer = ask(catalogue, Query("image", str(picture_file)), k=3)
    assert (answer.target, len(answer.hits)) == ("text", 3)
    assert answer.seconds > 0


def test_item_marks_hits_of_its_class(catalogue: Any):
    answer = ask(catalogue, Query("item", "apple", "text"), target="text", k=3)
    assert {hit.id: hit.same_class for hit in answer.hits} == {"pear": True, 'dog"><i>': False, "cat": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("red " * (MAX_TEXT // 4) + "!", "2,001 characters"),
        ("x" * 2**20, "1,048,576 characters"),
        ("qwxyz", "knows no word"),
        ("\U0001f600", "knows no word"),
        ("кошка", "knows no word"),
    ],
)
def test_text_that_cannot_be_searched(catalogue: Any, text: str, message: str):
    with pytest.raises(InputError, match=message):
        ask(catalogue, Query("text", text), k=1)


def test_longest_text_is_searched(catalogue: Any):
    assert ask(catalogue, Query("text", "red " * (MAX_TEXT // 4)), k=1).hits


@pytest.mark.parametrize("k", [0, 5, -1, "3", 2.5])
def test_impossible_k(catalogue: Any, k: object):
    with pytest.raises(InputError, match="k "):
        ask(catalogue, Query("text", "red"), k=k)


def test_refused_upload_is_named_without_the_servers_folder(no_picture: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"^broken\.png is not a picture"):
        open_upload(str(no_picture))
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"^huge\.png has 10000 x 10000 pixels"):
        open_upload(str(tmp_path / "huge.png"))
