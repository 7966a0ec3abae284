from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.processing import feature_store as features
from cmr_hub.processing.feature_store import FeatureStore, StoredFeatures, StoredViews, content_digest
from cmr_hub.utils.processes import Process
from toys import image_files

HALF = 1e-3  # what is stored is rounded to half precision


class Counting:
    """An encoder that counts what it is asked for."""

    def __init__(self, encoder):
        self.encoder, self.name, self.fingerprint, self.seen = encoder, encoder.name, encoder.fingerprint, 0

    def encode(self, images):
        self.seen += len(images)
        return self.encoder.encode(images)


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
