"""No file chooses which Milvus server is contacted, nor where a token goes; no server is needed to see it."""

from __future__ import annotations

import json
import socket
import threading

import pytest

pytest.importorskip("pymilvus", reason="the client of Milvus is not installed")

from cmr_hub import Gallery
from cmr_hub.errors import InputError
from cmr_hub.indexes import load_index
from cmr_hub.indexes.milvus import MilvusIndex
from cmr_hub.indexes.milvus import index as milvus
from cmr_hub.indexes.milvus.connection import Connection
from cmr_hub.utils.checksums import write_checksums
from toys import feature_dataset, feature_retriever

TOKEN = "root:secret-of-the-caller"


class Contacted(Exception):
    """A connection would have been made."""


class Listener:
    """A loopback address that records what it is sent, in the place of a stranger's server."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.received: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            self.received.append(b"")
            with connection:
                connection.settimeout(0.2)
                self.received[-1] = connection.recv(1 << 16)


@pytest.fixture
def stranger():
    listener = Listener()
    yield listener
    listener.socket.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch, private_cache):
    monkeypatch.setenv("MILVUS_TOKEN", TOKEN)
    monkeypatch.delenv("MILVUS_URI", raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def retriever():
    return feature_retriever()


@pytest.fixture
def saved(retriever, tmp_path):
    """A function that gives a gallery's folder whose settings name an index with some options."""
    folder = tmp_path / "gallery"
    Gallery.from_dataset(feature_dataset(12), retriever).save_pretrained(folder)

    def save(**options):
        path = folder / "gallery_config.json"
        config = json.loads(path.read_text()) | {"index": "milvus", "index_options": options}
        path.write_text(json.dumps(config))
        write_checksums(folder)  # of whoever made it
        return folder

    return save


@pytest.fixture
def contacts(monkeypatch):
    """The address, token and local folder of each connection that would have been made."""
    made: list[tuple[str, str | None]] = []

    def connect(address, token=None, timeout=60.0):
        made.append((address, token))
        raise Contacted

    monkeypatch.setattr(milvus, "Connection", connect)
    monkeypatch.setattr(milvus, "local_address", lambda folder: f"server in {folder}")
    return made


def test_a_gallery_sends_nothing_to_an_address_that_it_names(saved, retriever, stranger):
    folder = saved(collection="photos", address=stranger.address, timeout=2)
    with pytest.raises(
        InputError, match=rf"index_options={{'address': '{stranger.address}'}} if that server is yours"
    ):
        Gallery.from_pretrained(folder, retriever=retriever)
    assert stranger.received == []
    assert len(Gallery.from_pretrained(folder, retriever=retriever, index="auto")) == 12


def test_an_index_sends_nothing_to_an_address_that_it_names(stranger, tmp_path):
    config = {"index": "milvus", "options": {"collection": "photos", "address": stranger.address, "timeout": 2}}
    (tmp_path / "index_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="files do not choose which servers are contacted"):
        load_index(tmp_path)
    assert stranger.received == []


@pytest.mark.parametrize("place", [{"folder": "server"}, {"folder": None}, {"address": None}, {"address": "x.db"}, {}])
def test_a_gallery_starts_no_server_and_makes_no_file(saved, retriever, contacts, tmp_path, place):
    if place.get("folder"):
        place = {"folder": str(tmp_path / "server")}
    with pytest.raises(InputError, match="files do not choose"):
        Gallery.from_pretrained(saved(collection="photos", **place), retriever=retriever)
    assert contacts == []
    assert not (tmp_path / "server").exists()


@pytest.mark.parametrize(
    ("given", "address", "token"),
    [
        ({"address": "http://own:1"}, "http://own:1", None),
        ({"address": "http://own:1", "token": "other"}, "http://own:1", "other"),
        ({"folder": "here"}, "server in here", ""),
        ({"folder": None}, "server in None", ""),
    ],
)
def test_the_caller_names_the_server(saved, retriever, contacts, given, address, token):
    folder = saved(collection="photos", address="http://stranger:1", token="stranger's")
    with pytest.raises(Contacted):
        Gallery.from_pretrained(folder, retriever=retriever, index_options=given)
    assert contacts == [(address, token)]


def test_the_environment_names_the_server(saved, retriever, contacts, monkeypatch):
    monkeypatch.setenv("MILVUS_URI", "own:1")
    for confirmed in ("http://own:1/", None):
        with pytest.raises(Contacted):
            Gallery.from_pretrained(saved(collection="photos", address=confirmed), retriever=retriever)
    for other in ("http://stranger:1", "https://own:1", 7, "http://own:1@stranger:1"):
        with pytest.raises(InputError, match=r"confirms the address that it is set to"):
            Gallery.from_pretrained(saved(collection="photos", address=other), retriever=retriever)
    assert contacts == [("own:1", None)] * 2
    with pytest.raises(Contacted):
        MilvusIndex(None, collection="photos")
    with pytest.raises(Contacted):
        MilvusIndex(None, collection="photos", folder="here")
    assert contacts[2:] == [("own:1", None), ("server in here", "")]


def test_options_that_say_where_are_added_to_the_saved_ones():
    saved = {"collection": "photos", "index_type": "HNSW", "address": "http://stranger:1"}
    where = {"address": "http://own:1"}
    assert MilvusIndex.options_to_open(saved, where) == {"collection": "photos", "index_type": "HNSW", **where}
    assert MilvusIndex.options_to_open(saved, {"collection": "other", **where}) == {"collection": "other", **where}


def test_a_token_is_neither_saved_nor_shown(retriever, tmp_path, monkeypatch, contacts):
    class InMemory:
        def __init__(self, vectors, token):
            assert token == TOKEN

        wants_metadata, options_for = False, staticmethod(lambda options, gallery, modality: options)
        options_to_save = MilvusIndex.options_to_save

    monkeypatch.setattr("cmr_hub.retrieval.gallery_indexes.INDEXES", {"milvus": InMemory})
    gallery = Gallery.from_dataset(feature_dataset(9), retriever, index="milvus", index_options={"token": TOKEN})
    gallery.save_pretrained(tmp_path / "saved")
    assert TOKEN not in (tmp_path / "saved" / "gallery_config.json").read_text() + repr(vars(gallery.index))


def test_a_built_gallery_has_no_token(retriever, tmp_path, contacts):
    options = {"collection": "photos", "address": "http://own:1", "token": TOKEN, "folder": "/home/me"}
    with pytest.raises(Contacted):
        Gallery.build(feature_dataset(9), retriever, tmp_path, "milvus", index_options=options, show_progress=False)
    assert contacts == [("http://own:1", TOKEN)]
    config = json.loads((tmp_path / "gallery_config.json").read_text())
    assert config["index_options"] == {"collection": "photos", "address": "http://own:1"}


@pytest.mark.parametrize(
    "address", ["http://me:secret@own:1", "http://own:1/?token=secret", "./file.db", "http://own:1#secret"]
)
def test_errors_show_no_credentials_of_an_address(address):
    with pytest.raises(InputError) as error:
        Connection(address)
    assert "secret" not in str(error.value)
