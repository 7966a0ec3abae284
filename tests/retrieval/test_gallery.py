import errno
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List
from PIL import Image as Images
from PIL import ImageOps

import cmr_hub
from closeness import assert_hits
from cmr_hub import Gallery, Hit
from cmr_hub.data.columns import read_column
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError
from cmr_hub.retrieval.embedding import Embedder
from hub_server import TOKEN
from toys import COLOURS, feature_dataset, feature_retriever, image_dataset, raw_retriever


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    return Gallery.from_dataset(image_dataset(tmp_path_factory.mktemp("images")), raw_retriever(), cache=False)


def test_hits_are_the_nearest_in_order(gallery):
    hits = gallery.search(text="red", target="image", k=3)
    query = gallery.retriever.encode_texts(["red"])[0]
    scores = gallery.embeds["image"] @ query
    assert [hit.id for hit in hits] == [list(COLOURS)[i] for i in np.argsort(-scores)]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1], rtol=1e-5)


def test_words_of_a_query_without_a_vector_are_named(gallery, caplog):
    hits = gallery.search(text="purple red and mauve", target="image", k=1)
    assert hits[0].id == "red"
    assert "No vector for: purple, and, mauve." in caplog.text
    with pytest.raises(InputError, match=r"no vector for: purple, mauve"):
        gallery.search(text="purple mauve", k=1)


def test_a_query_of_known_words_is_no_warning(gallery, caplog):
    gallery.search(text="red green", target="image", k=1)
    assert not caplog.records


def test_a_hit_tells_what_it_is(gallery):
    hit = next(hit for hit in gallery.search(text="red", k=3) if hit.id == "green")
    assert hit.texts == ("a green square", "green paint")
    assert hit.labels == ("cool",)
    assert hit.image.convert("RGB").getpixel((0, 0)) == COLOURS["green"]
    assert hit.same_class is None


def test_an_image_finds_its_own_text_side(gallery):
    hits = gallery.search(image=gallery.image(1), target="image", k=1)
    assert hits[0].id == "green"
    assert hits[0].score == pytest.approx(1, abs=1e-5)


def test_an_item_as_query_marks_its_class(gallery):
    hits = gallery.search(item="green", target="image", k=3)
    assert {hit.id: hit.same_class for hit in hits} == {"red": False, "green": True, "blue": True}


def test_an_item_is_not_its_own_neighbour_on_the_same_side(gallery):
    hits = gallery.search(item="green", source="image", target="image", k=3)
    assert {hit.id for hit in hits} == {"red", "blue"}


def test_a_small_gallery_gives_as_many_hits_as_it_has(gallery):
    assert len(gallery.search(text="red", k=10)) == 3
    assert len(gallery.search(text="red", k=np.int64(2))) == 2


QUERIES = {
    "text": lambda folder: ["red", "a blue square"],
    "image": lambda folder: [folder / "red.png", Images.open(folder / "blue.png")],
    "item": lambda folder: ["red", "blue"],
}


@pytest.mark.parametrize("kind", QUERIES)
@pytest.mark.parametrize("as_several", [list, tuple, iter])
def test_several_queries_are_answered_each(gallery, tmp_path, kind, as_several):
    image_dataset(tmp_path)
    queries = QUERIES[kind](tmp_path)
    found = gallery.search(**{kind: as_several(queries)}, target="text", k=2)
    assert len(found) == 2
    for hits, query in zip(found, queries, strict=True):
        assert_hits(hits, gallery.search(**{kind: query}, target="text", k=2))


def test_several_queries_are_embedded_at_once(gallery, monkeypatch):
    calls, embed = [], Embedder.texts
    monkeypatch.setattr(Embedder, "texts", lambda self, texts, **by: calls.append(texts) or embed(self, texts, **by))
    gallery.search(text=["red", "blue"])
    assert calls == [["red", "blue"]]


