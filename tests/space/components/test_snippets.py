"""Code that is shown is code that runs."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.components.snippets import WIDTH, client_lines, mcp_settings, python_lines
from cmr_hub.space.services.catalogue import Catalogue, Entry
from cmr_hub.space.services.queries import Asked, Query
from small_space import bundled_catalogue

CAT = Asked(Query("text", "a smiling cat"), "image", 4)


def run(code: str) -> tuple[dict[str, Any], list[str]]:
    """The names that a program leaves, and the lines that it prints."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "shown", "exec"), names)
    return names, printed.getvalue().splitlines()


@pytest.fixture(scope="module")
def emoji() -> Catalogue:
    return bundled_catalogue(["emoji"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "asked", "search"),
    [
        ("dscmr", CAT, {"text": "a smiling cat", "target": "image", "k": 4}),
        (
            "dscmr",
            Asked(Query("text", "a smiling cat").together(without="blue"), "image", 4, min_score="auto"),
            {"text": {"a smiling cat": 1, "blue": -0.5}, "target": "image", "k": 4, "min_score": "auto"},
        ),
        ("cca", Asked(Query("item", "1F436"), "text", 3), {"item": "1F436", "target": "text", "k": 3}),
        (
            "dscmr_hash",
            Asked(Query("item", "1F436", "image"), "image", 5, "Animals & Nature"),
            {"item": "1F436", "target": "image", "k": 5, "source": "image", "label": "Animals & Nature"},
        ),
    ],
)
def test_the_lines_find_what_the_page_finds(emoji: Catalogue, method: str, asked: Asked, search: dict[str, Any]):
    gallery = emoji.open("emoji", method)
    code = python_lines(emoji["emoji"], method, gallery, asked)
    names, printed = run(code)
    hits = gallery.search(**search)
    assert [hit.id for hit in names["hits"]] == [hit.id for hit in hits]
    assert printed[0] == f"{hits[0].score:.3f} {hits[0].id} {hits[0].texts[0]}"
    assert all(len(line) <= WIDTH for line in code.splitlines())


def test_several_terms_are_asked_of_their_own_endpoint(gallery: Gallery):
    asked = Asked(Query("image", "/tmp/secret.png").together("red", "green"), "image", 2)
    lines = client_lines("http://a/", "emoji", "cca", asked, gallery)
    assert 'image=handle_file("photo.jpg")' in lines
    assert 'texts={"red": 1.0, "green": -0.5}' in lines
    assert 'api_name="/search_combined"' in lines
    assert "secret" not in lines


@pytest.mark.slow
def test_an_uploaded_image_is_a_file_of_ones_own(emoji: Catalogue, image_file: Path, monkeypatch: pytest.MonkeyPatch):
    gallery, asked = emoji.open("emoji", "cca"), Asked(Query("image", "/tmp/gradio/secret/dog.png"), "text", 2)
    code = python_lines(emoji["emoji"], "cca", gallery, asked)
    assert "secret" not in code
    monkeypatch.chdir(image_file.parent)
    image_file.rename("photo.jpg")
    names, _ = run(code)
    assert [hit.id for hit in names["hits"]] == [
        hit.id for hit in gallery.search(image="photo.jpg", target="text", k=2)
    ]


def test_a_prepared_gallery_is_opened_where_it_was_prepared(gallery: Gallery, private_cache: Path, catalogue: Any):
    folder = private_cache / "prepared" / "wiki" / "cca"
    gallery.retriever.save_pretrained(folder)
    saved = Gallery.from_dataset(gallery.dataset, type(gallery.retriever).from_pretrained(folder), cache=False)
    saved.save_pretrained(folder / "gallery")
    entry = Entry(catalogue.entry.info, {"cca": replace(catalogue.source(), folder=folder / "gallery")})
    names, printed = run(python_lines(entry, "cca", gallery, Asked(Query("item", 'dog"><i>'), "image", 50)))
    assert len(names["hits"]) == len(printed) == 3
    assert "`cmr prepare wiki`" in python_lines(entry, "cca", gallery, CAT)


def test_an_own_gallery_is_opened_from_its_download(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my-gallery" / "retriever"
    gallery.retriever.save_pretrained(folder)
    kept = Gallery.from_dataset(gallery.dataset, type(gallery.retriever).from_pretrained(folder), cache=False)
    kept.save_pretrained("my-gallery")
    catalogue = bundled_catalogue(["emoji"])
    catalogue.add_own("own-secret", "Mine", {"cca": kept})
    code = python_lines(catalogue["own-secret"], "cca", kept, Asked(Query("text", "red"), "image", 2))
    assert "own-secret" not in code
    names, _ = run(code)
    assert [hit.id for hit in names["hits"]] == [hit.id for hit in kept.search(text="red", k=2)]


@pytest.mark.parametrize("text", ['"); import os; ("', "back\\slash \\", "line\nbreak", "\u2028 \x00 {}", "猫 🐈"])
def test_what_is_asked_stays_text(gallery: Gallery, catalogue: Any, text: str):
    asked = Asked(Query("text", text), "image", 2)
    for code in (
        python_lines(catalogue.entry, "cca", gallery, asked),
        client_lines("http://127.0.0.1/", "small", "cca", asked, gallery),
    ):
        call = code[code.index("hits = ") : code.index("\nfor hit")].split("(", 1)[1]
        assert eval(f"dict({call}")["text"] == text


def test_a_clients_call_says_where_it_goes_and_what_it_asks(gallery: Gallery):
    text = client_lines("https://some.host/hub/", "emoji", "cca", CAT, gallery)
    assert 'Client("https://some.host/hub/")' in text
    assert 'api_name="/search_text"' in text
    image = client_lines("http://a/", "emoji", "cca", Asked(Query("image", "/tmp/x.png"), "text", 2), gallery)
    assert "import Client, handle_file" in image
    assert 'image=handle_file("photo.jpg")' in image
    item = client_lines("http://a/", "emoji", "cca", Asked(Query("item", "1", "text"), "text", 2, "fruit"), gallery)
    assert all(part in item for part in ('item="1"', 'source="text"', 'label="fruit"', 'api_name="/search_item"'))


def test_an_agents_settings_are_json(gallery: Gallery):
    assert json.loads(mcp_settings("https://some.host/hub/")) == {
        "mcpServers": {"cmr_hub": {"url": "https://some.host/hub/gradio_api/mcp/"}}
    }


def test_the_lines_have_the_focus_that_was_chosen(parts_catalogue: Any):
    gallery, entry = parts_catalogue.open(), parts_catalogue["small"]
    asked = Asked(Query("item", "item 3"), "image", 4, focus=0.25)
    assert 'hits = gallery.search(item="item 3", target="image", k=4, focus=0.25)' in python_lines(
        entry, "cca", gallery, asked
    )
    assert "focus=0.25," in client_lines("http://127.0.0.1:7860/", "small", "cca", asked, gallery)
    assert "focus" not in python_lines(entry, "cca", gallery, replace(asked, focus=0.5))
