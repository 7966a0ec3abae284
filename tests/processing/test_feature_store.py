import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.base import TextEncoder
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError
from cmr_hub.processing import feature_store as features
from cmr_hub.processing.feature_store import FeatureStore, StoredFeatures, StoredViews, content_digest
from cmr_hub.utils.processes import Process
from toys import image_files

HALF = 1e-3  # what is stored is rounded to half precision


class Counting:
    """An encoder that counts what it is asked for."""

    def __init__(self, encoder):
        self.encoder, self.seen = encoder, 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def encode(self, inputs):
        self.seen += len(inputs)
        return self.encoder.encode(inputs)


@pytest.fixture
def encoder():
    return Counting(create_encoder("image", "torchvision/mobilenet_v3_small", weights="random"))


def test_no_image_is_encoded_twice(encoder, tmp_path):
    paths = image_files(tmp_path)
    first = FeatureStore(encoder, tmp_path / "store").encode([*paths, paths[0]])
    assert encoder.seen == 3
    again = FeatureStore(encoder, tmp_path / "store")
    assert len(again) == 3
    assert torch.equal(again.encode([*paths, paths[0]]), first)
    assert encoder.seen == 3


def test_a_copy_elsewhere_is_the_same_image(encoder, tmp_path):
    path = image_files(tmp_path)[0]
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "other-name.png"
    copy.write_bytes(Path(path).read_bytes())
    store = FeatureStore(encoder, tmp_path / "store")
    store.encode([path, copy, {"path": path, "bytes": None}, {"path": None, "bytes": copy.read_bytes()}])
    assert encoder.seen == 1


def test_images_to_be_turned_are_decoded_one_after_the_other(encoder, tmp_path, monkeypatch):
    loaded = []
    load = features.load_image
    monkeypatch.setattr(features, "load_image", lambda image: loaded.append(image) or load(image))
    monkeypatch.setattr(encoder.encoder, "_preprocess", lambda images: loaded.append(len(images)) or torch.zeros(1))
    monkeypatch.setattr(encoder.encoder, "_embed", lambda pixels, compute: torch.zeros(1, encoder.encoder.dim))
    monkeypatch.setattr(encoder.encoder, "batch_size", 1)
    paths = image_files(tmp_path)
    FeatureStore(encoder, tmp_path / "store", "rotate_90").encode(paths)
    assert loaded == [paths[0], 1, paths[1], 1, paths[2], 1]


def test_an_interrupted_extraction_goes_on(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SHARD_ROWS", 2)
    paths = image_files(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError):
        FeatureStore(encoder, tmp_path / "store").encode([*paths[:2], str(tmp_path / "broken.png")])
    resumed = FeatureStore(encoder, tmp_path / "store")
    assert len(resumed) == 2
    encoder.seen = 0
    resumed.encode(paths)
    assert encoder.seen == 1


def test_several_processes_encode_a_share_each(encoder, tmp_path, monkeypatch, caplog):
    # One after the other, without waiting; tests/training/test_several_processes.py has real ones.
    monkeypatch.setattr(Process, "gather", lambda self, work: [work()])
    paths = image_files(tmp_path)
    stores = [FeatureStore(encoder, tmp_path / "store") for rank in range(2)]
    for rank, seen in ((0, 2), (1, 3)):
        stores[rank].extract([*paths, paths[0]], Process(rank, 2))
        assert encoder.seen == seen
    assert [len(store) for store in stores] == [2, 3]
    assert caplog.text.count("1 of 3 images that other processes have encoded are not in") == 1
    features = stores[0].encode(paths)  # what the warning said: a store that is not shared makes the rest by itself
    assert encoder.seen == 4
    torch.testing.assert_close(features, stores[1].encode(paths), rtol=HALF, atol=HALF)


def test_other_encoders_have_other_stores(tmp_path):
    first, second = (
        FeatureStore(create_encoder("image", f"torchvision/{name}", weights="random"), tmp_path)
        for name in ("mobilenet_v3_small", "resnet18")
    )
    assert first.folder != second.folder


def test_values_do_not_depend_on_what_was_stored(encoder, tmp_path):
    paths = image_files(tmp_path)
    fresh = FeatureStore(encoder, tmp_path / "store").encode(paths)
    assert torch.equal(fresh, FeatureStore(encoder, tmp_path / "store").encode(paths))
    assert torch.equal(fresh, fresh.half().float())


def test_turned_images_have_a_store_of_their_own(tmp_path):
    encoder, path = create_encoder("image", "pixels", size=8), tmp_path / "half.png"
    image = Image.new("RGB", (40, 40), "white")
    image.paste((200, 0, 0), (0, 0, 20, 40))
    image.save(path)
    plain, turned = (
        FeatureStore(encoder, tmp_path / "store", augmentation=augmentation)
        for augmentation in (None, "flip_left_right")
    )
    assert plain.folder != turned.folder
    mirrored = encoder.encode([image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]).half().float()
    torch.testing.assert_close(turned.encode([path]), mirrored, rtol=HALF, atol=HALF)
    assert not torch.allclose(plain.encode([path]), mirrored, rtol=HALF, atol=HALF)
    with pytest.raises(UnknownNameError, match="no augmentation named"):
        FeatureStore(encoder, tmp_path / "store", augmentation="upside_down").encode([path])


def test_each_row_of_views_is_one_of_them_by_chance():
    views = [
        StoredFeatures([torch.full((2, 3), float(10 * view + row)).half() for row in range(4)]) for view in range(3)
    ]
    stored = StoredViews(views)
    assert len(stored) == 4
    torch.manual_seed(0)
    seen = torch.stack([stored[torch.tensor([3, 1])][:, 0, 0] for _ in range(50)])
    assert {tuple(sorted(set(column.tolist()))) for column in seen.T} == {(3, 13, 23), (1, 11, 21)}
    assert stored[1:].shape == (3, 2, 3)
    assert stored[2].shape == (2, 3)


def test_digest_tells_contents_apart():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    digests = [red, blue, red.resize((2, 8)), np.zeros((2, 2)), np.zeros(4), b"bytes"]
    assert len({content_digest(content) for content in digests}) == len(digests)
    assert content_digest(red) == content_digest(red.copy())


def test_digest_tells_palettes_and_orientations_apart():
    image = Image.new("P", (2, 1))
    image.putdata([0, 1])
    images = [image.copy() for _ in range(2)]
    images[0].putpalette([255, 0, 0, 0, 255, 0])
    images[1].putpalette([0, 0, 255, 9, 9, 9])
    upright, turned = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4))
    for each in (upright, turned):
        each.putpixel((0, 0), (255, 0, 0))
    turned.getexif()[0x0112] = 3
    digests = {content_digest(each) for each in (*images, upright, turned)}
    assert len(digests) == 4