def test_an_array_of_images_is_several_and_one_of_pixels_is_one(gallery):
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    assert [len(hits) for hits in gallery.search(image=pixels, k=1)] == [1, 1]
    assert isinstance(gallery.search(image=pixels[0], k=1)[0], Hit)
    assert gallery.search(text=[]) == []


def test_a_bad_one_among_several_queries_is_named(gallery):
    with pytest.raises(InputError, match=r"Query 2 of 2: .*knows no word of 'purple'"):
        gallery.search(text=["red", "purple"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "Give a query"),
        ({"text": "   "}, "empty"),
        ({"text": "purple"}, "knows no word of 'purple'"),
        ({"text": "🙂"}, "knows no word"),
        ({"item": "violet"}, "no item 'violet'"),
        ({"text": "red", "k": 0}, "k is 0"),
        ({"text": "red", "k": "3"}, "k is '3', and it must be a whole number from 1"),
        ({"text": "red", "k": True}, "k is True"),
        ({"text": "red", "k": 2.5}, "k is 2.5"),
        ({"text": "red", "target": "sound"}, "'image' or 'text', not 'sound'"),
        ({"image": "no-such-file.png"}, "no-such-file"),
    ],
)
def test_bad_queries(gallery, query, message):
    with pytest.raises(InputError, match=message):
        gallery.search(**{"k": 3, **query})


def test_round_trip(gallery, tmp_path):
    gallery.save_pretrained(tmp_path / "gallery")
    loaded = Gallery.from_pretrained(tmp_path / "gallery", retriever=gallery.retriever)
    assert_hits(loaded.search(text="blue", k=3), gallery.search(text="blue", k=3))
    assert loaded.image(2).convert("RGB").getpixel((0, 0)) == COLOURS["blue"]
    assert loaded.dataset.features == {**gallery.dataset.features, "image": Image(decode=False)}


def test_a_saved_gallery_holds_its_images(gallery, tmp_path):
    gallery.save_pretrained(tmp_path)
    loaded = Gallery.from_pretrained(tmp_path, retriever=gallery.retriever)
    assert loaded.dataset.data.column("image")[0].as_py()["bytes"].startswith(b"\x89PNG")


@pytest.fixture
def downloaded(tmp_path):
    """A gallery that names a private picture instead of holding an image, and its folder."""
    Images.new("RGB", (4, 4), "red").save(tmp_path / "secret.png")
    dataset = feature_dataset(3).add_column("image", [str(tmp_path / "secret.png")] * 3)
    dataset = dataset.cast_column("image", Image())
    gallery = Gallery.from_dataset(dataset, feature_retriever())
    gallery.save_pretrained(tmp_path / "gallery")
    shard = tmp_path / "gallery" / "items-00000.parquet"
    table = pq.read_table(shard)
    cells = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}] * 3, Image.pa_type)
    pq.write_table(table.set_column(table.column_names.index("image"), "image", cells), shard)
    (tmp_path / "gallery" / "checksums.json").unlink()  # whoever writes the files writes their digests too
    return tmp_path / "gallery"


def test_a_downloaded_gallery_reads_no_file(downloaded, tmp_path):
    gallery = Gallery.from_pretrained(downloaded, retriever=feature_retriever())
    hit = gallery.search(item="item-1", target="text", k=1)[0]
    for opened in (
        lambda: gallery.image(0),
        lambda: hit.image,
        lambda: gallery.save_pretrained(tmp_path / "copy"),
        lambda: read_column(gallery.dataset, "image"),
        lambda: Gallery.build(gallery.dataset, feature_retriever(), tmp_path / "built", show_progress=False),
        lambda: Gallery.build(downloaded / "items-00000.parquet", feature_retriever(), tmp_path / "built"),
    ):
        with pytest.raises(InputError, match=r"names the file '.*secret\.png'.*image_root"):
            opened()
    assert gallery.dataset[0]["image"] == {"bytes": None, "path": str(tmp_path / "secret.png")}


