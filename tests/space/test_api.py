"""The named endpoints, as `gradio_client` uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from cmr_hub.retrieval.gallery import Gallery

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(space: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(space.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def names(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["texts"][0] for hit in hits]


def test_galleries(client: Client):
    galleries = {each["name"]: each for each in client.predict(api_name="/galleries")}
    assert galleries["emoji"]["models"]
    assert galleries["pascal"]["models"] == []
    assert "pascal" in galleries["pascal"]["how_to_get"]


def test_text_finds_images_of_its_class(client: Client):
    hits = client.predict("smiling cat", api_name="/search_text")
    assert len(hits) == 10
    assert any("cat" in name for name in names(hits[:5]))
    assert hits == sorted(hits, key=lambda hit: -hit["score"])
    assert hits[0].keys() == {"id", "score", "texts", "labels", "same_class", "notes"}
    assert hits[0]["same_class"] is None


def test_image_finds_texts(client: Client, image_file: Path):
    hits = client.predict(handle_file(image_file), k=5, api_name="/search_image")
    assert len(hits) == 5
    assert sum("Animals & Nature" in hit["labels"] for hit in hits) >= 3
    same_modality = client.predict(handle_file(image_file), target="image", k=1, api_name="/search_image")
    assert same_modality[0]["id"] == "1F436"
    assert same_modality[0]["score"] == pytest.approx(1, abs=1e-2)


def test_item_finds_items_and_tells_its_class(client: Client):
    hits = client.predict("1F436", target="image", source="image", k=20, api_name="/search_item")
    assert "1F436" not in [hit["id"] for hit in hits]
    assert [hit["same_class"] for hit in hits] == ["Animals & Nature" in hit["labels"] for hit in hits]


def test_class_confines_hits(client: Client):
    hits = client.predict("cat", label="Food & Drink", k=3, api_name="/search_text")
    assert [hit["labels"] for hit in hits] == [["Food & Drink"]] * 3


def test_focus_goes_from_the_kind_of_thing_to_the_very_thing(client: Client, parts_gallery: Gallery):
    for focus in (None, 0, 0.25, 1):
        hits = client.predict("item 3", "own-halves", focus=focus, k=4, api_name="/search_item")
        assert [hit["id"] for hit in hits] == [hit.id for hit in parts_gallery.search(item="item 3", k=4, focus=focus)]


def test_several_terms_are_one_query(client: Client, image_file: Path):
    image, texts = handle_file(image_file), {"smiling cat": 1, "blue": -0.25}
    plain = client.predict(image, target="image", k=10, api_name="/search_image")
    hits = client.predict(image, texts=texts, image_weight=0.5, k=10, api_name="/search_combined")
    assert [hit["id"] for hit in hits] != [hit["id"] for hit in plain]
    assert any("cat" in name for name in names(hits[:5]))
    likewise = client.predict(None, texts={"smiling cat": 1}, k=10, api_name="/search_combined")
    assert likewise == client.predict("smiling cat", api_name="/search_text")
    items = client.predict(None, items={"1F436": 1, "1F431": 1}, k=5, api_name="/search_combined")
    assert sum("Animals & Nature" in hit["labels"] for hit in items) >= 3


def test_hits_below_the_least_score_are_left_out(client: Client):
    least = client.predict(api_name="/min_score")
    hits = client.predict("smiling cat", k=400, min_score=least, api_name="/search_text")
    assert 0 < len(hits) < 400
    assert min(hit["score"] for hit in hits) >= least - 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to search by"),
        ({"texts": {"cat": -1}}, "No term of the query has a weight above 0"),
        ({"texts": {"cat": "1"}}, "texts: the weight of 'cat': a number is expected, and a text was sent"),
        ({"texts": ["cat"]}, "texts: an object of texts and their weights is expected, and a list was sent"),
        ({"items": {"nobody": 1}}, "no item 'nobody'"),
        ({"texts": {f"cat {number}": 1 for number in range(21)}}, "21 parts, more than the 20 allowed"),
        ({"texts": {"cat": 1}, "min_score": 2}, "min_score must be a number from -1 to 1"),
    ],
)
def test_bad_combined_query_is_one_readable_sentence(client: Client, arguments: dict[str, Any], message: str):
    with pytest.raises(AppError, match=message):
        client.predict(**{"image": None, **arguments}, api_name="/search_combined")


def test_image_behind_a_hit(client: Client):
    with Image.open(client.predict("1F436", "emoji", api_name="/image")) as image:
        assert (image.format, image.size) == ("PNG", (72, 72))


def test_the_earlier_name_of_the_image_endpoint_still_answers(client: Client):
    with Image.open(client.predict("1F436", "emoji", api_name="/picture")) as image:
        assert (image.format, image.size) == ("PNG", (72, 72))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": " "}, "empty"),
        ({"text": "x" * 2001}, "2,001 characters"),
        ({"text": "x" * 2**20}, "1,048,576 characters"),
        ({"text": "\U0001f600"}, "knows no word"),
        ({"text": "cat", "k": 0}, "k is 0, and it must be a whole number from 1"),
        ({"text": "cat", "target": "sound"}, "target"),
        ({"text": "cat", "label": "Sea"}, "no class 'Sea'"),
        ({"text": "cat", "model": "dscmr", "focus": 0.2}, "embeds each item as one part"),
        ({"text": "cat", "focus": 1.5}, "focus must be a number from 0"),
        ({"text": "cat", "focus": "a"}, "focus: a number is expected, and a text was sent"),
        ({"text": "cat", "focus": True}, "focus: a number is expected, and true or false was sent"),
        ({"text": "cat", "gallery": "emojy"}, "Did you mean 'emoji'"),
        ({"text": "cat", "gallery": "pascal"}, "cmr prepare pascal"),
        ({"text": "cat", "model": "ccca"}, "Did you mean 'cca'"),
    ],
)
def test_bad_text_query_is_one_readable_sentence(client: Client, arguments: dict[str, Any], message: str):
    with pytest.raises(AppError, match=message):
        client.predict(**arguments, api_name="/search_text")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_item_and_bad_images(client: Client, no_image: Path, tmp_path: Path):
    with pytest.raises(AppError, match="There is no item 'nobody'"):
        client.predict("nobody", api_name="/search_item")
    with pytest.raises(AppError, match=r"^broken\.png is not an image"):
        client.predict(handle_file(no_image), api_name="/search_image")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(AppError, match=r"^huge\.png has 10000 x 10000 pixels"):
        client.predict(handle_file(tmp_path / "huge.png"), api_name="/search_image")


def test_files_of_the_server_are_not_read(space: Any):
    """A path that was never uploaded is refused before anything opens it."""
    private = {"path": str(Path(__file__).resolve()), "meta": {"_type": "gradio.FileData"}}
    base = f"{space.url}gradio_api/call/search_image"
    event = httpx.post(base, json={"data": [private, "", "", "text", 5]}).json()["event_id"]
    answer = httpx.get(f"{base}/{event}", timeout=30).text
    assert "event: error" in answer
    assert "not an image" not in answer


def test_endpoints_are_typed_and_described(client: Client):
    api = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(api) == {
        "/galleries",
        "/search_text",
        "/search_image",
        "/search_item",
        "/search_combined",
        "/min_score",
        "/image",
    }
    assert all(endpoint["description"] for endpoint in api.values())
    focus = api["/search_text"]["parameters"][-2]
    assert (focus["parameter_name"], focus["parameter_has_default"]) == ("focus", True)
    k = api["/search_text"]["parameters"][-4]
    assert (k["parameter_name"], k["parameter_default"], k["type"]) == ("k", 10, {"type": "integer"})
    hit = api["/search_text"]["returns"][0]["type"]["items"]
    assert hit["properties"]["score"] == {"type": "number"}
