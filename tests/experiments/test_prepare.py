"""Preparing galleries from loopback servers that hold the official layouts."""

import io
import zipfile

import numpy as np
import pytest
import scipy.io
from datasets import DatasetDict
from PIL import Image

from archives import jpeg, lay_out
from cmr_hub import CMRProcessor, ContrastiveConfig, ContrastiveModel, Gallery, Retriever
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError
from cmr_hub.experiments import prepare as prepare_module
from cmr_hub.experiments.prepare import prepare
from cmr_hub.hub import CheckpointInfo
from cmr_hub.retrieval.gallery_layout import MAP_NAME
from cmr_hub.retrieval.maps import NeighbourMap
from cmr_hub.retrieval.prepared import prepared_folder, prepared_galleries
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.run import TrainingRun
from toys import COLOURS, feature_dataset, image_dataset, raw_retriever, serve_pascal


@pytest.fixture
def quick_recipes(monkeypatch):
    """The recipes with a few epochs."""

    def load(method: str, dataset: str | None = None) -> Recipe:
        recipe = load_recipe(method, dataset)
        return recipe.changed(training={"num_train_epochs": 2}) if recipe.training else recipe

    monkeypatch.setattr(prepare_module, "load_recipe", load)


@pytest.fixture
def progress():
    lines = []

    def report(stage: str, fraction: float, message: str) -> None:
        lines.append((stage, fraction, message))

    report.lines = lines
    return report


def publish_contrastive(folder, monkeypatch):
    """A checkpoint for pascal of a method that is prepared only where one is published."""
    image, text = create_encoder("image", "efficientnet-lite0"), create_encoder("text", "glove")
    Retriever(ContrastiveModel(ContrastiveConfig()), CMRProcessor(image, text)).save_pretrained(folder)
    known = CheckpointInfo(str(folder), "contrastive", "pascal", "apache-2.0", image.name, text.name, ())
    monkeypatch.setattr(prepare_module, "list_checkpoints", lambda: [known])


@pytest.mark.slow
def test_pascal_from_its_page_to_searched_galleries(
    server, private_cache, real_data, tmp_path, monkeypatch, quick_recipes, progress
):
    serve_pascal(server, real_data / "pascal_sentence", most=10)
    monkeypatch.setenv("CMR_HUB_MIRROR_PASCAL", server.url + "/")
    publish_contrastive(tmp_path / "published", monkeypatch)
    prepare("pascal", report=progress)
    assert set(prepared_galleries("pascal")) == {"cca", "dscmr", "contrastive"}
    fractions = [fraction for _, fraction, _ in progress.lines]
    assert fractions == sorted(fractions)
    assert progress.lines[-1][:2] == ("done", 1.0)
    assert {stage for stage, _, _ in progress.lines} == {"download", "features", "train", "gallery", "map", "done"}
    gallery = Gallery.from_pretrained(prepared_galleries("pascal")["dscmr"])
    assert len(gallery) == 50
    assert len(NeighbourMap.load(prepared_galleries("pascal")["dscmr"] / MAP_NAME, gallery).rows) == 50
    hits = gallery.search(text="a cow on the grass", k=5)
    assert hits[0].image is not None
    assert len(gallery.search(image=gallery.image(0), target="text", k=5)[0].texts) == 5

    asked = len(server.requests)
    prepare("pascal", report=progress)
    assert len(server.requests) == asked  # what is complete is not made again


def test_other_data_of_the_same_name_are_refused(private_cache, monkeypatch, progress):
    class Prepared(Exception):
        """The data were taken."""

    def take():
        raise Prepared

    monkeypatch.setattr(prepare_module, "list_checkpoints", take)
    data = DatasetDict(train=feature_dataset(9))
    monkeypatch.setattr(prepare_module, "load_dataset", lambda *args, **options: data)
    for _ in range(2):
        with pytest.raises(Prepared):
            prepare("wiki", report=progress)
    data["train"] = feature_dataset(9, seed=1)
    with pytest.raises(InputError, match=r"prepared.wiki was prepared from other data than these.*Remove that folder"):
        prepare("wiki", report=progress)


def wiki_archive(raw: bool) -> bytes:
    """A small archive in the official layout: three classes, 36 training and 12 test pairs."""
    rng = np.random.default_rng(0)
    splits = {"train": 36, "test": 12}
    features, content, number = {}, {}, 0
    for split, n in splits.items():
        short = split[:2]
        label = np.arange(n) % 3
        image, text = rng.random((n, 128)), rng.random((n, 10))
        image[np.arange(n), label] += 30
        text[np.arange(n), label] += 5
        features[f"I_{short}"] = image / image.sum(axis=1, keepdims=True)
        features[f"T_{short}"] = text / text.sum(axis=1, keepdims=True)
        rows = []
        for row in range(n):
            number += 1
            rows.append(f"text{number}\timage{number}\t{label[row] + 1}")
            if raw:
                name, colour = list(COLOURS.items())[label[row]]
                buffer = io.BytesIO()
                Image.new("RGB", (32, 32), tuple(min(255, c + number) for c in colour)).save(buffer, "jpeg")
                content[f"images/{name}/image{number}.jpg"] = buffer.getvalue()
                content[f"texts/text{number}.xml"] = f"<article><text>All about {name} things.</text></article>"
        content[f"{split}set_txt_img_cat.list"] = "\n".join(rows)
    content["categories.list"] = "\n".join(COLOURS)
    matrices = io.BytesIO()
    scipy.io.savemat(matrices, features)
    content["raw_features.mat"] = matrices.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in content.items():
            opened.writestr(f"wikipedia_dataset/{name}", data)
    return archive.getvalue()