def test_it_reads_files_where_the_caller_says_they_are(downloaded, tmp_path):
    gallery = Gallery.from_pretrained(downloaded, retriever=feature_retriever(), image_root=tmp_path)
    assert gallery.image(0).getpixel((0, 0)) == (255, 0, 0)
    gallery.save_pretrained(tmp_path / "copy")
    assert Gallery.from_pretrained(tmp_path / "copy", retriever=feature_retriever()).image(2).size == (4, 4)
    stored = Dataset.from_parquet(str(downloaded / "items-00000.parquet"), cache_dir=str(tmp_path / "cache"))
    made = Gallery.from_dataset(stored, feature_retriever(), image_root=tmp_path)
    assert made.image(1).getpixel((0, 0)) == (255, 0, 0)
    elsewhere = Gallery.from_pretrained(downloaded, retriever=feature_retriever(), image_root=downloaded)
    with pytest.raises(InputError, match=f"Item 'item-0': .*no such file in {downloaded}"):
        elsewhere.image(0)


def test_what_a_gallery_says_of_its_columns_opens_nothing(downloaded, tmp_path):
    """Texts that are declared to be images would be opened when a hit is described."""
    shard = downloaded / "items-00000.parquet"
    table = pq.read_table(shard)
    secret = [[{"bytes": None, "path": str(tmp_path / "secret.png")}]] * 3
    table = table.append_column("texts", pa.array(secret, pa.list_(Image.pa_type)))
    declared = Features({**Features.from_arrow_schema(table.schema), "texts": List(Image())})
    pq.write_table(table.replace_schema_metadata(declared.arrow_schema.metadata), shard)
    with pytest.raises(CheckpointError, match="'texts' of another type than lists of strings"):
        Gallery.from_pretrained(downloaded, retriever=feature_retriever())


def test_images_keep_their_mode_and_are_upright(tmp_path):
    """As `datasets` decodes them."""
    exif = Images.Exif()
    exif[0x0112] = 6
    Images.new("RGB", (8, 4), "red").save(tmp_path / "turned.jpg", exif=exif)
    Images.new("RGBA", (8, 4), (255, 0, 0, 90)).save(tmp_path / "clear.png")
    Images.new("RGB", (8, 4), "red").quantize(2).save(tmp_path / "palette.gif")
    names = ["turned.jpg", "clear.png", "palette.gif"]
    dataset = feature_dataset(3).add_column("image", [str(tmp_path / name) for name in names])
    dataset = dataset.cast_column("image", Image())
    gallery = Gallery.from_dataset(dataset, feature_retriever())
    for row, name in enumerate(names):
        with Images.open(tmp_path / name) as opened:
            expected = ImageOps.exif_transpose(opened)
        image = gallery.image(row)
        assert (image.mode, image.size) == (expected.mode, expected.size)
        assert image.tobytes() == expected.tobytes()


def test_another_retriever_is_refused(tmp_path):
    dataset = feature_dataset(12)
    Gallery.from_dataset(dataset, feature_retriever()).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="embedded with other weights"):
        Gallery.from_pretrained(tmp_path, retriever=feature_retriever(seed=1))


def test_it_loads_the_retriever_that_it_brings(tmp_path):
    raw_retriever().save_pretrained(tmp_path / "elsewhere")
    retriever = cmr_hub.from_pretrained(tmp_path / "elsewhere")
    gallery = Gallery.from_dataset(image_dataset(tmp_path), retriever, cache=False)
    gallery.save_pretrained(tmp_path / "gallery")
    (tmp_path / "elsewhere").rename(tmp_path / "gallery" / "retriever")
    assert Gallery.from_pretrained(tmp_path / "gallery").ids == gallery.ids


