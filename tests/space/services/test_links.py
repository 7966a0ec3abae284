from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from cmr_hub.space.services.examples import FIRST_HITS, MAX_HITS
from cmr_hub.space.services.links import Destination, link_to, read_link
from cmr_hub.space.services.queries import Asked, Query


def followed(link: str) -> Destination:
    return read_link(dict(parse_qsl(link.removeprefix("?"))))


@pytest.mark.parametrize(
    "asked",
    [
        Asked(Query("text", "a cat & a dog, 50 % \U0001f431 #?=+"), "image", 12),
        Asked(Query("text", "cat"), "text", 60, "Animals & Nature"),
        Asked(Query("item", 'dog"><i>', "image"), "image", 3),
        Asked(Query("item", "1F436"), "text", 5),
        Asked(Query("text", "cat").together(without="a dog"), "image", 12),
        Asked(Query("item", "1F436").together(without="a cat"), "image", 12, min_score="auto"),
        Asked(Query("text", "cat"), "image", 12, focus=0.25),
        Asked(Query("text", "cat"), "image", 12, focus=0.0),
    ],
)
def test_link_leads_back_to_the_answer(asked: Asked):
    assert followed(link_to("emoji", "dscmr", asked)) == Destination("emoji", "dscmr", asked)


def test_image_of_ones_own_is_no_part_of_a_link():
    link = link_to("emoji", "cca", Asked(Query("image", "/tmp/gradio/secret.png"), "text"))
    assert link == "?gallery=emoji&model=cca"


def test_what_a_gallery_opens_on_needs_no_question():
    asked = Asked(Query("text", "cat"), "image", is_opening=True)
    assert link_to("emoji", "cca", asked) == "?gallery=emoji&model=cca"


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ({}, None),
        ({"text": ""}, None),
        ({"image": "/etc/passwd"}, None),
        ({"text": "cat", "side": "text"}, Asked(Query("text", "cat"), "image", FIRST_HITS)),
        ({"text": "cat", "k": "-3", "target": "sound"}, Asked(Query("text", "cat"), "image", FIRST_HITS)),
        ({"text": "cat", "k": "9" * 5000}, Asked(Query("text", "cat"), "image", FIRST_HITS)),
        ({"item": "a", "k": "900", "side": "smell"}, Asked(Query("item", "a"), "image", MAX_HITS)),
        ({"text": "cat", "k": "0"}, Asked(Query("text", "cat"), "image", 1)),
    ],
)
def test_malformed_parts_are_passed_over(parameters: dict[str, str], asked: Asked | None):
    assert read_link(parameters).asked == asked


@pytest.mark.parametrize(
    ("focus", "read"),
    [("0", 0.0), ("0.25", 0.25), ("1", 1.0), ("2", None), ("-1", None), ("nan", None), ("", None), ("9" * 5000, None)],
)
def test_a_focus_of_a_link_lies_between_0_and_1(focus: str, read: float | None):
    assert read_link({"text": "cat", "focus": focus}).asked == Asked(Query("text", "cat"), "image", 12, focus=read)
