from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from closeness import assert_alike
from cmr_hub import Gallery
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.codes import unpack
from cmr_hub.modeling.embeddings import as_vectors
from cmr_hub.retrieval.maps import NeighbourMap, PrincipalMap, embedded_map_path, lay_out, rows_by_id
from toys import feature_dataset, feature_retriever


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery.from_dataset(feature_dataset(40), feature_retriever())


@pytest.fixture(scope="module")
def codes() -> Gallery:
    return Gallery.from_dataset(feature_dataset(40), feature_retriever("sh"))


@pytest.fixture(scope="module")
def laid_out(gallery: Gallery) -> NeighbourMap:
    return NeighbourMap.of(gallery, perplexity=8)


def slow_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions of largest variance and their shares, from the covariance matrix."""
    values, directions = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False))
    return directions[:, [-1, -2]], values[[-1, -2]] / values.sum()


@pytest.mark.parametrize("which", ["gallery", "codes"])
def test_principal_components_are_those_of_the_covariance(which: str, request: pytest.FixtureRequest):
    gallery = request.getfixturevalue(which)
    rows = [unpack(embeds) / 4 if embeds.dtype == np.uint8 else embeds for embeds in gallery.embeds.values()]
    vectors = np.concatenate(rows)
    directions, shares = slow_components(vectors)
    layout = PrincipalMap.of(gallery)
    expected = (vectors - vectors.mean(axis=0)) @ directions
    found = np.concatenate([layout.points["image"], layout.points["text"]])
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-5)
    np.testing.assert_allclose(layout.shares, shares, atol=1e-5)


@pytest.mark.parametrize("which", ["gallery", "codes"])
def test_an_item_is_placed_where_it_is(which: str, request: pytest.FixtureRequest):
    gallery = request.getfixturevalue(which)
    layout = PrincipalMap.of(gallery)
    for modality, embeds in gallery.embeds.items():
        np.testing.assert_allclose(layout.place(embeds), layout.points[modality], atol=1e-6)


def test_tsne_places_an_item_where_it_is(gallery: Gallery, laid_out: NeighbourMap):
    extent = max(np.ptp(points) for points in laid_out.points.values())
    for modality, embeds in gallery.embeds.items():
        np.testing.assert_allclose(laid_out.place(embeds), laid_out.points[modality], atol=0.05 * extent)


@pytest.fixture(scope="module")
def queries(gallery: Gallery) -> np.ndarray:
    features = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    return gallery.retriever.encode_texts(features)


def test_tsne_places_a_query_among_its_neighbours(laid_out: NeighbourMap, queries: np.ndarray):
    points = np.concatenate(list(laid_out.points.values()))
    distances = np.linalg.norm(laid_out.place(queries)[:, None] - points, axis=2)
    shared = [
        len({*np.argsort(-similarity)[:10]} & {*np.argsort(distance)[:10]})
        for similarity, distance in zip(queries @ laid_out.vectors.T, distances, strict=True)
    ]
    assert np.mean(shared) > 5  # 1.25 of 80 points by chance


def test_tsne_places_a_query_whatever_else_is_placed(laid_out: NeighbourMap, queries: np.ndarray):
    np.testing.assert_allclose(laid_out.place(queries[:1]), laid_out.place(queries)[:1], atol=1e-3)


def test_tsne_places_a_query_in_the_layout_as_it_is_drawn(laid_out: NeighbourMap, queries: np.ndarray):
    moved = {modality: points + np.float32([100, -50]) for modality, points in laid_out.points.items()}
    elsewhere = NeighbourMap(laid_out.rows, moved, laid_out.vectors)
    np.testing.assert_allclose(elsewhere.place(queries), laid_out.place(queries) + np.float32([100, -50]), atol=0.01)


def test_tsne_of_codes_places_items_of_one_code_together(codes: Gallery):
    layout = NeighbourMap.of(codes, perplexity=8)
    first = layout.place(codes.embeds["image"])
    _, same = np.unique(codes.embeds["image"], axis=0, return_inverse=True)
    for code in np.unique(same):
        assert np.ptp(first[same == code], axis=0).max() < 1e-3


def test_rows_that_are_not_on_the_map_are_placed(gallery: Gallery):
    layout = PrincipalMap.of(gallery, most=10)
    assert len(layout.rows) == 10
    everywhere = layout.positions(gallery, range(len(gallery)), "text")
    np.testing.assert_array_equal(everywhere[layout.rows], layout.points["text"])
    np.testing.assert_allclose(everywhere, layout.place(gallery.embeds["text"]), atol=1e-6)


def test_positions_of_codes_are_those_drawn(codes: Gallery):
    layout = NeighbourMap.of(codes, perplexity=8)
    np.testing.assert_array_equal(layout.positions(codes, [7, 3], "image"), layout.points["image"][[7, 3]])


@pytest.mark.parametrize("items", [1, 2])
def test_components_of_hardly_anything(items: int):
    gallery = Gallery.from_dataset(feature_dataset(items), feature_retriever())
    layout = PrincipalMap.of(gallery)
    assert layout.points["image"].shape == (items, 2)
    assert np.isfinite(layout.points["text"]).all()


def test_what_does_not_vary_has_no_components():
    dataset, retriever = feature_dataset(5), feature_retriever()
    same = np.tile(retriever.encode_texts(np.ones((1, 4), np.float32)), (5, 1))
    layout = PrincipalMap.of(Gallery(dataset, retriever, same, same))
    assert layout.shares == (0, 0)
    np.testing.assert_allclose(layout.points["image"], 0, atol=1e-6)


def test_a_gallery_of_one_side():
    dataset, retriever = feature_dataset(12), feature_retriever()
    gallery = Gallery(
        dataset, retriever, retriever.encode_images(dataset.with_format("numpy")["image_features"][:]), None
    )
    assert list(PrincipalMap.of(gallery).points) == ["image"]
    assert list(NeighbourMap.of(gallery).points) == ["image"]


def test_too_few_points_to_lay_out():
    with pytest.raises(InputError, match="4 points at least, and this gallery has 2"):
        NeighbourMap.of(Gallery.from_dataset(feature_dataset(1), feature_retriever()))


def test_a_saved_map_is_read_back(gallery: Gallery, laid_out: NeighbourMap, tmp_path: Path):
    path = tmp_path / "new" / "map.safetensors"
    laid_out.save(path, gallery)
    assert [file.name for file in path.parent.iterdir()] == ["map.safetensors"]
    found = NeighbourMap.load(path, gallery)
    np.testing.assert_array_equal(found.rows, laid_out.rows)
    np.testing.assert_array_equal(found.points["image"], laid_out.points["image"])
    assert_alike(found.place(gallery.embeds["text"]), laid_out.place(gallery.embeds["text"]))


def test_the_map_of_another_gallery_is_refused(gallery: Gallery, laid_out: NeighbourMap, tmp_path: Path):
    path = tmp_path / "map.safetensors"
    laid_out.save(path, gallery)
    others = [
        Gallery.from_dataset(feature_dataset(40, prefix="other"), gallery.retriever),
        Gallery.from_dataset(feature_dataset(40), feature_retriever(seed=1)),
    ]
    for other in others:
        with pytest.raises(CheckpointError, match="other items, or by another checkpoint"):
            NeighbourMap.load(path, other)


def test_a_map_of_the_same_ids_with_other_content_is_refused(gallery: Gallery, laid_out: NeighbourMap, tmp_path: Path):
    path = tmp_path / "map.safetensors"
    laid_out.save(path, gallery)
    vectors = [row[::-1] for row in gallery.dataset["image_features"]]
    items = gallery.dataset.remove_columns("image_features").add_column("image_features", vectors)
    with pytest.raises(CheckpointError, match="other items, or by another checkpoint"):
        NeighbourMap.load(path, Gallery.from_dataset(items, gallery.retriever))


def test_a_map_that_does_not_say_its_content_is_read(gallery: Gallery, laid_out: NeighbourMap, tmp_path: Path):
    path = tmp_path / "map.safetensors"
    laid_out.save(path, gallery)
    with safe_open(path, framework="numpy") as file:
        belongs_to = json.loads(file.metadata()["map"])
    del belongs_to["content"]
    save_file(load_file(path), path, {"map": json.dumps(belongs_to)})
    np.testing.assert_array_equal(NeighbourMap.load(path, gallery).rows, laid_out.rows)


@pytest.mark.parametrize("rows", [[-1, 5], [5, 5], [0, 40], [3, 1]])
def test_rows_that_the_gallery_does_not_have_are_refused(gallery: Gallery, tmp_path: Path, laid_out, rows: list[int]):
    path = tmp_path / "map.safetensors"
    laid_out.save(path, gallery)
    with safe_open(path, framework="numpy") as file:
        header = file.metadata()
    points = {"image": np.zeros((2, 2), np.float32), "text": np.zeros((2, 2), np.float32)}
    save_file({"rows": np.array(rows), **points}, path, header)
    with pytest.raises(CheckpointError, match="rows that the gallery does not have"):
        NeighbourMap.load(path, gallery)


def test_a_damaged_map_is_refused(gallery: Gallery, laid_out: NeighbourMap, tmp_path: Path):
    path = tmp_path / "map.safetensors"
    with pytest.raises(CheckpointError, match="cannot be read"):
        NeighbourMap.load(path, gallery)
    laid_out.save(path, gallery)
    with safe_open(path, framework="numpy") as file:
        header = file.metadata()
    tensors = load_file(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be read"):
        NeighbourMap.load(path, gallery)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        NeighbourMap.load(path, gallery)
    save_file({**tensors, "text": tensors["text"][:5]}, path, header)
    with pytest.raises(CheckpointError, match="unexpected shape"):
        NeighbourMap.load(path, gallery)


def test_embedded_maps_have_a_folder_each(private_cache: Path):
    path = embedded_map_path("emoji", "cmr/dscmr-emoji")
    assert path == private_cache / "maps" / "emoji" / "cmr--dscmr-emoji" / "map.safetensors"


def test_rows_depend_on_the_ids_alone():
    ids = [f"item-{i}" for i in range(100)]
    chosen = {ids[row] for row in rows_by_id(ids, 30)}
    assert len(chosen) == 30
    assert chosen == {ids[::-1][row] for row in rows_by_id(ids[::-1], 30)}
    assert {ids[row] for row in rows_by_id(ids, 10)} < chosen
    assert rows_by_id(ids, 1000).tolist() == list(range(100))


def test_vectors_of_codes_have_unit_length_and_order_by_hamming_distance():
    vectors = as_vectors(np.array([[0b11110000], [0b11110001], [0b00001111]], np.uint8))
    np.testing.assert_allclose(vectors @ vectors[0], [1, 0.75, -1], atol=1e-6)


def test_the_same_seed_gives_the_same_layout():
    embeds = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    first, again = (lay_out(embeds, seed=1, perplexity=10) for _ in range(2))
    np.testing.assert_allclose(first, again, atol=0.01 * first.std())
    assert first.std(axis=0).min() > 1


def test_what_is_near_by_cosine_lies_together():
    directions = np.eye(6)[np.repeat(np.arange(3), 20)] + 0.05 * np.random.default_rng(0).normal(size=(60, 6))
    lengths = np.random.default_rng(1).uniform(0.1, 10, size=(60, 1))  # which a cosine does not see
    points = lay_out((lengths * directions).astype(np.float32), seed=0, perplexity=10)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()


def test_progress_is_told_and_nothing_else(capsys: pytest.CaptureFixture):
    embeds = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    lay_out(embeds, seed=0, perplexity=5, progress=lambda share: print(json.dumps(share)))
    shares = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1


def test_a_space_of_one_dimension():
    with pytest.raises(InputError, match="one dimension"):
        lay_out(np.ones((9, 1), np.float32), seed=0, perplexity=2)