def test_it_loads_the_retriever_that_it_names(tmp_path):
    feature_retriever().save_pretrained(tmp_path / "checkpoint")
    retriever = cmr_hub.from_pretrained(tmp_path / "checkpoint")
    Gallery.from_dataset(feature_dataset(12), retriever).save_pretrained(tmp_path / "gallery")
    assert Gallery.from_pretrained(tmp_path / "gallery").retriever.name == str(tmp_path / "checkpoint")


@pytest.mark.parametrize("name", ["items-00000.parquet", "gallery_config.json"])
@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"junk")])
def test_damaged_files(tmp_path, name, spoil):
    Gallery.from_dataset(feature_dataset(12), feature_retriever()).save_pretrained(tmp_path)
    spoil(tmp_path / name)
    with pytest.raises(CheckpointError):
        Gallery.from_pretrained(tmp_path, retriever=feature_retriever())


def test_a_failed_save_keeps_the_old_gallery(tmp_path, monkeypatch):
    Gallery.from_dataset(feature_dataset(12), feature_retriever()).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cmr_hub.retrieval.gallery_storage.write_config", full)
    with pytest.raises(OSError, match="disk is full"):
        Gallery.from_dataset(feature_dataset(9), feature_retriever()).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_hits_of_one_class(gallery):
    assert [hit.id for hit in gallery.search(text="red", label="warm", k=3)] == ["red"]
    cool = gallery.search(text="red", label="cool", k=3)
    assert [hit.id for hit in cool] == [hit.id for hit in gallery.search(text="red", k=3) if hit.id != "red"]
    assert len(gallery.search(text="red", label=["warm", "cool"], k=3)) == 3
    assert {hit.id for hit in gallery.search(item="green", source="image", label="cool", k=2)} == {"blue"}
    with pytest.raises(InputError, match="no class 'hot' in this gallery: its classes are warm, cool"):
        gallery.search(text="red", label="hot", k=1)
    with pytest.raises(InputError, match="no classes"):
        gallery.search(text="red", label=[], k=1)


def test_codes_of_one_class(codes):
    hits = codes.search(item="item-7", label=codes.class_names[1], k=60)
    assert 0 < len(hits) < 60
    assert {hit.labels for hit in hits} == {(codes.class_names[1],)}


def test_options_of_the_index(tmp_path):
    options = {"dtype": "float16"}
    gallery = Gallery.from_dataset(feature_dataset(12), feature_retriever(), index="exact", index_options=options)
    gallery.save_pretrained(tmp_path)
    loaded = Gallery.from_pretrained(tmp_path, retriever=feature_retriever())
    assert loaded.index.options == options
    assert loaded.indexes["image"].vectors.dtype == np.float16
    with pytest.raises(InputError, match=r"'exact' has no option 'lists'\. It takes: dtype"):
        Gallery.from_dataset(feature_dataset(12), feature_retriever(), index="exact", index_options={"lists": 4})


def test_a_saved_gallery_opens_with_another_index(tmp_path):
    options = {"dtype": "float16"}
    gallery = Gallery.from_dataset(feature_dataset(60), feature_retriever(), index="exact", index_options=options)
    gallery.save_pretrained(tmp_path)
    loaded = Gallery.from_pretrained(tmp_path, retriever=feature_retriever(), index="kd_tree")
    assert loaded.index.name == "kd_tree"
    assert loaded.index.options == {}
    assert [h.id for h in loaded.search(item="item-3", k=9)] == [h.id for h in gallery.search(item="item-3", k=9)]


def test_what_an_approximate_index_finds_is_ranked_exactly():
    dataset, retriever = feature_dataset(60), feature_retriever()
    options = {"factory": "PQ5x4"}
    coarse = Gallery.from_dataset(dataset, retriever, index="faiss", index_options=options)
    exact = Gallery.from_dataset(dataset, retriever)
    query = {"item": "item-3", "target": "text", "k": 7}
    estimates = [hit.score for hit in coarse.search(**query)]
    assert estimates != pytest.approx([hit.score for hit in exact.search(**query)], abs=1e-4)
    hits = coarse.search(**query, rerank=60)
    assert [hit.id for hit in hits] == [hit.id for hit in exact.search(**query)]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in exact.search(**query)])


