from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cmr_hub.errors import UnknownNameError
from cmr_hub.space.services.catalogue import Catalogue
from cmr_hub.space.services.preparation import Preparations, Progress, names_to_prepare, parse_report, training_command
from toys import serve_pascal

LONG = 20.0


def script(body: str) -> Callable[[str], list[str]]:
    """A command that runs a few lines of Python instead of the training."""
    head = "import json, pathlib, sys, time\ndef say(*report):\n"
    head += "    print(json.dumps(dict(zip(('stage', 'fraction', 'message'), report))), flush=True)\n"
    return lambda name: [sys.executable, "-c", head + body, name]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_command_is_the_one_that_a_person_types():
    assert training_command("pascal") == [
        sys.executable,
        "-m",
        "cmr_hub.cli",
        "prepare",
        "pascal",
        "--progress",
        "json",
    ]


def test_tells_progress_and_the_end():
    done = []
    preparations = Preparations(
        script("say('train', 0.5, 'Training'); print('chatter'); say('done', 1, 'ready')"), lambda: done.append(1)
    )
    assert preparations["pascal"] is None
    before = preparations.version
    preparations.start("pascal")
    assert preparations.wait("pascal", LONG) == Progress("done", 1.0, "ready")
    assert done == [1]
    assert preparations.version >= before + 4  # waiting, started, training, done


def test_failure_gives_the_reason_and_the_galleries_stay_as_they_were():
    done = []
    body = "say('download', 0.1, 'Downloading'); say('error', 0.1, 'The source is out of reach.'); sys.exit(1)"
    preparations = Preparations(script(body), lambda: done.append(1))
    preparations.start("wiki")
    progress = preparations.wait("wiki", LONG)
    assert (progress.state, progress.message) == ("failed", "The source is out of reach.")
    assert not done


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('nobody expected this')", "nobody expected this"),
        ("sys.exit(3)", "status 3"),
        ("say('train', 0.5, 'Training')", "Training"),  # ends well, but never says that it is done
    ],
)
def test_command_that_ends_otherwise_has_failed(body: str, reason: str):
    preparations = Preparations(script(body))
    preparations.start("wiki")
    progress = preparations.wait("wiki", LONG)
    assert progress.state == "failed"
    assert reason in progress.message


def test_command_that_cannot_be_started_has_failed(tmp_path: Path):
    preparations = Preparations(lambda name: [str(tmp_path / "nothing")])
    preparations.start("wiki")
    assert "cannot be started" in preparations.wait("wiki", LONG).message


def test_stopped_one_can_go_on(tmp_path: Path):
    go = tmp_path / "go"
    body = f"say('train', 0.4, 'Training')\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\n"
    preparations = Preparations(script(body + "say('done', 1, 'ready')"))
    preparations.start("wiki")
    wait_for(lambda: preparations["wiki"].fraction == 0.4)
    preparations.stop("wiki")
    assert preparations.wait("wiki", LONG).state == "stopped"
    go.touch()
    preparations.start("wiki")
    assert preparations.wait("wiki", LONG).state == "done"


def test_one_at_a_time_in_the_order_of_asking(tmp_path: Path):
    log = tmp_path / "log"
    body = f"""
log = open({str(log)!r}, 'a')
log.write(f'+{{sys.argv[1]}} '); log.flush(); time.sleep(0.1); log.write(f'-{{sys.argv[1]}} ')
log.close(); say('done', 1, '')
"""
    preparations = Preparations(script(body))
    preparations.start("pascal", "wiki")
    preparations.start("rsicd", "pascal")
    preparations.stop("rsicd")  # it was still waiting
    assert preparations.wait("wiki", LONG).state == "done"
    assert log.read_text() == "+pascal -pascal +wiki -wiki "
    assert preparations["rsicd"].state == "stopped"


def test_closing_stops_the_command():
    preparations = Preparations(script("say('train', 0.1, 'Training'); time.sleep(60)"))
    preparations.start("wiki", "pascal")
    wait_for(lambda: preparations["wiki"].fraction == 0.1)
    preparations.close()
    assert preparations.wait("wiki", LONG).state == "failed"


@pytest.mark.parametrize(
    "line", ["Epoch 3 of 10\n", "", "[1, 2]", '"stage"', '{"fraction": 1}', '{"stage": 1}', '{"stage": "train"']
)
def test_other_output_is_no_report(line: str):
    assert parse_report(line) is None


def test_odd_fractions_are_kept_in_range():
    reports = [json.dumps({"stage": "train", "fraction": fraction}) for fraction in (-1, 7)]
    preparations = Preparations(script("\n".join(f"print({report!r})" for report in reports) + "\nsys.exit(1)"))
    preparations.start("wiki")
    assert preparations.wait("wiki", LONG).fraction == 1.0


def test_hosted_space_prepares_unless_told_otherwise():
    hosted = ["pascal", "wiki"]
    assert names_to_prepare(hosted, {}) == []
    assert names_to_prepare(hosted, {"SPACE_ID": "me/space"}) == hosted
    assert names_to_prepare(hosted, {"SPACE_ID": "me/space", "CMR_HUB_PREPARE": "0"}) == []
    assert names_to_prepare(hosted, {"CMR_HUB_PREPARE": "wiki, rsicd"}) == ["wiki", "rsicd"]
    with pytest.raises(UnknownNameError, match="Did you mean 'pascal'"):
        names_to_prepare(hosted, {"CMR_HUB_PREPARE": "pasqal"})


# The command with less patience: the recipe's takes minutes, and saves a large state after each epoch.
QUICK = """
import sys
from cmr_hub.cli.main import main
from cmr_hub.experiments import prepare as module
load = module.load_recipe

def quick(*names):
    recipe = load(*names)
    return recipe.changed(training={"num_train_epochs": 10}) if recipe.training else recipe

module.load_recipe = quick
sys.exit(main(sys.argv[1:]))
"""


def quick_command(name: str) -> list[str]:
    python, _, _, *words = training_command(name)
    return [python, "-c", QUICK, *words]


@pytest.mark.slow
def test_the_real_command_makes_galleries_that_the_catalogue_opens(server, private_cache, real_data, monkeypatch):
    serve_pascal(server, real_data / "pascal_sentence", most=10)
    monkeypatch.setenv("CMR_HUB_MIRROR_PASCAL", server.url + "/")
    catalogue = Catalogue(["pascal"])
    assert not catalogue["pascal"].is_ready
    preparations = Preparations(quick_command, catalogue.refresh)
    preparations.start("pascal")
    progress = preparations.wait("pascal", timeout=500)
    assert progress.state == "done", progress.message
    assert list(catalogue["pascal"].sources) == ["unified", "dscmr", "cca", "dscmr_hash"]  # as published
    hits = catalogue.open("pascal").search(text="a cow on the grass", k=5)
    assert ("cow",) in [hit.labels for hit in hits]
