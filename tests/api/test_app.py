"""The API by requests to the app in this process."""

import base64
import io
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cmr_hub import Gallery
from cmr_hub.api import app as api_app
from cmr_hub.api.app import build_api
from cmr_hub.api.galleries import GalleryService, open_galleries
from cmr_hub.errors import InputError
from small_space import make_gallery, save_gallery
from toys import feature_dataset, feature_retriever


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    return make_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def codes():
    return Gallery.from_dataset(feature_dataset(20), feature_retriever("sh"), cache=False)


@pytest.fixture(scope="module")
def client(gallery, codes):
    with TestClient(
        build_api(GalleryService({"small": gallery, "codes": codes})), raise_server_exceptions=False
    ) as own:
        yield own


def png(colour, size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def search(client, **request):
    answer = client.post("/search", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_hits_are_those_of_the_gallery(client, gallery):
    for request, query in [
        ({"text": "red"}, {"text": "red"}),
        ({"item": "pear", "target": "text", "k": 2}, {"item": "pear", "target": "text", "k": 2}),
        ({"text": "red", "label": ["animal"]}, {"text": "red", "label": ["animal"]}),
        ({"image": png("green"), "target": "text"}, {"image": Image.new("RGB", (40, 30), "green"), "target": "text"}),
        (
            {"terms": [{"text": "red"}, {"text": "green", "weight": -0.5}]},
            {"text": {"red": 1, "green": -0.5}},
        ),
        ({"text": "red", "min_score": 0.5}, {"text": "red", "min_score": 0.5}),
    ]:
        answer, expected = search(client, **request), gallery.search(**query)
        assert answer["gallery"] == "small"
        assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
        np.testing.assert_allclose(
            [hit["score"] for hit in answer["hits"]], [hit.score for hit in expected], atol=1e-5
        )
        assert [hit["texts"] for hit in answer["hits"]] == [list(hit.texts) for hit in expected]
        assert [hit["labels"] for hit in answer["hits"]] == [list(hit.labels) for hit in expected]


def test_unknown_words_are_noted(client):
    assert search(client, text="red zeppelin")["notes"] == ["No vector for: zeppelin. The query is answered without."]
    assert search(client, text="red")["notes"] == []


def test_requests_at_once_get_their_own_answers(client):
    queries = ["red", "green", "blue", "a nonsense word", "red"] * 8

    def ask(text):
        return client.post("/search", json={"text": text, "k": 1})

    alone = {text: ask(text) for text in set(queries)}
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(ask, queries))
    for text, answer in zip(queries, together, strict=True):
        assert answer.status_code == alone[text].status_code
        if answer.status_code == 200:
            assert answer.json()["hits"][0]["id"] == alone[text].json()["hits"][0]["id"]
        else:
            assert answer.json() == alone[text].json()
    assert alone["a nonsense word"].status_code == 400


def test_embeddings_and_codes_are_those_of_the_checkpoint(client, gallery, codes):
    texts = client.post("/encode", json={"texts": ["red", "green blue"]}).json()
    np.testing.assert_allclose(texts["embeddings"], gallery.retriever.encode_texts(["red", "green blue"]), atol=1e-5)
    images = client.post("/encode", json={"images": [png("red")]}).json()
    np.testing.assert_allclose(
        images["embeddings"], gallery.retriever.encode_images([Image.new("RGB", (40, 30), "red")]), atol=1e-4
    )
    refused = client.post("/encode", json={"texts": ["red"], "gallery": "codes"})
    assert refused.status_code == 400  # its checkpoint takes released features


def test_codes_are_hexadecimal(gallery, monkeypatch):
    bits = np.array([[1, 255]], dtype=np.uint8)
    monkeypatch.setattr(type(gallery.retriever), "encode_texts", lambda self, texts: bits)
    monkeypatch.setattr(type(gallery.retriever.model), "is_hashing", True)
    with TestClient(build_api(GalleryService({"small": gallery}))) as client:
        assert client.post("/encode", json={"texts": ["red"]}).json() == {"embeddings": None, "codes": ["01ff"]}


def test_galleries_health_and_images(client):
    first, second = client.get("/galleries").json()
    assert first == {
        "name": "small",
        "items": 4,
        "checkpoint": "toy",
        "method": "cca",
        "targets": ["image", "text"],
        "labels": ["fruit", "animal"],
    }
    assert (second["name"], second["items"]) == ("codes", 20)
    assert client.get("/health").json() == {"galleries": 2, "waiting": 0}
    picture = client.get("/galleries/small/items/pear/image")
    assert Image.open(io.BytesIO(picture.content)).convert("RGB").getpixel((5, 5)) == (0, 128, 0)
    assert client.get("/galleries/small/items/plum/image").status_code == 400
    assert client.get("/galleries/other/items/pear/image").status_code == 404
    assert client.get("/galleries/codes/items/item-0/image").status_code == 400


def test_metrics_count_requests_by_path_and_status(client):
    search(client, text="red")
    client.post("/search", json={"text": ""})
    client.get("/no/such/path")
    metrics = client.get("/metrics").text
    assert 'cmr_requests_total{path="/search",status="200"}' in metrics
    assert 'cmr_requests_total{path="/search",status="400"}' in metrics
    assert 'cmr_requests_total{path="other",status="404"}' in metrics
    assert "cmr_batch_size_count" in metrics
    assert "cmr_requests_waiting 0.0" in metrics


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({}, 422, "there is no query"),
        ({"text": "red", "k": 1_000_000}, 422, "less than or equal to 1000"),
        ({"text": "red", "k": 0}, 422, "greater than or equal to 1"),
        ({"text": "red", "colour": "red"}, 422, "Extra inputs are not permitted"),
        ({"text": "x" * 3000}, 422, "at most 2000 characters"),
        ({"text": " "}, 400, "The text query is empty"),
        ({"text": "red", "target": "sound"}, 422, "image"),
        ({"text": "red", "focus": 0.5}, 400, "as one part"),
        ({"text": "red", "rerank": 10}, 400, "no real-valued embeddings"),
        ({"text": "red", "label": ["plant"]}, 400, "plant"),
        ({"text": "red", "min_score": 7}, 400, "min_score must be"),
        ({"text": "red", "gallery": "smal"}, 404, "Did you mean 'small'"),
        ({"item": "plum"}, 400, "plum"),
        ({"image": "no base64!"}, 400, "not base64"),
        ({"image": base64.b64encode(b"no image").decode()}, 400, "image"),
        ({"terms": [{"text": "red", "weight": -1}]}, 400, "weight above 0"),
        ({"terms": [{"weight": 1}]}, 400, "exactly one of"),
        ({"terms": [{"text": "red"}, {"text": "red", "weight": -1}]}, 400, "cancel"),
    ],
)
def test_requests_that_cannot_be_answered_say_why(client, request_, status, message):
    answer = client.post("/search", json=request_)
    assert answer.status_code == status
    assert message in answer.text
    assert "Query 1 of" not in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b'{"text": NaN}', b'"red"'])