def test_auto_says_why():
    gallery = Gallery.from_dataset(feature_dataset(12), feature_retriever())
    assert gallery.index.name == "exact"
    assert "12 items" in gallery.index.reason


def test_a_smaller_gallery_takes_the_place_of_a_larger_one(tmp_path, monkeypatch):
    monkeypatch.setattr("cmr_hub.retrieval.gallery_storage.SHARD_ROWS", 5)
    for items, files in ((12, 3), (7, 2)):
        Gallery.from_dataset(feature_dataset(items), feature_retriever()).save_pretrained(tmp_path)
        assert len(list(tmp_path.glob("items-*.parquet"))) == files
        assert len(Gallery.from_pretrained(tmp_path, retriever=feature_retriever())) == items


def test_released_features_have_no_images():
    gallery = Gallery.from_dataset(feature_dataset(12), feature_retriever())
    hit = gallery.search(item="item-3", target="text", k=1)[0]
    assert hit.image is None
    assert hit.texts == ()
    with pytest.raises(InputError, match="takes released text features"):
        gallery.search(text="red")


def test_equal_ids_are_refused(tmp_path):
    dataset = feature_dataset(4)
    dataset = dataset.remove_columns("id").add_column("id", ["a", "b", "a", "c"])
    with pytest.raises(InputError, match=r"ids .* must differ"):
        Gallery.from_dataset(dataset, feature_retriever())


def test_a_data_set_as_the_hub_has_it(gallery, tmp_path):
    """Without ids, with single captions and classes that are words; images alone; several splits."""
    items, retriever = image_dataset(tmp_path), gallery.retriever
    other = items.remove_columns(["id", "texts", "label"])
    other = other.add_column("caption", ["a red one", "green", "blue"]).add_column("label", ["warm", "cool", "cool"])
    gallery = Gallery.from_dataset(other, retriever, cache=False)
    assert gallery.ids == ["0", "1", "2"]
    (hit,) = gallery.search(text="red", target="text", k=1)
    assert (hit.id, hit.texts, hit.labels) == ("0", ("a red one",), ("warm",))
    assert Gallery.from_dataset(other.select_columns("image"), retriever, cache=False).embeds.keys() == {"image"}
    splits = DatasetDict(train=items.select([0, 1]), test=items.select([2]))
    assert Gallery.from_dataset(splits, retriever, cache=False).ids == items["id"][:]
    numbered = items.remove_columns("id").add_column("id", [4, 5, 6])
    assert Gallery.from_dataset(numbered, retriever, cache=False).search(item=5, k=3)[0].same_class is not None


def test_an_item_of_unknown_class_has_none(gallery, tmp_path):
    items = image_dataset(tmp_path).remove_columns("label")
    items = items.add_column("label", [0, -1, None], feature=ClassLabel(names=["warm", "cool"]))
    gallery = Gallery.from_dataset(items, gallery.retriever, cache=False)
    assert [gallery.labels(row) for row in range(3)] == [("warm",), (), ()]


def test_an_empty_data_set_is_no_gallery():
    with pytest.raises(InputError, match="at least one item"):
        Gallery.from_dataset(feature_dataset(4).select([]), feature_retriever())


@pytest.mark.parametrize("index", ["exact", "faiss", "kd_tree"])
def test_a_gallery_and_its_indexes_are_one_state(index):
    gallery = Gallery.from_dataset(feature_dataset(9), feature_retriever(), index=index, name="Nine")
    for change in (
        lambda: gallery.indexes["image"].remove([0]),
        lambda: gallery.indexes["image"].add(gallery.embeds["image"]),
    ):
        with pytest.raises(InputError, match=r"part of the gallery 'Nine'.*Use Gallery.add"):
            change()
    assert len(gallery.search(item="item-3", k=9)) == len(gallery) == len(gallery.indexes["image"])
    own = type(gallery.indexes["image"])(gallery.embeds["image"])
    own.remove([0])
    assert len(own) == 8


