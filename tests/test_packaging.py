"""requirements.txt and pyproject.toml name the same packages, and the wheel holds one package."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def with_extras(requirements: Iterable[str]) -> set[str]:
    """Requirements as text, `cmr-hub[extra]` replaced by what the extra requires."""
    found = set()
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                found |= with_extras(EXTRAS[extra])
        else:
            found.add(str(requirement))
    return found


def test_the_space_installs_the_core_and_its_extra():
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {str(Requirement(line)) for line in lines if line and not line.startswith("#")}
    assert listed == with_extras(PROJECT["dependencies"]) | with_extras(EXTRAS["space"])


def test_all_is_every_extra():
    others = [f"{PROJECT['name']}[{extra}]" for extra in EXTRAS if extra != "all"]
    assert with_extras(EXTRAS["all"]) == with_extras(others)