def test_bodies_that_are_no_request_are_refused(client, body):
    answer = client.post("/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "detail" in answer.json()


def test_a_body_that_is_too_large_is_refused(gallery, monkeypatch):
    monkeypatch.setattr(api_app, "MAX_BODY", 1000)
    with TestClient(build_api(GalleryService({"small": gallery}))) as client:
        assert client.post("/search", content=b"x" * 1001).status_code == 413
        assert client.post("/search", json={"text": "red"}).status_code == 200


def test_what_goes_wrong_inside_is_not_told(gallery, monkeypatch):
    monkeypatch.setattr(Gallery, "search_with_notes", lambda *args, **options: 1 / 0)
    app = build_api(GalleryService({"small": gallery}))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/search", json={"text": "red"})
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text


def test_galleries_are_named_after_their_folders(tmp_path):
    folder = save_gallery(tmp_path)
    (name, opened), *others = open_galleries([folder]).items()
    assert (name, opened.ids, others) == ("small", ["apple", "pear", 'dog"><i>', "cat"], [])
    shutil.copytree(folder, tmp_path / "other" / "small")
    with pytest.raises(InputError, match="Two galleries are named 'small'"):
        open_galleries([folder, tmp_path / "other" / "small"])
    with pytest.raises(InputError, match="add --gallery DIR"):
        open_galleries([])