def test_unknown_index():
    with pytest.raises(UnknownNameError, match="Did you mean 'exact'"):
        Gallery.from_dataset(feature_dataset(4), feature_retriever(), index="exct")


def test_a_column_that_is_missing():
    with pytest.raises(InputError, match="column 'image'"):
        Gallery.from_dataset(feature_dataset(4), raw_retriever())


def test_pushing_goes_through_the_hub_and_back(hub_server, tmp_path, monkeypatch):
    hub_server.connect(monkeypatch, tmp_path / "home")
    gallery = Gallery.from_dataset(feature_dataset(12), feature_retriever(), name="Twelve items")
    gallery.push_to_hub("me/twelve", token=TOKEN)
    loaded = Gallery.from_pretrained("me/twelve", retriever=feature_retriever())
    assert loaded.name == "Twelve items"
    assert_hits(loaded.search(item="item-5", k=12), gallery.search(item="item-5", k=12))


@pytest.fixture
def trained_here(tmp_path, monkeypatch):
    """A retriever from the folder "run", as it is called in the folder above; tests begin in another one."""
    feature_retriever().save_pretrained(tmp_path / "work" / "run")
    monkeypatch.chdir(tmp_path / "work")
    retriever = cmr_hub.from_pretrained("run")
    monkeypatch.chdir(tmp_path)
    return retriever


@pytest.mark.parametrize("is_built", [False, True])
def test_a_gallery_finds_its_checkpoint_from_any_folder(tmp_path, trained_here, is_built):
    if is_built:
        Gallery.build(feature_dataset(4), trained_here, tmp_path / "gallery")
    else:
        Gallery.from_dataset(feature_dataset(4), trained_here).save_pretrained(tmp_path / "gallery")
    assert len(Gallery.from_pretrained(tmp_path / "gallery").search(item="item-1", k=2)) == 2


def test_a_published_gallery_does_not_say_where_its_checkpoint_was(hub_server, tmp_path, monkeypatch, trained_here):
    hub_server.connect(monkeypatch, tmp_path / "home")
    Gallery.from_dataset(feature_dataset(4), trained_here).push_to_hub("me/four", token=TOKEN)
    folder = cmr_hub.hub.resolve("me/four", repo_type="dataset")
    assert json.loads((folder / "gallery_config.json").read_text())["retriever"] == "run"
    assert "embedded by `run`" in (folder / "README.md").read_text()


@pytest.fixture(scope="module")
def codes():
    """60 items by codes of 16 bits, with the values behind them."""
    return Gallery.from_dataset(feature_dataset(60), feature_retriever("sh"), keep_real_valued=True)


def slow_distances(gallery, source, position, target):
    bits = {modality: np.unpackbits(embeds, axis=1) for modality, embeds in gallery.embeds.items()}
    return (bits[source][position] != bits[target]).sum(axis=1)


def test_codes_are_searched_by_hamming_distance(codes):
    assert codes.index.name == "hamming"
    assert codes.embeds["image"].dtype == np.uint8
    distance = slow_distances(codes, "text", 7, "image")
    hits = codes.search(item="item-7", target="image", k=60)
    assert [hit.position for hit in hits] == sorted(range(60), key=lambda i: (distance[i], i))
    assert [hit.score for hit in hits] == pytest.approx([1 - distance[hit.position] / 8 for hit in hits])


def test_an_item_among_codes_is_not_its_own_neighbour(codes):
    distance = slow_distances(codes, "text", 7, "text")
    hits = codes.search(item="item-7", source="text", target="text", k=59)
    assert [hit.position for hit in hits] == sorted(set(range(60)) - {7}, key=lambda i: (distance[i], i))


