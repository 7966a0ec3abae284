"""The Dockerfile, as far as it can be checked without Docker."""

import json
import re
import tomllib
from pathlib import Path

import click
import pytest

from cmr_hub.cli.main import application

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]


def instruction(name):
    return next(line.removeprefix(name).strip() for line in LINES if line.startswith(name))


def test_what_it_copies_is_there_and_sent_to_docker():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in LINES if line.startswith("COPY") for word in line.split()[1:-1]]
    assert set(copied) == sent
    assert all((ROOT / name).exists() for name in copied)


def test_what_the_package_is_built_of_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["project"]["readme"], *project["project"]["license-files"], *built["packages"]}
    assert needed | set(built["force-include"]) <= {word for line in LINES for word in line.split()}


def test_the_extras_that_it_installs_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r"\[(.+?)\]", instruction('RUN pip install --no-cache-dir ".'))
    assert set(installed.split(",")) <= extras.keys()


def test_its_command_is_one_of_cmr_and_listens_where_it_is_asked_for_its_health():
    program, name, *words = json.loads(instruction("CMD"))
    command = application.get_command(click.Context(application), name)
    assert program == "cmr"
    context = command.make_context(name, words)
    assert (context.params["host"], context.params["port"]) == ("0.0.0.0", int(instruction("EXPOSE")))
    assert f":{context.params['port']}/health" in instruction("HEALTHCHECK")
    assert [str(path) for path in context.params["gallery"]] == json.loads(instruction("VOLUME"))


@pytest.mark.parametrize("word", ["useradd", "USER cmr"])
def test_it_does_not_run_as_root(word):
    assert any(word in line for line in LINES)