@pytest.fixture
def wiki_server(server, monkeypatch, private_cache):
    def serve(raw: bool) -> None:
        server.files["/wikipedia_dataset.zip"] = wiki_archive(raw)
        monkeypatch.setenv("CMR_HUB_MIRROR_WIKI", server.url + "/")
        # The bundled checkpoints eat the features of the official classes; the small archive has its own.
        monkeypatch.setattr(prepare_module, "list_checkpoints", list)

    return serve


@pytest.mark.slow
def test_wikipedia_with_raw_images_takes_a_typed_query(wiki_server, quick_recipes, progress):
    wiki_server(raw=True)
    prepare("wiki", report=progress)
    gallery = Gallery.from_pretrained(prepared_galleries("wiki")["dscmr"])
    assert len(gallery) == 48
    assert gallery.search(text="red things", k=3)[0].image is not None


def test_wikipedia_with_features_alone_searches_by_item(wiki_server, quick_recipes, progress):
    wiki_server(raw=False)
    prepare("wiki", report=progress)
    gallery = Gallery.from_pretrained(prepared_galleries("wiki")["cca"])
    hits = gallery.search(item=gallery.ids[0], target="text", k=5)
    assert sum(hit.same_class for hit in hits) >= 3


def test_captions_without_classes_get_the_methods_that_need_none(private_cache, tmp_path, progress):
    names = [f"{number}.jpg" for number in range(90)]
    captions = "".join(f"{name},A {colour} wall .\n" for name, colour in zip(names, list(COLOURS) * 30, strict=True))
    photos = {f"images/{name}": jpeg(2 * number, size=32) for number, name in enumerate(names)}
    folder = lay_out(tmp_path / "photos", photos | {"captions.csv": f"image,caption\n{captions}"})
    prepare("flickr8k", folder, report=progress)
    assert set(prepared_galleries("flickr8k")) == {"cca", "unified"}  # trained here, and published
    gallery = Gallery.from_pretrained(prepared_galleries("flickr8k")["cca"])
    assert len(gallery) == 90
    assert gallery.class_names == []
    assert gallery.search(text="a red wall", k=3)[0].image is not None
    assert "mean_recall" in TrainingRun.load(prepared_folder("flickr8k", "cca")).results[0]["metrics"]


def test_an_interrupted_preparation_goes_on(wiki_server, quick_recipes, progress, monkeypatch):
    wiki_server(raw=False)
    real, trained = prepare_module.train, []

    def train_once(recipe, *args, **kwargs):
        if trained:
            raise KeyboardInterrupt
        trained.append(recipe.method)
        return real(recipe, *args, **kwargs)

    monkeypatch.setattr(prepare_module, "train", train_once)
    with pytest.raises(KeyboardInterrupt):
        prepare("wiki", report=progress)
    (trained_before,) = prepared_galleries("wiki")
    assert trained == [trained_before]
    trained.clear()
    (prepared_galleries("wiki")[trained_before] / MAP_NAME).unlink()  # as of an earlier version
    prepare("wiki", report=progress)
    assert len(trained) == 1
    assert len(prepared_galleries("wiki")) == 2
    assert all((folder / MAP_NAME).exists() for folder in prepared_galleries("wiki").values())


@pytest.mark.parametrize("record", ["{", '{"weights": "of others"}'])
def test_a_checkpoint_with_a_record_that_is_damaged_or_of_other_weights_is_trained_anew(
    private_cache, monkeypatch, record
):
    folder = prepared_folder("wiki", "cca")
    folder.mkdir(parents=True)
    (folder / "training_run.json").write_text(record)
    dataset = DatasetDict(train=feature_dataset(40), test=feature_dataset(20, 1, "test"))
    recipe = load_recipe("cca").changed(
        encoders={"image": "precomputed", "text": "precomputed"}, config={"embed_dim": 3}
    )
    monkeypatch.setattr(prepare_module, "list_checkpoints", list)
    retriever = prepare_module._checkpoint(recipe, dataset, "wiki", epochs=None)
    assert retriever.folder == folder
    assert TrainingRun.load(folder).results


def test_images_are_encoded_as_the_published_checkpoint_takes_them(tmp_path, private_cache, monkeypatch, progress):
    raw_retriever().save_pretrained(tmp_path / "published")
    known = CheckpointInfo(str(tmp_path / "published"), "cca", "pascal", "apache-2.0", "efficientnet-lite0", "bow", ())
    monkeypatch.setattr(prepare_module, "make_encoder", lambda *given: pytest.fail("the recipe's encoder is made"))
    dataset = DatasetDict(train=image_dataset(tmp_path))
    prepare_module._extract_features([load_recipe("cca")], {"cca": known}, dataset, progress)
    assert [message for _, _, message in progress.lines] == ["Encoded the train split"]
