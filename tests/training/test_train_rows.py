"""Trainings on a part of the database that is searched, on an archive in the layout of MIRFlickr-25K."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import DatasetDict

import cmr_hub
from archives import lay_out_mirflickr, write_lines
from closeness import assert_figures
from cmr_hub.cli.main import main
from cmr_hub.data import info, load_dataset
from cmr_hub.data.base import describe_sizes, vectors
from cmr_hub.errors import InputError
from cmr_hub.evaluation import evaluate
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.train import train

IMAGES, ROWS = 100, 40
KINDS = ("sky", "dog", "food")  # concepts whose names are tags too
PAPERS = {"dcmh": 10_000, "seph": 10_000, "djsrh": 5_000}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A hundred images of one or two of three concepts, tagged by them."""
    root = tmp_path_factory.mktemp("mirflickr")
    kinds = {number: {KINDS[number % 3], KINDS[number % 7 % 3]} for number in range(1, IMAGES + 1)}
    lay_out_mirflickr(root, {number: sorted(of_image) for number, of_image in kinds.items()})
    for kind in KINDS:
        write_lines(root / f"{kind}.txt", [number for number, of_image in kinds.items() if kind in of_image])
    return root


def with_features(dataset: DatasetDict) -> DatasetDict:
    """Features that tell the concepts in the place of the images, so that nothing has to be encoded."""
    centres = np.random.default_rng(0).normal(size=(24, 6))

    def add(row):
        noise = np.random.default_rng(int(row["id"])).normal(size=6)
        return {"image_features": (centres[row["labels"]].mean(axis=0) + 0.2 * noise).astype(np.float32)}

    return dataset.map(add, remove_columns=["image", "texts"]).cast_column("image_features", vectors(6))


def test_the_loader_gives_what_is_learned_from_and_what_is_searched(archive):
    whole = load_dataset("mirflickr", archive)
    part = load_dataset("mirflickr", archive, train_rows=ROWS)
    assert part["database"]["id"][:] == whole["train"]["id"][:]
    assert part["train"]["id"][:] == whole["train"]["id"][:ROWS]
    assert part["test"]["id"][:] == whole["test"]["id"][:]
    assert len(load_dataset("mirflickr", archive, train_rows=10_000)["train"]) == len(whole["train"])
    with pytest.raises(InputError, match="train_rows is 0: a training learns from one pair at least"):
        load_dataset("mirflickr", archive, train_rows=0)


@pytest.mark.parametrize("method", PAPERS)
@pytest.mark.parametrize("by_loader", [True, False], ids=["loader", "recipe"])
def test_as_the_paper_trains(archive, tmp_path, method, by_loader):
    recipe = load_recipe(method, "mirflickr")
    assert recipe.train_rows == PAPERS[method]
    whole = with_features(load_dataset("mirflickr", archive))
    dataset = with_features(load_dataset("mirflickr", archive, train_rows=ROWS)) if by_loader else whole
    recipe = recipe.for_columns(whole["train"].column_names).changed(train_rows=10_000 if by_loader else ROWS)
    if method != "seph":
        recipe = recipe.changed(training={"num_train_epochs": 2, "per_device_train_batch_size": 16})
    run = train(recipe.with_bits(16), dataset, "mirflickr", tmp_path, protocols=["dcmh"])
    held_out = 0 if method == "seph" else ROWS - run.pairs
    assert (held_out > 0) == (method != "seph")
    assert run.pairs + held_out == ROWS
    assert TrainingRun.load(tmp_path).recipe["train_rows"] == (10_000 if by_loader else ROWS)
    measured = evaluate(cmr_hub.from_pretrained(tmp_path), whole["test"], "dcmh", whole["train"])
    assert set(measured.gallery.values()) == {len(whole["train"])}
    assert_figures(run.results[0]["metrics"], measured.metrics)


@pytest.mark.slow
def test_the_commands_search_what_is_not_learned_from(tmp_path):
    where = ["--dataset", "emoji", "--dataset-option", "train_rows=200"]
    trained = ["train", "--method", "sh", "--bits", "16", "--protocols", "dcmh", "--output-dir", str(tmp_path / "sh")]
    assert main([*trained, *where]) == 0
    assert main([*trained[:-1], str(tmp_path / "fewer"), *where, "--train-rows", "100"]) == 0
    assert main([*trained[:-1], str(tmp_path / "rows"), "--dataset", "emoji", "--train-rows", "200"]) == 0
    runs = {name: TrainingRun.load(tmp_path / name) for name in ("sh", "fewer", "rows")}
    assert {name: run.pairs for name, run in runs.items()} == {"sh": 200, "fewer": 100, "rows": 200}
    assert_figures(runs["rows"].results[0]["metrics"], runs["sh"].results[0]["metrics"])
    measured = ["evaluate", "--checkpoint", str(tmp_path / "sh"), *where, "--protocols", "dcmh"]
    assert main([*measured, "--json", str(tmp_path / "measured.json")]) == 0
    (entry,) = json.loads((tmp_path / "measured.json").read_text())
    assert_figures(entry["metrics"], runs["sh"].results[0]["metrics"])


def test_a_part_that_is_learned_from_is_no_incomplete_data_set():
    sizes = {"train": 10_000, "database": 18_015, "test": 2_000}
    assert describe_sizes(info("mirflickr"), sizes) == ""
    assert "12,000 pairs (train 10,000" in describe_sizes(info("mirflickr"), {**sizes, "database": 10_000})
