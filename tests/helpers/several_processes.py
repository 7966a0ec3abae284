"""What `test_several_processes.py` runs in its own process, and in two by `several_processes.py FOLDER`."""

from __future__ import annotations

import csv
import gc
import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

from datasets import DatasetDict

sys.path.insert(0, str(Path(__file__).parent))

from cmr_hub import Gallery
from cmr_hub.cli.main import main as cmr
from cmr_hub.encoders.backbone import BackboneEncoder
from cmr_hub.errors import CMRError, InputError
from cmr_hub.training.distributed import GatherRows
from cmr_hub.training.recipe import Recipe, load_recipe
from cmr_hub.training.train import train
from cmr_hub.utils.processes import this_process
from toys import feature_dataset, feature_retriever, raw_dataset

# Method and settings of each training; batches of odd sizes, the last of an epoch smaller.
TRAININGS = {
    "dscmr": ("dscmr", {"hidden_dim": 32, "embed_dim": 16}),
    "contrastive": ("contrastive", {"hidden_dim": 32, "embed_dim": 16, "dropout": 0.0}),
    "dropout": ("contrastive", {"hidden_dim": 32, "embed_dim": 16, "dropout": 0.5}),
    "state": ("dcmh", {"image_hidden_dim": 32, "text_hidden_dim": 32, "embed_dim": 16}),
    "batch-norm": ("dspe", {"hidden_dim": 32, "embed_dim": 16, "dropout": 0.0}),
    "players": ("cm_gans", {"embed_dim": 16}),
    "closed-form": ("cca", {"embed_dim": 4}),
}
EPOCHS = 2
TRAINING = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": 33}


def toy_dataset() -> DatasetDict:
    """Pairs of released features."""
    return DatasetDict(
        train=feature_dataset(151), validation=feature_dataset(40, 1, "val"), test=feature_dataset(60, 2, "test")
    )


def toy_recipe(name: str) -> Recipe:
    """The recipe of one of `TRAININGS`."""
    method, config = TRAININGS[name]
    training = {} if name == "closed-form" else TRAINING
    encoders = {"image": "precomputed", "text": "precomputed"}
    return load_recipe(method).changed(encoders=encoders, captions="set", config=config, training=training)


def write_images(folder: Path) -> None:
    """A folder of images as `--dataset folder` takes it, one of them twice."""
    folder.mkdir()
    splits = raw_dataset(folder, train=18)
    (folder / "again.png").write_bytes((folder / "train-0.png").read_bytes())
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "label", "split"])
        table.writerow(["again.png", "once more", "left", "train"])
        for name, split in splits.items():
            for item, texts, label in zip(split["id"], split["texts"], split["label"], strict=True):
                table.writerow([f"{item}.png", texts[0], ("left", "middle", "right")[label], name])


def run_command(folder: Path) -> None:
    """`cmr train`, from images, with two seeds."""
    options = {"method": "dscmr", "dataset": "folder", "data-dir": folder / "images", "text-encoder": "bow"}
    options |= {"epochs": 2, "output-dir": folder / "command"}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    assert cmr(["train", *words, "--seeds", "0", "1", "--config", "hidden_dim=32", "embed_dim=16"]) == 0


def run_gallery(folder: Path) -> None:
    """`cmr gallery` from the same images, in shards of a size that does not fit."""
    where = {"checkpoint": "cmr/dscmr-emoji", "source": folder / "images", "output-dir": folder / "gallery"}
    words = [str(word) for name, value in where.items() for word in (f"--{name}", value)]
    assert cmr(["gallery", *words, "--shard-rows", "12"]) == 0


def run_update(folder: Path) -> None:
    """A gallery that is built, and then brought up to date: some items are gone, some are new, all others move."""
    items, retriever = feature_dataset(61), feature_retriever()
    options = {"shard_rows": 9, "show_progress": False, "remove_missing": True}
    for left_out in ((4, 1), (5, 2)):
        rows = [row for row in range(61) if row % left_out[0] != left_out[1]]
        Gallery.build(items.select(rows), retriever, folder / "followed", **options)


def failure() -> str | None:
    """What each process is told where the second of them fails."""

    def work() -> None:
        if this_process().rank == 1:
            raise InputError("Image 3 is no image.")

    try:
        this_process().gather(work)
    except CMRError as error:
        return f"{type(error).__name__}: {error}"


def train_all(folder: Path) -> None:
    """All trainings; next to the checkpoints, `seen-<rank>.json` says what this process did."""
    seen = {"results": {}, "gathered": {}, "encoded": 0, "embedded": 0, "failure": failure()}
    gather, encode = GatherRows.forward, BackboneEncoder.encode
    gathered = []

    def counted_gather(*args):
        gathered.append(len(args[1]))
        return gather(*args)

    def counted_encode(self, images):
        seen["encoded"] += len(images)
        return encode(self, images)

    with (
        patch.object(GatherRows, "forward", staticmethod(counted_gather)),
        patch.object(BackboneEncoder, "encode", counted_encode),
    ):
        dataset = toy_dataset()
        for name in TRAININGS:
            before = len(gathered)
            seen["results"][name] = train(toy_recipe(name), dataset, "toy", folder / name).results
            seen["gathered"][name] = len(gathered) - before
        if (folder / "interrupted").exists():
            train(toy_recipe("dscmr"), dataset, "toy", folder / "interrupted", resume=True)
        run_command(folder)
        before = seen["encoded"]
        run_gallery(folder)
        run_update(folder)
        seen["embedded"] = seen["encoded"] - before
        seen["encoded"] = before
    (folder / f"seen-{this_process().rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    gc.freeze()  # accelerate collects garbage in each training
    os.fsync = lambda descriptor: None  # nothing is lost when the machine stays on
    train_all(Path(sys.argv[1]))
