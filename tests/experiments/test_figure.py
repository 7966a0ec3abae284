import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.experiments import figure as figure_module
from cmr_hub.experiments.figure import (
    MODALITY_COLOURS,
    Projection,
    class_colour,
    draw,
    draw_classes,
    draw_modalities,
    first_classes,
    project,
    subsample,
)
from cmr_hub.utils.plots import save
from toys import feature_dataset, feature_retriever


@pytest.fixture
def projection():
    points = np.random.default_rng(0).normal(size=(2, 12, 2)).astype(np.float32)
    class_of = np.arange(12) % 3
    names = [f"item-{i}" for i in range(12)]
    return Projection(names, {"images": points[0], "texts": points[1]}, ["a", "b", "c"], class_of, False)


def without_classes(projection):
    return Projection(projection.ids, projection.points, [], None, False)


def test_every_item_has_two_points_and_its_class():
    dataset = feature_dataset(40)
    found = project(feature_retriever(), dataset, perplexity=8)
    assert found.ids == dataset["id"][:]
    assert {modality: points.shape for modality, points in found.points.items()} == {
        "images": (40, 2),
        "texts": (40, 2),
    }
    assert all(np.isfinite(points).all() for points in found.points.values())
    assert [found.classes[row] for row in found.class_of] == [["a", "b", "c"][row] for row in dataset["label"][:]]
    items = json.loads(json.dumps(found.to_dict()))["items"]
    assert items[3]["text"] == found.points["texts"][3].tolist()
    assert items[3]["class"] == found.classes[found.class_of[3]]


def test_a_subsample_depends_on_the_ids_alone():
    dataset = feature_dataset(100)
    some = subsample(dataset, 30)["id"][:]
    assert len(some) == 30
    assert set(some) == set(subsample(dataset.select(range(99, -1, -1)), 30)["id"])
    assert set(subsample(dataset, 10)["id"]) < set(some)
    assert subsample(dataset, 1000)["id"][:] == dataset["id"][:]


def test_of_several_classes_the_first_counts_and_it_is_said(projection):
    features = Features({"id": Value("string"), "labels": List(ClassLabel(names=["a", "b", "c"]))})
    dataset = Dataset.from_dict({"id": ["x", "y"], "labels": [[2, 1], [0]]}, features=features)
    classes, class_of, has_several = first_classes(dataset)
    assert (classes, class_of.tolist(), has_several) == (["a", "b", "c"], [1, 0], True)
    several = Projection(projection.ids, projection.points, classes, projection.class_of, has_several)
    assert draw(several, "").axes[1].get_title() == "by class (of several the first)"
    assert draw(projection, "").axes[1].get_title() == "by class"
    with pytest.raises(InputError, match="Item 'y' has no class"):
        first_classes(Dataset.from_dict({"id": ["x", "y"], "labels": [[2, 1], []]}, features=features))


@pytest.mark.parametrize("panel", [draw_modalities, draw_classes])
def test_a_panel_has_a_point_an_item_and_a_marker_a_modality(projection, panel):
    axes = Figure().subplots()
    panel(axes, projection)
    images, texts = axes.collections
    np.testing.assert_array_equal(images.get_offsets(), projection.points["images"])
    np.testing.assert_array_equal(texts.get_offsets(), projection.points["texts"])
    circle, triangle = (collection.get_paths()[0] for collection in (images, texts))
    assert len(circle.vertices) > len(triangle.vertices)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["images", "texts"]


def test_colours_are_those_of_the_modality_or_the_class(projection):
    modalities, classes = draw(projection, "").axes
    assert tuple(modalities.collections[0].get_facecolor()[0, :3]) == to_rgb(MODALITY_COLOURS["images"])
    for collection in classes.collections:
        expected = [class_colour(row, 3) for row in projection.class_of]
        np.testing.assert_allclose(collection.get_facecolor()[:, :3], expected)


def test_the_legend_names_the_classes_that_are_there(projection):
    some = Projection(projection.ids, projection.points, ["a", "b", "c", "d"], projection.class_of, False)
    (legend,) = draw(some, "").legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_without_classes_there_is_one_panel(projection):
    dataset = feature_dataset(20).remove_columns("label")
    assert project(feature_retriever(), dataset, perplexity=5).class_of is None
    figure = draw(without_classes(projection), "")
    assert [axes.get_title() for axes in figure.axes] == ["by modality"]
    assert not figure.legends
    assert without_classes(projection).to_dict()["items"][0]["class"] is None


@pytest.mark.parametrize("number", [2, 10, 31])
def test_classes_differ_in_colour(number):
    colours = np.array([class_colour(row, number) for row in range(number)])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)[~np.eye(number, dtype=bool)]
    assert distances.min() > 0.12
    grey = colours @ [0.299, 0.587, 0.114]
    assert ((grey > 0) & (grey < 0.9)).all()  # none vanishes on white paper


@pytest.mark.parametrize(("classes", "size"), [(0, (700, 650)), (3, (1620, 650)), (31, (1840, 650))])
def test_a_png_of_the_expected_size_with_something_on_it(tmp_path, projection, classes, size):
    points = {modality: np.tile(points, (4, 1)) for modality, points in projection.points.items()}
    names, class_of = [f"class {row}" for row in range(classes)], np.arange(48) % max(1, classes)
    shown = Projection(["x"] * 48, points, names, class_of if classes else None, False)
    path = tmp_path / "new" / "tsne.png"
    save(draw(shown, "a title"), path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", size)
        pixels = np.asarray(image.convert("RGB"))
    panels = pixels[100:600, 50:650]
    assert len(np.unique(panels.reshape(-1, 3), axis=0)) > 20
    assert (pixels == 255).all(axis=2).mean() > 0.5
    assert [file.name for file in path.parent.iterdir()] == ["tsne.png"]


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")])
def test_the_suffix_is_the_format(tmp_path, projection, suffix, start):
    save(draw(projection, ""), tmp_path / f"figure{suffix}")
    assert (tmp_path / f"figure{suffix}").read_bytes().startswith(start)


def test_an_earlier_figure_survives_a_failure(tmp_path, projection, monkeypatch):
    (tmp_path / "figure.png").write_bytes(b"earlier")

    def fail(*args, **kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="full"):
        save(draw(projection, ""), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == b"earlier"


def test_other_suffixes_are_refused(tmp_path, projection):
    with pytest.raises(InputError, match=r"\.png, \.pdf, \.svg, which .*figure\.jpg does not end in"):
        save(draw(projection, ""), tmp_path / "figure.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perplexity": 30}, r"Perplexity 30 does not fit 20 points \(10 pairs\)"),
        ({"perplexity": 0}, "must be above 0"),
        ({"most": 1}, "two pairs at least, not 1"),
    ],
)
def test_what_cannot_be_laid_out(options, message, monkeypatch):
    monkeypatch.setattr(figure_module, "lay_out", lambda *args, **kwargs: pytest.fail("laid out all the same"))
    with pytest.raises(InputError, match=message):
        project(feature_retriever(), feature_dataset(10), **options)
