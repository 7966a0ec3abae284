"""A short version of the attack campaign, and that it sees what must not happen."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

import campaign
from attempts import ANSWERED, REFUSED, Attack, Attempt, Failure
from downloads import Downloads
from full_disk import FullDisk, SmallFiles
from kills import Kills
from mutations import Mutations
from uploads import Uploads

pytestmark = pytest.mark.filterwarnings("ignore")  # of numbers in hostile files


class Careless(Attack):
    """Does one thing per seed that must not happen; nothing with seed 0."""

    name = "careless"
    tries = 6
    seconds = 60.0
    megabytes = 20
    said: ClassVar[dict[int, str]] = {
        1: "ValueError instead of a clear error: odd",
        2: "opened files outside: secret.txt",
        3: "MB of memory",
        4: "another answer",
    }
    slow = 5

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        attempt.does("group", "what")
        if attempt.seed == 1:
            raise ValueError("odd")
        if attempt.seed == 2:
            self.canary.paths[0].read_text()
        if attempt.seed == 3:
            bytearray(b"x") * 60_000_000
        if attempt.seed == 4:
            raise Failure("another answer")
        if attempt.seed == self.slow:
            time.sleep(600)
        return ANSWERED


@pytest.fixture
def careless(tmp_path: Path) -> Iterator[Careless]:
    with Careless(tmp_path / "careless") as attack:
        yield attack


def test_what_must_not_happen_is_seen(careless: Careless):
    assert (careless.run(0).failure, careless.run(0).end) == (None, ANSWERED)
    for seed, said in careless.said.items():
        attempt = careless.run(seed)
        assert said in attempt.failure
        assert (attempt.group, attempt.what) == ("group", "what")


def test_what_takes_too_long_is_ended(careless: Careless, monkeypatch):
    monkeypatch.setattr(Careless, "seconds", 0.2)
    assert careless.run(careless.slow).failure == "took more than 0.2 s"


def test_one_try_after_another_is_judged_by_itself(careless: Careless):
    assert careless.run(2).failure
    assert careless.run(0).failure is None


@pytest.mark.parametrize(("failure", "status"), [(None, 0), ("another answer", 1)])
def test_failures_are_named_with_what_repeats_them(monkeypatch, tmp_path, failure, status):
    made = [Attempt("kills", 3, "build", "killed", REFUSED), Attempt("kills", 7, "save", "killed", "", failure)]
    monkeypatch.setattr(campaign, "attack", lambda *arguments: iter(made))
    monkeypatch.setattr(campaign, "prepare_process", lambda folder: None)
    result = CliRunner().invoke(campaign.main, ["--only", "kills", "--json", str(tmp_path / "tries.json")])
    assert result.exit_code == status
    assert ("FAILED --only kills --seed 7: killed: another answer" in result.output) == bool(failure)
    assert f"2 tries, {status} failed" in result.output
    assert '"seed": 7' in (tmp_path / "tries.json").read_text()


def test_files_of_a_disk_that_is_full_end(tmp_path: Path):
    with SmallFiles(tmp_path).full_after(5), pytest.raises(OSError, match="too large"):
        (tmp_path / "file").write_bytes(b"123456")
    (tmp_path / "file").write_bytes(b"123456")


SHORT = [(Mutations, range(40)), (FullDisk, (0, 1, 2, 3, 9)), (Downloads, range(8)), (Uploads, (1, 3, 4, 6, 8, 20))]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seeds"), [*SHORT, (Kills, (2,))], ids=lambda value: getattr(value, "name", ""))
def test_tries_hold(kind, seeds, tmp_path, private_cache, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", private_cache)
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, (campaign.HERE, campaign.HERE.parent / "helpers"))))
    with kind(tmp_path / "attack") as attack:
        attempts = [attack.run(seed) for seed in seeds]
    assert [(attempt.seed, attempt.what, attempt.failure) for attempt in attempts if attempt.failure] == []
    assert all(attempt.end in (REFUSED, ANSWERED) for attempt in attempts)
