"""The Milvus index against a real server on loopback, that is killed, cut off and kept waiting."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

pytest.importorskip("milvus", reason="the package with a Milvus server is not installed")
pymilvus = pytest.importorskip("pymilvus", reason="the client of Milvus is not installed")

import cmr_hub  # noqa: E402
from closeness import assert_hits  # noqa: E402
from cmr_hub import Gallery  # noqa: E402
from cmr_hub.errors import CheckpointError, InputError, ServerError  # noqa: E402
from cmr_hub.indexes import INDEXES, Filter, load_index  # noqa: E402
from cmr_hub.indexes.exact import ExactIndex  # noqa: E402
from cmr_hub.indexes.hamming import HammingIndex  # noqa: E402
from cmr_hub.indexes.milvus import MilvusIndex, ingest, stored_items  # noqa: E402
from cmr_hub.indexes.milvus import connection as milvus_connection  # noqa: E402
from cmr_hub.indexes.milvus import index as milvus  # noqa: E402
from cmr_hub.indexes.milvus.collection import VectorIndex, cut, has_any_label  # noqa: E402
from cmr_hub.indexes.milvus.server import local_address, stop_local_servers  # noqa: E402
from toys import feature_dataset, feature_retriever  # noqa: E402

pytestmark = pytest.mark.slow

KILLED_ROWS, SMALL_BATCH = 4000, 250
HOSTILE = [
    'say "no"',
    "it's",
    "back\\slash",
    "ends in \\",
    "two\nlines",
    '"] or key >= 0 or array_contains(labels, "',
    "' or 1 == 1 --",
    "日本 é 😀",
    "%s {x} \\u0041 \\x41",
    "\t\x01\x7f\u2028",
]

# Fills a collection, slowly enough to be killed on the way.
FILL_SLOWLY = f"""
import sys, time
import numpy as np
from cmr_hub.indexes.milvus import MilvusIndex, ingest
ingest.BATCH_ROWS = {SMALL_BATCH}
class Slow:
    def __len__(self):
        return {KILLED_ROWS}
    def __getitem__(self, rows):
        if rows.start >= {KILLED_ROWS} // 2:
            print("half", flush=True)
            time.sleep(0.5)
        return [{{"id": f"item {{row}}"}} for row in range(rows.start, rows.stop)]
