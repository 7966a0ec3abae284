"""Galleries on a real Milvus server, next to the same ones in memory."""

import threading

import numpy as np
import pytest
from datasets import ClassLabel, Dataset

import cmr_hub
from cmr_hub import Gallery
from cmr_hub.errors import CheckpointError, InputError
from small_space import make_gallery
from toys import feature_dataset, feature_retriever

pytest.importorskip("milvus")
from cmr_hub.indexes.milvus.server import local_address, stop_local_servers

pytestmark = pytest.mark.slow
COUNT = 40


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    yield local_address(tmp_path_factory.mktemp("milvus") / "server")
    stop_local_servers()


def filled(method, address):
    """A remote gallery and the same in memory."""
    retriever, items = feature_retriever(method), feature_dataset(COUNT)
    remote = Gallery.connect(f"both_{method}", retriever, address=address, create=True)
    assert len(remote) == 0
    assert remote.add(items, show_progress=False) == COUNT
    return remote, Gallery.from_dataset(items, retriever, cache=False, show_progress=False)


@pytest.fixture(scope="module")
def both(address):
    return filled("dscmr", address)


def facts(hits):
    return [(hit.id, hit.texts, hit.labels, hit.same_class) for hit in hits]


@pytest.mark.parametrize("method", ["dscmr", "sh"])
def test_hits_are_those_of_a_gallery_in_memory(both, address, method):
    remote, local = both if method == "dscmr" else filled(method, address)
    for query in (
        {"item": "item-3"},
        {"item": "item-3", "source": "image"},
        {"item": "item-3", "target": "text"},
        {"item": ["item-3", "item-5"], "k": 4},
        {"item": "item-3", "label": [local.class_names[1]]},
        {"item": "item-3", "min_score": 0.2},
    ):
        found, expected = remote.search(**query), local.search(**query)
        several = expected if isinstance(expected[0], list) else [expected]
        for hits, wanted in zip(found if isinstance(found[0], list) else [found], several, strict=True):
            np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in wanted], atol=1e-5)
            if local.retriever.model.is_hashing:  # of equal distances at the last place Milvus chooses
                wanted = [hit for hit in wanted if hit.score > wanted[-1].score + 1e-6]
                hits = hits[: len(wanted)]
            assert sorted(facts(hits), key=str) == sorted(facts(wanted), key=str)


def test_the_least_score_that_means_something_is_that_of_the_gallery_in_memory(both):
    remote, local = both  # all items are in the sample, in another order
    found = remote.search(item="item-3", k=COUNT, min_score="auto")
    expected = local.search(item="item-3", k=COUNT, min_score="auto")
    assert sorted(hit.id for hit in found) == sorted(hit.id for hit in expected)


def test_items_that_are_sent_again_are_there_once_whoever_sends_them(both, address):
    remote, _ = both
    other = Gallery.connect(
        remote.indexes["image"].collection.removesuffix("_image"), remote.retriever, address=address
    )
    assert len(other) == COUNT
    items = feature_dataset(COUNT)
    threads = [
        threading.Thread(target=gallery.add, args=[items.select(range(30))], kwargs={"show_progress": False})
        for gallery in (remote, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [hit.id for hit in remote.search(item="item-0", source="text", k=3 * COUNT)]
    assert sorted(ids) == sorted(items["id"])


def test_items_are_added_and_removed(address):
    retriever = feature_retriever()
    gallery = Gallery.connect("changing", retriever, address=address, create=True, modalities=["image"])
    items = feature_dataset(12)
    gallery.add(items.select(range(10)), show_progress=False)
    gallery.remove(["item-1", "item-2"])
    gallery.add(items.select(range(10, 12)), show_progress=False)
    expected = {"item-0", *(f"item-{number}" for number in range(3, 12))}
    assert {hit.id for hit in gallery.search(item="item-0", source="image", k=50)} | {"item-0"} == expected
    with pytest.raises(InputError, match="no item 'item-1' in this gallery: nothing was removed"):
        gallery.remove(["item-3", "item-1"])
    assert len(gallery) == 10
    with pytest.raises(InputError, match="no item 'item-1' in the collection 'changing_image'"):
        gallery.search(item="item-1")


def test_an_index_of_a_gallery_is_found_too(address):
    retriever, items = feature_retriever(), feature_dataset(20)
    local = Gallery.from_dataset(
        items, retriever, index="milvus", index_options={"collection": "indexed", "address": address}, cache=False
    )
    remote = Gallery.connect("indexed", retriever, address=address)
    assert facts(remote.search(item="item-2")) == facts(local.search(item="item-2"))
    remote.add(feature_dataset(25), show_progress=False)  # the first 20 keep their numbers
    assert len(remote) == 25
    assert sorted(hit.id for hit in remote.search(item="item-2", source="text", k=99)) == sorted(
        feature_dataset(25)["id"]
    )


def test_images_are_those_of_the_folder_that_is_named(address, tmp_path):
    small = make_gallery(tmp_path)
    dataset = small.dataset
    remote = Gallery.connect("photos", small.retriever, address=address, create=True, image_root=tmp_path)
    remote.add(dataset, show_progress=False)
    (hit,) = remote.search(text="red", k=1)
    assert hit.image is not None
    assert hit.image.convert("RGB").getpixel((0, 0)) == small.search(text="red", k=1)[0].image.getpixel((0, 0))
    elsewhere = Gallery.connect("photos", small.retriever, address=address)
    assert elsewhere.search(text="red", k=1)[0].image is None
    (tmp_path / "other").mkdir()
    outside = Gallery.connect("photos", small.retriever, address=address, image_root=tmp_path / "other")
    with pytest.raises(InputError, match=hit.id):
        _ = outside.search(text="red", k=1)[0].image


def test_what_cannot_be_is_refused(address, both):
    remote, _ = both
    with pytest.raises(CheckpointError, match="no gallery 'nothing' on the server: create=True"):
        Gallery.connect("nothing", remote.retriever, address=address)
    with pytest.raises(InputError, match="made by another checkpoint"):
        Gallery.connect("both_dscmr", feature_retriever("cca"), address=address)
    with pytest.raises(InputError, match="No class was named"):
        remote.search(item="item-3", label=[])
    with pytest.raises(InputError, match="no texts"):
        remote.add(feature_dataset(5).remove_columns("text_features"))
    assert remote.search(item="item-3", label="no such class") == []


def test_it_is_named_and_typed(both):
    remote, _ = both
    assert isinstance(remote, cmr_hub.RemoteGallery)
    assert repr(remote).startswith("RemoteGallery('both_")


def test_classes_as_several_labels_are_kept(address):
    retriever = feature_retriever()
    names = ["sea", "sand", "sky"]
    items = feature_dataset(3).remove_columns("label").add_column("labels", [[0, 2], [], [1]])
    items = items.cast_column("labels", [ClassLabel(names=names)]) if isinstance(items, Dataset) else items
    gallery = Gallery.connect("several", retriever, address=address, create=True, modalities=["text"])
    gallery.add(items, show_progress=False)
    found = gallery.search(item="item-1", target="text", label="sky")
    assert [(hit.id, hit.labels) for hit in found] == [("item-0", ("sea", "sky"))]
