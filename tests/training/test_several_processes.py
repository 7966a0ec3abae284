"""Training by two real processes, as `accelerate launch` starts them, against one: the same weights and results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cmr_hub import Gallery
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from cmr_hub.training.train import train
from cmr_hub.training.trainer import CMRTrainer
from several_processes import EPOCHS, TRAININGS, toy_dataset, toy_recipe, train_all, write_images
from toys import feature_dataset, feature_retriever

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "helpers" / "several_processes.py"
REPOSITORY = SCRIPT.parents[2]
LAUNCH = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
LAUNCH += " --dynamo_backend no --main_process_port 0"
# Sums over halves of a batch are rounded elsewhere than those over all of it, and Adam makes of the smallest gradients
# steps as long as of others: weights of about 0.1 to 1 differ by 1e-8, those of the two players by 1e-5.
TOLERANCE = 1e-4
# What goes row by row is embedded by shares, both sides in each of 5 steps and of 1 evaluation an epoch; of what does
# not, only the evaluation is.
GATHERED = dict.fromkeys(TRAININGS, 12 * EPOCHS) | {"dropout": 0, "batch-norm": 2 * EPOCHS, "closed-form": 0}


def launch(folder):
    """The trainings of `several_processes.py` by two processes, over loopback alone; what they said."""
    own = {"CMR_HUB_CACHE": str(folder / "cache"), "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    own |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *LAUNCH.split(), str(SCRIPT), str(folder)]
    done = subprocess.run(words, env=os.environ | own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of what one process made: this one."""
    folder = tmp_path_factory.mktemp("one")
    write_images(folder / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMR_HUB_CACHE", str(folder / "cache"))
        train_all(folder)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of what two processes made, an interrupted run of one process among it, and what they said."""
    folder = tmp_path_factory.mktemp("two")
    write_images(folder / "images")
    _interrupt(folder / "interrupted")
    return folder, launch(folder)


def _interrupt(folder):
    """Leave what a training leaves that is interrupted when its second epoch is measured."""
    real, calls = CMRTrainer._retrieval_metrics, []

    def interrupted(self, prediction):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, prediction)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CMRTrainer, "_retrieval_metrics", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(toy_recipe("dscmr"), toy_dataset(), "toy", folder)
    assert list((folder / TRAINER_FOLDER).iterdir())


def _assert_alike(first, second):
    """Two checkpoint folders hold the same weights, results and kept epoch."""
    weights, others = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert weights.keys() == others.keys()
    torch.testing.assert_close(others, weights, rtol=TOLERANCE, atol=TOLERANCE)
    run, other = TrainingRun.load(first), TrainingRun.load(second)
    assert (other.best_epoch, other.epochs) == (run.best_epoch, run.epochs)
    for result, entry in zip(run.results, other.results, strict=True):
        assert entry["metrics"] == pytest.approx(result["metrics"], abs=1e-3)


def _seen(folder, rank):
    return json.loads((folder / f"seen-{rank}.json").read_text())


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_what_one_does(one, two, name):
    _assert_alike(one / name, two[0] / name)


@pytest.mark.parametrize("name", TRAININGS)
def test_shares_of_a_batch_are_embedded_where_rows_are_embedded_by_themselves(two, name):
    assert [_seen(two[0], rank)["gathered"][name] for rank in range(2)] == [GATHERED[name]] * 2


def test_two_processes_go_on_with_what_one_began(one, two):
    _assert_alike(one / "dscmr", two[0] / "interrupted")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_command_trains_each_seed(one, two, seed):
    _assert_alike(one / "command" / f"seed-{seed}", two[0] / "command" / f"seed-{seed}")


def test_all_processes_are_told_the_results(two):
    main, other = (_seen(two[0], rank)["results"] for rank in range(2))
    assert main == other == {name: TrainingRun.load(two[0] / name).results for name in TRAININGS}


def test_each_image_is_encoded_once_by_one_of_them(one, two):
    images = {path.read_bytes() for path in (two[0] / "images").glob("*.png")}
    assert len(images) == len(list((two[0] / "images").glob("*.png"))) - 1  # one is there twice
    assert [_seen(two[0], rank)["encoded"] for rank in range(2)] == [len(images) // 2] * 2
    stored, expected = _rows(two[0]), _rows(one)
    assert len(stored) == len(expected) == len(images)
    expected = dict(expected)
    for digest, features in stored:
        np.testing.assert_allclose(features, expected.pop(digest), atol=2e-3)  # they are of half precision


def _rows(folder):
    """Digests and features of all shards of the store in a folder."""
    shards = [load_file(path) for path in (folder / "cache" / "features").rglob("*.safetensors")]
    return [
        row for shard in shards for row in zip(map(bytes, shard["digests"].numpy()), shard["features"], strict=True)
    ]


def test_two_processes_build_the_gallery_of_one(one, two):
    first, second = (Gallery.from_pretrained(folder / "gallery") for folder in (one, two[0]))
    assert second.ids == first.ids
    for modality in ("image", "text"):
        np.testing.assert_allclose(second.embeds[modality], first.embeds[modality], atol=1e-5)
    embedded = [_seen(two[0], rank)["embedded"] for rank in range(2)]
    assert sum(embedded) == len(first)
    assert min(embedded) > len(first) // 3


def test_two_processes_bring_a_gallery_up_to_date_as_one_does(one, two):
    retriever = feature_retriever()
    first, second = (Gallery.from_pretrained(folder / "followed", retriever=retriever) for folder in (one, two[0]))
    assert first.ids == second.ids == [f"item-{row}" for row in range(61) if row % 5 != 2]
    expected = Gallery.from_dataset(feature_dataset(61).select([row for row in range(61) if row % 5 != 2]), retriever)
    for modality in ("image", "text"):
        np.testing.assert_allclose(second.embeds[modality], first.embeds[modality], atol=1e-5)
        np.testing.assert_allclose(second.embeds[modality], expected.embeds[modality], atol=1e-5)


def test_what_fails_in_one_is_known_to_all(two):
    assert [_seen(two[0], rank)["failure"] for rank in range(2)] == [
        "OtherProcessError: Process 1 failed. InputError: Image 3 is no image.",
        "InputError: Image 3 is no image.",
    ]


def test_the_main_process_alone_writes_and_reports(one, two):
    folder, said = two
    names = [sorted(str(p.relative_to(f)) for p in f.rglob("*") if "cache" not in p.parts) for f in (one, folder)]
    assert set(names[1]) - set(names[0]) == {"seen-1.json", *(n for n in names[1] if n.startswith("interrupted"))}
    assert set(names[0]) < set(names[1])
    assert not list(folder.rglob("checkpoint-*")), "states of the training are left"
    assert not list(folder.rglob(".writing-*")), "something is half-written"
    assert said.count("Measured on the test split") == 2  # the command's two seeds; the others have no log set up
    assert said.count("Epoch 2/2") == 2
    assert "load_best_model_at_end" not in said
