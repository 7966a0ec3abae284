import json

import numpy as np
import pytest
import torch
from PIL import Image

from attending import GRID, captioned, red_seeker, spotted
from cmr_hub.cli.main import main as cmr
from cmr_hub.errors import InputError
from cmr_hub.experiments.faithfulness import (
    ByFeatures,
    ByPixels,
    Estimate,
    _estimates,
    _means,
    fill_cell,
    measure_faithfulness,
)
from tables import unpadded
from toys import feature_retriever


def noisy(rng, grid=GRID):
    """An image of random cells, 10 pixels wide and 5 high."""
    cells = Image.fromarray(rng.integers(0, 256, (grid, grid, 3), dtype=np.uint8))
    return cells.resize((10 * grid, 5 * grid), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def spots():
    """Each image has one red cell and two captions of it, one of them twice."""
    places = np.random.default_rng(0).integers(0, GRID, size=(70, 2)).tolist()
    texts = [["a red square", "red", "a red square"]] * 35 + [["red square", "red"]] * 35
    return captioned([spotted(row, column) for row, column in places], texts)


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(1)
    return captioned([noisy(rng) for _ in range(300)], [["a green square"]] * 300)


@pytest.mark.parametrize("by", ["pixels", "features"])
def test_attention_that_is_used_is_faithful(spots, by):
    found = measure_faithfulness(red_seeker(), spots, by=by)
    most = found.falls_more["most attended"]
    assert (most.value, most.low, most.high) == (1, 1, 1)
    assert found.falls_more["least attended"].value < 0.9
    assert found.drops["most attended"].low > 0.3
    assert abs(found.drops["random"].value) < 0.01
    assert (found.images, found.pairs, found.regions, found.steps) == (70, 140, GRID**2, 2)


@pytest.mark.parametrize("by", ["pixels", "features"])
def test_attention_that_is_made_up_is_not(noise, by):
    found = measure_faithfulness(red_seeker(pretends=True), noise, by=by)
    for share in found.falls_more.values():
        assert share.value == pytest.approx(0.5, abs=0.07)
        assert share.low < 0.5 < share.high


def test_each_drop_is_that_of_a_slow_and_obvious_computation(noise):
    retriever, image = red_seeker(), noise["image"][3]
    found = measure_faithfulness(retriever, noise.select([3]), by="pixels")
    redness = np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX)).astype(float) @ [1, -0.5, -0.5]

    def score(shown):
        return (retriever.encode_images([shown]) @ retriever.encode_texts(["a green square"]).T).item()

    def drop(region):
        return score(image) - score(fill_cell(image, int(region), GRID))

    assert found.score == pytest.approx(score(image), abs=1e-6)
    assert found.drops["most attended"].value == pytest.approx(drop(redness.argmax()), abs=1e-6)
    others = [drop(region) for region in range(GRID**2) if region not in (redness.argmax(), redness.argmin())]
    assert min(np.abs(np.array(others) - found.drops["random"].value)) < 1e-6


def test_the_seed_decides_the_random_regions(noise):
    some = noise.select(range(40))
    first, again, other = (measure_faithfulness(red_seeker(), some, by="features", seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.drops["random"] != other.drops["random"]
    assert first.drops["most attended"].value == other.drops["most attended"].value


def test_a_cell_is_filled_with_the_mean_colour():
    image = Image.new("RGB", (70, 35), (200, 100, 0))
    image.paste((0, 0, 0), (0, 0, 35, 35))
    filled = np.asarray(fill_cell(image, 9, 7))  # second row, third column
    changed = (filled != np.asarray(image)).any(axis=-1)
    assert changed[5:10, 20:30].all()
    assert changed.sum() == 50
    assert filled[7, 25].tolist() == [100, 50, 0]


def test_cells_tile_an_image_of_any_size():
    image = Image.fromarray(np.indices((17, 31)).sum(axis=0).astype(np.uint8) % 2 * 255).convert("RGB")
    changed = [(np.asarray(fill_cell(image, region, 7)) != np.asarray(image)).any(axis=-1) for region in range(49)]
    assert (np.sum(changed, axis=0) == 1).all()


def test_features_are_replaced_by_the_mean_of_the_images_regions():
    deletion = ByFeatures(red_seeker().processor, [spotted(0, 1), spotted(2, 2)])
    whole = deletion.whole["region_features"].clone()
    changed = deletion.without([1, 0, 1], [3, 1, 0])["region_features"]
    torch.testing.assert_close(changed[1, 1], whole[0].mean(dim=0))
    torch.testing.assert_close(changed[2, 1:], whole[1, 1:])
    torch.testing.assert_close(deletion.whole["region_features"], whole)


def test_pixels_are_encoded_anew():
    deletion = ByPixels(red_seeker().processor, [spotted(0, 1)])
    changed = deletion.without([0], [1])["region_features"][0]
    torch.testing.assert_close(changed[1], torch.tensor([127, 114, 114]) / 255)
    torch.testing.assert_close(changed[2:], deletion.whole["region_features"][0, 2:])


def test_an_image_counts_once():
    owners = np.array([0, 0, 0, 2])
    assert _means(np.array([[1.0], [2.0], [3.0], [10.0]]), owners).tolist() == [[2], [10]]


def test_intervals_are_those_of_a_mean():
    values = np.random.default_rng(0).normal(5, 2, size=(400, 1))
    estimate = _estimates(values, seed=0)[0]
    assert estimate.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (estimate.low, estimate.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert estimate.cell(1) == f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def test_what_cannot_be_measured_says_why(spots):
    with pytest.raises(InputError, match="Methods that do: "):
        measure_faithfulness(feature_retriever(), spots)
    with pytest.raises(InputError, match="answers texts as questions"):
        measure_faithfulness(red_seeker(answers=True), spots)
    with pytest.raises(InputError, match="2 steps of attention over 1 regions"):
        measure_faithfulness(red_seeker(grid=1), spots)


def test_the_command_prints_a_table_and_writes_json(spots, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr("cmr_hub.Retriever.from_pretrained", lambda name: red_seeker())
    monkeypatch.setattr("cmr_hub.data.load_dataset", lambda *args: {"test": spots})
    words = ["--checkpoint", "toy", "--dataset", "emoji", "--by", "features", "--json", str(tmp_path / "found.json")]
    with caplog.at_level("INFO"):
        assert cmr(["faithfulness", *words]) == 0
    assert "| most attended | 1.000 [1.000, 1.000] |" in unpadded(caplog.text)
    assert "70 images, each counted once, and 140 pairs" in unpadded(caplog.text)
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["split"] == "test"
    assert Estimate(**written["falls_more"]["most attended"]).value == 1