def test_reranking_puts_the_first_found_in_order_by_cosine(codes):
    distance = slow_distances(codes, "image", 3, "text")
    first = sorted(range(60), key=lambda i: (distance[i], i))[:20]
    cosine = codes.real_valued["text"] @ codes.real_valued["image"][3]
    hits = codes.search(item="item-3", target="text", k=5, rerank=20)
    assert [hit.position for hit in hits] == sorted(first, key=lambda i: -cosine[i])[:5]
    assert [hit.score for hit in hits] == pytest.approx(np.sort(cosine[first])[::-1][:5])


def test_reranking_never_gives_fewer_hits_than_asked_for(codes):
    assert len(codes.search(item="item-3", target="text", k=10, rerank=2)) == 10
    assert len(codes.search(item="item-3", source="text", target="text", k=59, rerank=1000)) == 59


def test_lookup_gives_all_within_the_radius_and_maybe_none(codes):
    distance = slow_distances(codes, "text", 5, "text")
    hits = codes.range_search(item="item-5", source="text", target="text", radius=6)
    inside = [i for i in sorted(range(60), key=lambda i: (distance[i], i)) if distance[i] <= 6 and i != 5]
    assert [hit.position for hit in hits] == inside
    assert [hit.score for hit in hits] == pytest.approx([1 - distance[i] / 8 for i in inside])
    assert len(codes.range_search(item="item-5", target="image", radius=16)) == 60


def test_lookups_of_several_queries(codes):
    several = codes.range_search(item=["item-5", "item-6"], target="text", radius=6)
    for hits, item in zip(several, ("item-5", "item-6"), strict=True):
        assert_hits(hits, codes.range_search(item=item, target="text", radius=6))


def test_codes_survive_saving(codes, tmp_path):
    codes.save_pretrained(tmp_path)
    loaded = Gallery.from_pretrained(tmp_path, retriever=codes.retriever)
    assert loaded.index.name == "hamming"
    np.testing.assert_array_equal(loaded.embeds["text"], codes.embeds["text"])
    query = {"item": "item-9", "k": 8, "rerank": 30}
    assert_hits(loaded.search(**query), codes.search(**query))


def test_floats_are_not_searched_with_codes(codes):
    rows = {modality: codes.real_valued[modality] for modality in ("image", "text")}
    with pytest.raises(
        InputError, match=r"60 rows of codes of 16 bits, as 'toy' gives them, not of the shape \(60, 16\)"
    ):
        Gallery(codes.dataset, codes.retriever, rows["image"], rows["text"])
    with pytest.raises(InputError, match="ExactIndex searches real-valued vectors, and these are codes of 16 bits"):
        Gallery.from_dataset(codes.dataset, codes.retriever, index="exact")
    with pytest.raises(InputError, match="HammingIndex searches codes"):
        Gallery.from_dataset(codes.dataset, feature_retriever(), index="hamming")


def test_what_needs_codes_says_so(codes):
    floats = Gallery.from_dataset(feature_dataset(60), feature_retriever(), keep_real_valued=True)
    with pytest.raises(InputError, match="Lookup by radius is for binary codes"):
        floats.range_search(item="item-1")
    for gallery in (floats, Gallery.from_dataset(codes.dataset, codes.retriever)):
        with pytest.raises(InputError, match="keeps no real-valued embeddings to re-rank by"):
            gallery.search(item="item-1", rerank=10)
    with pytest.raises(InputError, match="between 0 and the code length, 16; it is 17"):
        codes.range_search(item="item-1", radius=17)


def test_a_gallery_of_one_code_is_warned_of(caplog):
    dataset, retriever = feature_dataset(60), feature_retriever("sh")
    same = np.ones((60, 2), np.uint8)
    Gallery(dataset, retriever, same, retriever.encode_texts(np.asarray(dataset["text_features"][:])))
    warnings = [record.message for record in caplog.records if "Degenerate" in record.message]
    assert warnings[0].startswith("Degenerate codes of the gallery's images: all items have the same code of 16 bits")
