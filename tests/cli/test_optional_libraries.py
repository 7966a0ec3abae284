"""A command that needs an optional library names the extra before it does anything.

That the others run without is in `tests/test_extras.py`.
"""

import sys
import tomllib
from pathlib import Path

import click
import pytest

from cmr_hub.cli.main import application, main

ROOT = Path(__file__).parents[2]
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
    "serve": [],
}


@pytest.mark.parametrize(("name", "package", "extra"), NEEDED)
def test_a_missing_library_names_its_extra(monkeypatch, capsys, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    assert main([name, *ARGUMENTS[name]]) == 1
    assert capsys.readouterr().err == (
        f'MissingExtraError: cmr {name} needs {package}, which is not installed: pip install "cmr-hub[{extra}]".\n'
    )


def test_a_service_for_programs_needs_another_library_than_one_for_people(monkeypatch, capsys):
    for package in ("gradio", "prometheus_client"):
        monkeypatch.setitem(sys.modules, package, None)
    assert main(["serve", "--api"]) == 1
    assert 'needs prometheus_client, which is not installed: pip install "cmr-hub[api]"' in capsys.readouterr().err


def test_the_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for _, _, extra in NEEDED} <= extras.keys()