MilvusIndex(np.load(sys.argv[1]), collection="killed", address=sys.argv[2], metadata=Slow())
"""
SERVE = """
import sys, time
from cmr_hub.indexes.milvus.server import local_address
print(local_address(sys.argv[1]), flush=True)
time.sleep(600)
"""


def started(program: str, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(cmr_hub.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, env=environment, text=True
    )


def random_codes(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 8), dtype=np.uint8)


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Asked:
    """Metadata that remember which slices were read."""

    def __init__(self, length: int, before=lambda start: None):
        self.length, self.before, self.starts = length, before, []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> list[dict]:
        self.before(rows.start)
        self.starts.append(rows.start)
        return [{"id": f"item {row}"} for row in range(*rows.indices(self.length))]


class Wire:
    """A loopback address that leads to a server, until it is cut or stalled."""

    def __init__(self, target: str):
        host, port = target.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.stalled = False
        self.pairs: list[socket.socket] = []
        self.open()
        self.address = f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", getattr(self, "port", 0)))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def cut(self) -> None:
        for end in [self.listener, *self.pairs]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.pairs = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.pairs += [near, far]
            threading.Thread(target=self._copy, args=[near, far], daemon=True).start()
            threading.Thread(target=self._copy, args=[far, near], daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while self.stalled:
                    time.sleep(0.01)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("milvus") / "server"
    stop_local_servers()


@pytest.fixture(scope="module")
def address(folder):
    return local_address(folder)


@pytest.fixture
def quick(monkeypatch):
    """Small batches, and short waits between attempts."""
    monkeypatch.setattr(ingest, "BATCH_ROWS", SMALL_BATCH)
    monkeypatch.setattr(milvus_connection, "FIRST_WAIT", 0.05)


@pytest.fixture(scope="module")
def codes_index(address):
    """An index of 300 codes that tests read and do not change."""
    return MilvusIndex(random_codes(300), collection="codes", address=address)


@pytest.mark.usefixtures("quick")
def test_killed_half_way_it_goes_on_and_every_id_is_there_once(folder, address, tmp_path):
    np.save(tmp_path / "codes.npy", random_codes(KILLED_ROWS))
    process = started(FILL_SLOWLY, tmp_path / "codes.npy", address)
    assert process.stdout.readline() == "half\n"
    process.kill()
    process.communicate()
    items = Asked(KILLED_ROWS)
    index = MilvusIndex(random_codes(KILLED_ROWS), collection="killed", address=address, metadata=items)
    assert KILLED_ROWS // 2 <= items.starts[0] < KILLED_ROWS
    assert items.starts == list(range(items.starts[0], KILLED_ROWS, SMALL_BATCH))
    assert index.ids.tolist() == list(range(KILLED_ROWS))
    assert len(index) == KILLED_ROWS
    assert [item["id"] for item in index.metadata([0, 3999, 7])] == ["item 0", "item 3999", "item 7"]
    again = Asked(KILLED_ROWS)
    assert (
        len(MilvusIndex(random_codes(KILLED_ROWS), collection="killed", folder=folder, metadata=again)) == KILLED_ROWS
    )
    assert again.starts == []
    queries = random_codes(20, seed=1)
    cosines, ids = index.search(queries, 50)
    expected, rows = HammingIndex(random_codes(KILLED_ROWS)).search(queries, 50)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    for cosine, found, row in zip(cosines, ids, rows, strict=True):
        nearer = cosine > cosine[-1]
        assert found[nearer].tolist() == row[nearer].tolist()
        assert len(set(found)) == 50


@pytest.mark.parametrize(("vectors", "exact"), [(random_codes(300), HammingIndex), (random_vectors(300), ExactIndex)])
def test_what_every_index_does(address, vectors, exact):
    collection = f"protocol_{vectors.dtype}"
    index = MilvusIndex(vectors[:200], 1000 + np.arange(200), collection=collection, address=address)
    assert not index.approximate
    assert index.representation == exact.representation
    index.add(vectors[200:250])
    index.add(vectors[250:], 7 + np.arange(50))
    assert index.ids.tolist() == [*range(7, 57), *range(1000, 1250)]
    order = np.argsort([*range(1000, 1250), *range(7, 57)])
    ours, theirs = index.search(vectors[:40], 300), exact(vectors[order], index.ids).search(vectors[:40], 300)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
    if vectors.dtype == np.uint8:
        np.testing.assert_array_equal(ours[1], theirs[1])
    else:
        assert (ours[1] == theirs[1]).mean() > 0.99  # nearly equal scores may change places
    assert (ours[0].dtype, ours[1].dtype) == (np.float32, np.int64)
    some = np.arange(1003, 1200, 9)
    scores, ids = index.search(vectors[:4], 50, Filter(some))
    assert sorted(ids[0][ids[0] >= 0]) == some.tolist()
    assert (scores[ids < 0] == -np.inf).all()
    assert (index.search(vectors[:2], 3, Filter(np.empty(0, np.int64)))[1] == -1).all()
    for ids, message in [([1000], "taken already"), ([3, 4], "one id each"), ([-4], "negative")]:
        with pytest.raises(InputError, match=message):
            index.add(vectors[:1], np.array(ids))
    with pytest.raises(InputError, match="no item with the id 6 in this index: nothing was removed"):
        index.remove(np.array([7, 6]))
    assert len(index) == 300
    index.remove(index.search(vectors[:10], 1)[1][:, 0])
    assert (len(index), len(index.ids)) == (290, 290)
    assert (index.search(vectors[:10], 1)[0] < 0.999).all()
    index.add(vectors[:1], np.array([1000]))
    assert index.search(vectors[:1], 1)[1].tolist() == [[1000]]
    index.remove(index.ids)
    assert len(index) == 0
    assert index.search(vectors[:2], 3)[1].tolist() == [[-1] * 3] * 2
    index.add(vectors[:4])
    assert index.ids.tolist() == [0, 1, 2, 3]


def test_equal_distances_are_in_the_order_of_ids(address, codes_index):
    cosines, ids = codes_index.search(random_codes(5, seed=2), 300)
    for cosine, found in zip(cosines, ids, strict=True):
        assert found.tolist() == sorted(found, key=lambda i: (-cosine[found == i][0], i))


def test_refused_before_the_server_is_asked(codes_index, address):
    with pytest.raises(InputError, match="embed both with one checkpoint"):
        codes_index.search(random_codes(1)[:, :4], 1)
    with pytest.raises(InputError, match="k is 0"):
        codes_index.search(random_codes(1), 0)
    with pytest.raises(InputError, match="k is 16,385, and Milvus finds at most 16,384"):
        codes_index.search(random_codes(1), 16_385)
    with pytest.raises(InputError, match=r"confined to 200,000 ids, not to 200,001: confine it by class"):
        codes_index.search(random_codes(1), 1, Filter(np.arange(200_001)))
    with pytest.raises(InputError, match="no item with the id 300"):
        codes_index.metadata([3, 300])
    assert codes_index.search(random_codes(0), 3)[1].shape == (0, 3)
    with pytest.raises(InputError, match="letters, digits and underscores, unlike 'a b'"):
        MilvusIndex(random_codes(1), collection="a b", address=address)
    with pytest.raises(InputError, match="codes of 64 bits by FLAT or IVF_FLAT, not by 'HNSW'"):
        MilvusIndex(random_codes(1), collection="hnsw", address=address, index_type="HNSW")
    with pytest.raises(InputError, match="contains a password"):
        MilvusIndex(random_codes(1), collection="codes", address="http://root:secret@localhost:1")
    with pytest.raises(InputError, match=r"an address like 'http://host:19530', not '\./milvus.db/x'"):
        MilvusIndex(random_codes(1), collection="codes", address="./milvus.db/x")
    with pytest.raises(InputError, match="2 vectors and metadata of 3 items"):
        codes_index.add(random_codes(2), metadata=[{}] * 3)


def test_ids_in_many_filters_are_one_search(codes_index, monkeypatch):
    whole = codes_index.search(random_codes(3, seed=1), 20, Filter(np.arange(0, 300, 2)))
    monkeypatch.setattr(milvus, "BATCH_KEYS", 40)
    monkeypatch.setattr(stored_items, "BATCH_KEYS", 40)
    monkeypatch.setattr(milvus, "BATCH_QUERIES", 2)
    parts = codes_index.search(random_codes(3, seed=1), 20, Filter(np.arange(0, 300, 2)))
    np.testing.assert_allclose(whole[0], parts[0], atol=1e-6)
    assert (parts[1] % 2 == 0).all()


def test_pages_put_together_are_all_ids(codes_index, monkeypatch):
    monkeypatch.setattr(stored_items, "MAX_FOUND", 7)
    assert codes_index.ids.tolist() == list(range(300))
    assert codes_index._items.next_id() == 300


def test_another_collection_is_refused_and_left_as_it_is(codes_index, address):
    for vectors, options, difference in [
        (random_codes(300)[:, :4], {}, "it holds codes of 64 bits, and these are codes of 32 bits"),
        (random_vectors(300), {}, "it holds codes of 64 bits, and these are real-valued vectors of width 32"),
        (random_codes(300), {"index_type": "IVF_FLAT"}, "its index_type is BIN_FLAT, and BIN_IVF_FLAT was asked for"),
        (random_codes(299), {}, "it has 1 items that are not among these, as the id 299"),
        (random_codes(400, seed=5), {}, r"the vectors differ \(mean cosine -?0\.\d\d\)"),
    ]:
        with pytest.raises(InputError, match=f"{difference}.*Nothing was changed.*collection=.*MilvusIndex.drop"):
            MilvusIndex(vectors, collection="codes", address=address, **options)
    assert codes_index.ids.tolist() == list(range(300))
    client = pymilvus.MilvusClient(address)
    schema = client.create_schema()
    schema.add_field("mine", pymilvus.DataType.INT64, is_primary=True)
    schema.add_field("other", pymilvus.DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("foreign", schema=schema)
    with pytest.raises(InputError, match="it has the fields mine, other and not key, id, labels, text, image, vector"):
        MilvusIndex(random_codes(3), collection="foreign", address=address)
    with pytest.raises(InputError, match="holds no gallery: it has no field 'vector'"):
        MilvusIndex(None, collection="foreign", address=address)
    MilvusIndex.drop("foreign", address=address)
    MilvusIndex.drop("foreign", address=address)
    assert not client.has_collection("foreign")


def test_vectors_that_were_computed_again_are_the_same(codes_index, address):
    codes = random_codes(300)
    codes[::50, 0] ^= 1
    assert len(MilvusIndex(codes, collection="codes", address=address)) == 300


def test_a_crash_before_the_index_was_made(address):
    client = pymilvus.MilvusClient(address)
    client.create_collection("bare", schema=VectorIndex("real-valued", 32).schema())
    vectors = random_vectors(50)
    index = MilvusIndex(vectors, collection="bare", address=address, index_type="HNSW")
    assert index.approximate
    assert (index.search(vectors, 1)[1][:, 0] == np.arange(50)).mean() > 0.9
    assert client.describe_index("bare", "vector")["efConstruction"] == "200"


def test_metadata_and_filters_by_label_whatever_they_contain(address):
    labels = [[name] for name in HOSTILE] + [HOSTILE[:3], []]
    text = "é" * 5000 + "😀"
    items = [{"id": f"ü {row}", "labels": names, "text": text, "image": "a/ß.jpg"} for row, names in enumerate(labels)]
    codes = random_codes(len(labels))
    index = MilvusIndex(codes, collection="labelled", address=address, metadata=items)
    stored = index.metadata(np.arange(len(labels)))
    assert [item["labels"] for item in stored] == labels
    assert {item["text"] for item in stored} == {"é" * 2048}
    assert (stored[3]["id"], stored[3]["image"]) == ("ü 3", "a/ß.jpg")
    for name in HOSTILE:
        found = index.search(codes[:1], len(labels), Filter(np.arange(0), (name,)))[1][0]
        assert sorted(found[found >= 0]) == [row for row, names in enumerate(labels) if name in names]
    found = index.search(codes[:1], 12, Filter(np.arange(0), (HOSTILE[1], HOSTILE[7])))[1][0]
    assert sorted(found[found >= 0]) == [1, 7, 10]
    assert (index.search(codes[:1], 5, Filter(np.arange(0), ("none",)))[1] == -1).all()
    for item, message in [
        ({"id": "x" * 513}, "its id has more than 512 bytes"),
        ({"labels": ["\ud800"]}, "its label has more than 512 bytes, or is no Unicode"),
        ({"image": "ß" * 513}, "its image has more than 1024 bytes"),
        ({"labels": ["a"] * 257}, "has 257 labels, and an item may have 256"),
    ]:
        with pytest.raises(InputError, match=f"Item 12.*{message}"):
            index.add(codes[:1], metadata=[item])
    assert len(index) == len(labels)


def test_saved_without_vectors_and_token_and_opened_again(codes_index, address, tmp_path, monkeypatch):
    index = MilvusIndex(None, collection="codes", address=address, token="root:secret")
    index.save(tmp_path / "index")
    files = sorted(path for path in (tmp_path / "index").rglob("*") if path.is_file())
    assert [path.name for path in files] == ["checksums.json", "index_config.json"]
    assert not any("secret" in path.read_text() for path in files)
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    monkeypatch.setenv("MILVUS_URI", address)
    again = load_index(tmp_path / "index", {"address": address})
    assert again.options == index.options
    queries = random_codes(9, seed=1)
    np.testing.assert_array_equal(again.search(queries, 3)[1], index.search(queries, 3)[1])
    path = tmp_path / "index" / "index_config.json"
    config = path.read_text()
    path.write_text(config.replace('"items": 300', '"items": 299'))
    with pytest.raises(CheckpointError, match=r"has changed since .*: items was 299 and is 300"):
        load_index(tmp_path / "index", verify=False)
    path.write_text(config.replace('"codes"', '"gone"'))
    with pytest.raises(CheckpointError, match="There is no collection 'gone' at http"):
        load_index(tmp_path / "index", verify=False)


@pytest.mark.usefixtures("quick")
def test_the_server_goes_away_and_comes_back(address, monkeypatch):
    codes, wire = random_codes(2000), Wire(address)
    with pytest.raises(
        ServerError, match=f"No Milvus server answers at {wire.address}.*What it has confirmed is safe"
    ):
        MilvusIndex(
            codes,
            collection="cut",
            address=wire.address,
            metadata=Asked(2000, lambda start: wire.cut() if start == 1000 else None),
        )
    wire.open()
    monkeypatch.setattr(milvus_connection, "FIRST_WAIT", 0.2)  # gRPC itself waits a second after a failure

    def cut_for_a_moment(start):
        if start == 1500:
            wire.cut()
            threading.Timer(0.2, wire.open).start()

    items = Asked(2000, cut_for_a_moment)
    index = MilvusIndex(codes, collection="cut", address=wire.address, metadata=items)
    assert items.starts[0] == 1000
    assert index.ids.tolist() == list(range(2000))
    wire.cut()
    with pytest.raises(ServerError, match="No Milvus server answers"):
        index.search(codes[:1], 1)
    MilvusIndex.drop("cut", address=address)


def test_a_server_that_stops_answering(codes_index, address):
    wire = Wire(address)
    index = MilvusIndex(None, collection="codes", address=wire.address, timeout=1.0)
    wire.stalled = True
    start = time.monotonic()
    with pytest.raises(ServerError, match=r"did not answer within 1 s \(search\).*give it more time"):
        index.search(random_codes(1), 1)
    assert time.monotonic() - start < 5
    wire.stalled = False
    assert index.search(random_codes(1), 1)[1].tolist() == [[0]]
    wire.cut()


@pytest.mark.usefixtures("quick")
def test_nobody_listens_or_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ServerError, match=rf"http://{address} did not answer within 1 s \(connect\)"):
            MilvusIndex(random_codes(1), collection="codes", address=address, timeout=1.0)
        assert time.monotonic() - start < 5
    with pytest.raises(ServerError, match=f"No Milvus server answers at http://{address}"):
        MilvusIndex(random_codes(1), collection="codes", address=address)


def test_a_folder_has_one_process_and_its_server_dies_with_it(tmp_path):
    process = started(SERVE, tmp_path)
    try:
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        with pytest.raises(ServerError, match=f"Another process serves .* pass address='http://{host}:{port}'"):
            local_address(tmp_path)
    finally:
        process.kill()
        process.communicate()
    with FileLock(tmp_path / "server.lock", timeout=20), pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    assert not (tmp_path / "address.txt").exists()


def test_without_the_server_package_it_says_what_to_install(monkeypatch, private_cache):
    monkeypatch.setattr("cmr_hub.indexes.milvus.server.find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r'pip install "cmr-hub\[milvus\]", or pass the address of a cluster'):
        MilvusIndex(random_codes(1), collection="codes")


@pytest.mark.parametrize("method", ["dscmr", "sh"])
def test_a_gallery_on_the_server_finds_what_one_in_memory_finds(address, tmp_path, method):
    dataset, retriever = feature_dataset(80), feature_retriever(method)
    options = {"collection": f"gallery_{method}", "address": address}
    gallery = Gallery.from_dataset(dataset, retriever, index="milvus", index_options=options)
    in_memory = Gallery.from_dataset(dataset, retriever)
    for query in (
        {"item": "item-3", "target": "text"},
        {"item": "item-3", "source": "text", "target": "text"},
        {"item": "item-5", "label": dataset.features["label"].names[1]},
    ):
        hits, expected = gallery.search(**query, k=9), in_memory.search(**query, k=9)
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        nearer = {hit.id for hit in expected if hit.score > expected[-1].score + 1e-5}
        assert nearer <= {hit.id for hit in hits}
        assert {hit.labels for hit in hits} == {hit.labels for hit in expected} or "label" not in query
    stored = gallery.indexes["image"].metadata([7])[0]
    assert stored == {"id": "item-7", "labels": list(gallery.labels(7)), "text": "", "image": ""}
    gallery.save_pretrained(tmp_path)
    again = Gallery.from_pretrained(tmp_path, retriever=retriever, index_options={"address": address})
    assert again.indexes["text"].collection == f"gallery_{method}_text"
    assert_hits(again.search(item="item-3", k=3), gallery.search(item="item-3", k=3))


def test_each_side_of_a_gallery_has_a_collection():
    assert INDEXES["milvus"].options_for({}, "9 lives", "image") == {"collection": "_9_lives_image"}
    options = {"collection": "mine", "address": "host:1"}
    assert MilvusIndex.options_for(options, "any", "text") == {"collection": "mine_text", "address": "host:1"}


@pytest.mark.parametrize("limit", range(12))
def test_cut_texts_are_whole_letters(limit):
    text = "aé日😀b"
    assert cut(text, limit) == max((text[:n] for n in range(6) if len(text[:n].encode()) <= limit), key=len)


def test_a_filter_is_one_string_a_label():
    assert has_any_label(["a", '"b']) == 'array_contains_any(labels, ["a", "\\"b"])'
