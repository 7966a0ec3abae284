"""Small real parts that several test modules build on: fitted models, images and data sets of a few items."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Images

import cmr_hub
from cmr_hub.encoders import create_encoder
from file_server import FileServer

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}


def feature_retriever(method: str = "dscmr", seed: int = 0) -> cmr_hub.Retriever:
    """A retriever on released features: 6-d images, 4-d texts, three classes."""
    torch.manual_seed(seed)
    processor = cmr_hub.CMRProcessor(
        create_encoder("image", "precomputed", dim=6), create_encoder("text", "precomputed", dim=4)
    )
    if method == "cca":
        model = cmr_hub.CCAModel(cmr_hub.CCAConfig(image_dim=6, text_dim=4, embed_dim=3))
        model.fit(torch.randn(40, 6), torch.randn(40, 4))
    elif method == "sh":
        model = cmr_hub.SHModel(cmr_hub.SHConfig(image_dim=6, text_dim=4, embed_dim=16))
        model.fit(torch.randn(40, 6), torch.randn(40, 4))
    else:
        config = cmr_hub.DSCMRConfig(image_dim=6, text_dim=4, hidden_dim=8, embed_dim=5, num_labels=3)
        model = cmr_hub.DSCMRModel(config)
    return cmr_hub.Retriever(model, processor, name="toy")


def raw_retriever() -> cmr_hub.Retriever:
    """A retriever on images and strings: a real network, and counts of colour words."""
    torch.manual_seed(0)
    image = create_encoder("image", "efficientnet-lite0")
    text = create_encoder("text", "bow").fit(list(COLOURS))
    model = cmr_hub.CCAModel(
        cmr_hub.CCAConfig(image_dim=image.dim, text_dim=text.dim, embed_dim=3, regularization=0.1)
    )
    model.fit(torch.randn(40, image.dim), torch.randn(40, text.dim))
    return cmr_hub.Retriever(model, cmr_hub.CMRProcessor(image, text), name="toy")


def image_files(folder: Path, size: int = 40) -> list[str]:
    """One image file a colour."""
    paths = []
    for name, colour in COLOURS.items():
        paths.append(str(folder / f"{name}.png"))
        Images.new("RGB", (size, size), colour).save(paths[-1])
    return paths


def image_dataset(folder: Path) -> Dataset:
    """Three images with two texts each and two classes."""
    features = Features(
        {
            "id": Value("string"),
            "image": Image(),
            "texts": List(Value("string")),
            "label": ClassLabel(names=["warm", "cool"]),
        }
    )
    texts = [[f"a {name} square", f"{name} paint"] for name in COLOURS]
    columns = {"id": list(COLOURS), "image": image_files(folder), "texts": texts, "label": [0, 1, 1]}
    return Dataset.from_dict(columns, features=features)


def raw_dataset(folder: Path, train: int = 54) -> DatasetDict:
    """Images of a coloured square somewhere, with two captions each that say which colour and where.

    Validation and test hold each of the nine combinations twice. The classes are the places.
    """
    places = {"left": (0, 12), "middle": (12, 12), "right": (24, 12)}
    kinds = [(colour, place) for place in places for colour in COLOURS]
    features = Features(
        {
            "id": Value("string"),
            "image": Image(),
            "texts": List(Value("string")),
            "label": ClassLabel(names=list(places)),
        }
    )
    rng = np.random.default_rng(0)
    splits = {}
    for split, size in (("train", train), ("validation", 18), ("test", 18)):
        columns: dict[str, list] = {name: [] for name in features}
        for i in range(size):
            colour, place = kinds[i % len(kinds)]
            image = Images.new("RGB", (36, 36), tuple(rng.integers(90, 160, size=3).tolist()))
            image.paste(COLOURS[colour], (*places[place], places[place][0] + 12, places[place][1] + 12))
            path = folder / f"{split}-{i}.png"
            image.save(path)
            columns["id"].append(path.stem)
            columns["image"].append(str(path))
            columns["texts"].append([f"a {colour} square on the {place}", f"{place} there is {colour} paint"])
            columns["label"].append(list(places).index(place))
        splits[split] = Dataset.from_dict(columns, features=features)
    return DatasetDict(splits)


def feature_dataset(
    n: int = 60, seed: int = 0, prefix: str = "item", image_dim: int = 6, text_dim: int = 4
) -> Dataset:
    """Pairs of released features in three classes that both sides tell apart."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7)
    label = rng.integers(0, 3, size=n)
    columns = {
        "id": [f"{prefix}-{i}" for i in range(n)],
        "image_features": (centres.normal(size=(3, image_dim))[label] + 0.3 * rng.normal(size=(n, image_dim))).astype(
            np.float32
        ),
        "text_features": (centres.normal(size=(3, text_dim))[label] + 0.3 * rng.normal(size=(n, text_dim))).astype(
            np.float32
        ),
        "label": label,
    }
    features = Features(
        {
            "id": Value("string"),
            "image_features": List(Value("float32"), length=image_dim),
            "text_features": List(Value("float32"), length=text_dim),
            "label": ClassLabel(names=["a", "b", "c"]),
        }
    )
    return Dataset.from_dict(columns, features=features)


PASCAL_CLASSES = ("cat", "cow", "dog", "horse", "sheep")  # those whose images are among the real data


def serve_pascal(
    server: FileServer, folder: Path, base: str = "", classes: Iterable[str] = PASCAL_CLASSES, most: int | None = None
) -> None:
    """Real images of some classes, at most so many of each, as the official page of Pascal Sentence lists them."""
    page = "<html><body>\n<h1>Pascal Sentences</h1>\n<table>\n"
    for directory in classes:
        for image in sorted((folder / "images" / directory).glob("*.jpg"))[:most]:
            server.files[f"{base}/{directory}/{image.name}"] = image.read_bytes()
            sentences = (folder / "texts" / directory / f"{image.stem}.txt").read_text().splitlines()
            cells = "".join(f"<tr><td> {html.escape(sentence)}</td></tr>\n" for sentence in sentences)
            page += f'<tr>\n<td><img src="{directory}/{image.name}"></td>\n<td><table>\n{cells}</table></td>\n</tr>\n'
    server.files[f"{base}/"] = (page + "</table></body></html>").encode()