def rewritten(path, **changes):
    """A shard whose arrays are others; None leaves one out."""
    arrays = {name: array for name, array in {**load_file(path), **changes}.items() if array is not None}
    save_file(arrays, path)


def flipped(content, position):
    changed = bytearray(content)
    changed[position] ^= 8
    return bytes(changed)


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
    "garbage": (lambda path: path.write_bytes(b"\x00garbage" * 100), "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "without digests": (lambda path: rewritten(path, digests=None), "holds the arrays features instead of digests"),
    "other length": (
        lambda path: rewritten(path, digests=load_file(path)["digests"][1:].clone()),
        r"has digests of torch.uint8 and shape \(2, 16\) for 3 rows",
    ),
    "other width": (
        lambda path: rewritten(path, features=load_file(path)["features"][:, :-1].clone()),
        r"has rows of torch.float16 and shape \(1023,\) instead of \(1024,\)",
    ),
    "scalar": (lambda path: rewritten(path, features=torch.tensor(1.0).half()), r"shape \(3, 16\) for 1 rows"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is no regular file"),
    "other type": (lambda path: rewritten(path, features=load_file(path)["features"].float()), "torch.float32"),
    "not finite": (
        lambda path: rewritten(path, features=load_file(path)["features"].index_fill(1, torch.tensor([3]), np.nan)),
        "holds values that are not finite",
    ),
    "flipped bit": (
        lambda path: path.write_bytes(flipped(path.read_bytes(), -1000)),
        "other values than were written",
    ),
    "infinite": (
        lambda path: rewritten(path, features=load_file(path)["features"].index_fill(0, torch.tensor([1]), -np.inf)),
        "holds values that are not finite",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_set_aside_and_its_rows_are_encoded_anew(encoder, tmp_path, caplog, damage):
    paths = image_files(tmp_path)
    before = FeatureStore(encoder, tmp_path / "store").encode(paths)
    (shard,) = (tmp_path / "store").rglob("*.safetensors")
    change, reason = DAMAGES[damage]
    change(shard)
    encoder.seen = 0
    again = FeatureStore(encoder, tmp_path / "store").encode(paths)
    torch.testing.assert_close(again, before, rtol=HALF, atol=HALF)
    assert encoder.seen == 3
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(rf"{shard} .*{reason}", warning)
    assert f"made anew and the file kept as {shard.name}.damaged" in warning
    assert shard.with_name(f"{shard.name}.damaged").exists()
    assert len(FeatureStore(encoder, tmp_path / "store")) == 3


def test_other_shards_keep_their_rows(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SHARD_ROWS", 1)
    paths = image_files(tmp_path)
    FeatureStore(encoder, tmp_path / "store").encode(paths)
    DAMAGES["not finite"][0](next((tmp_path / "store").rglob("*.safetensors")))
    encoder.seen = 0
    assert FeatureStore(encoder, tmp_path / "store").encode(paths).isfinite().all()
    assert encoder.seen == 1


def test_features_that_are_not_finite_are_not_stored(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "encode", lambda images: torch.full((len(images), encoder.dim), 1e6))  # inf as half
    with pytest.raises(InputError, match="gives values that are not finite, in half precision, for 3 of 3 images"):
        FeatureStore(encoder, tmp_path / "store").encode(image_files(tmp_path))
    assert not list((tmp_path / "store").rglob("*.safetensors"))


def test_shipped_features_that_are_damaged_stay_where_they_are(encoder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(features, "SHIPPED", tmp_path)
    shipped = tmp_path / f"{FeatureStore(encoder, tmp_path / 'store').folder.name}.safetensors"
    shipped.write_bytes(b"damaged")
    assert FeatureStore(encoder, tmp_path / "store").encode(image_files(tmp_path)).isfinite().all()
    assert encoder.seen == 3
    assert shipped.read_bytes() == b"damaged"
    assert "install cmr_hub again. Its features are computed anew" in caplog.text


def test_a_shard_that_cannot_be_opened_is_named_and_left_alone(encoder, tmp_path):
    FeatureStore(encoder, tmp_path / "store").encode(image_files(tmp_path))
    (shard,) = (tmp_path / "store").rglob("*.safetensors")
    shard.with_name("0.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"0\.safetensors cannot be read: .* Make it readable, or remove it"):
        FeatureStore(encoder, tmp_path / "store")


class WordLengths(TextEncoder):
    """A text as the lengths of its words: on average, or `(n, longest, 1)` in order."""

    name, dim, cacheable = "word-lengths", 1, True

    def __init__(self, is_ragged=False):
        self.is_ragged = is_ragged

    def to_dict(self):
        return {"name": self.name, "is_ragged": self.is_ragged}

    @classmethod
    def from_dict(cls, config, folder=None):
        return cls(config["is_ragged"])

    def encode(self, inputs):
        rows = [torch.tensor([float(len(word)) for word in text.split() or [""]]) for text in inputs]
        if self.is_ragged:
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)[..., None]
        return torch.stack([row.mean() for row in rows])[:, None]


TEXTS = ["one three", "a", "", "one three", "seven letters"]


def test_texts_are_encoded_once_and_come_in_their_order(tmp_path):
    encoder = Counting(WordLengths())
    assert FeatureStore(encoder, tmp_path).encode(TEXTS).tolist() == [[4], [1], [0], [4], [6]]
    assert encoder.seen == 4
    assert FeatureStore(encoder, tmp_path).encode(["a", "one three", "new"]).tolist() == [[1], [4], [3]]
    assert encoder.seen == 5


def test_a_text_is_no_name_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"no text")
    store = FeatureStore(WordLengths(), tmp_path / "store")
    assert store.encode([str(tmp_path / "a")]).tolist() == [[len(str(tmp_path / "a"))]]
    with pytest.raises(InputError, match="text 2 of 2: it is of type PosixPath"):
        store.encode(["a", tmp_path / "a"])


def test_words_of_texts_are_stored_without_padding(tmp_path):
    encoder = Counting(WordLengths(is_ragged=True))
    expected = [[3, 5], [1, 0], [0, 0], [3, 5], [5, 7]]
    assert FeatureStore(encoder, tmp_path).encode(TEXTS)[..., 0].tolist() == expected
    (shard,) = tmp_path.glob("*/*.safetensors")
    assert len(load_file(shard)["features"]) == 6
    again = FeatureStore(encoder, tmp_path).stored(TEXTS)
    assert again[[1, 2]][..., 0].tolist() == [[1], [0]]  # no wider than the longest of them
    assert again[[1, 4]][..., 0].tolist() == [[1, 0], [5, 7]]
    assert again[0][..., 0].tolist() == [3, 5]
    assert encoder.seen == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"lengths": torch.tensor([2, 1, 1, 3])}, "lengths that do not share out 6 rows"),
        ({"lengths": torch.tensor([2, 5, -3, 2])}, "lengths that do not share out 6 rows"),
        ({"lengths": None}, "instead of digests, features, lengths"),
    ],
)
def test_a_damaged_shard_of_texts_is_set_aside(tmp_path, damage, message, caplog):
    encoder = WordLengths(is_ragged=True)
    expected = FeatureStore(encoder, tmp_path).encode(TEXTS)
    (path,) = tmp_path.glob("*/*.safetensors")
    shard = load_file(path) | damage
    save_file({name: value for name, value in shard.items() if value is not None}, path)
    assert torch.equal(FeatureStore(encoder, tmp_path).encode(TEXTS), expected)
    assert message in caplog.text
