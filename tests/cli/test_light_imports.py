"""Help and refusals of wrong options import nothing heavy, and so answer at once."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "datasets", "gradio", "numpy", "PIL", "huggingface_hub", "accelerate", "pandas"}
CODE = """
import json, sys
from cmr_hub.cli.main import main
code = main(sys.argv[1:])
print()
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""
TRAIN = ["train", "--method", "cca", "--dataset", "emoji", "--output-dir", "x"]


def run(*words):
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["code"], HEAVY.intersection(told["modules"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "--help"], 0),
        (["completion", "bash"], 0),
        (["trian"], 2),
        (["train"], 2),
        ([*TRAIN, "--sedes", "1"], 2),
        ([*TRAIN, "--weigth-decay", "0.1"], 2),
        ([*TRAIN, "--weight-decay", "low"], 2),
        ([*TRAIN, "--seeds", "one"], 2),
        ([*TRAIN, "--config", "loss_eta"], 2),
        ([*TRAIN, "--text-encoder", "{window: 3}"], 2),
        ([*TRAIN, "--method", "dscrm"], 1),
        ([*TRAIN, "--dataset", "emoij"], 1),
        ([*TRAIN, "--protocols", "dscmrr"], 1),
        ([*TRAIN, "--image-encoder", "torchvison/resnet50"], 1),
        ([*TRAIN, "--text-encoder", "{name: glov}"], 1),
        (["reproduce", "--dataset", "wiki", "--methods", "klhs"], 1),
        (["prepare", "pascall"], 1),
        (["map", "--dataset", "emoji"], 2),
        (["reproduce", "--experiment", "no-such-file.yaml"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_nothing_heavy_is_imported(words, code):
    assert run(*words) == (code, set())
