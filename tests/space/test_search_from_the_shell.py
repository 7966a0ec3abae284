"""`cmr search --server`, on a Space that is running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cmr_hub.cli.main import main

pytestmark = pytest.mark.slow


def test_a_running_space_is_searched(space: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["search", "smiling", "cat", "--server", space.url, "-k", "3", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert len(hits) == 3
    assert any("cat" in hit["texts"][0] for hit in hits)
    assert hits[0]["path"] is None
    assert main(["search", "smiling", "cat", "--without", "dog", "--server", space.url, "-k", "3", "--json"]) == 0
    assert [hit["score"] for hit in json.loads(capsys.readouterr().out)] != [hit["score"] for hit in hits]
    assert main(["search", "cat", "--server", space.url, "-k", "1", "--folder", str(tmp_path)]) == 0
    assert f"{tmp_path}/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["qwxz"], "refuses the query: "),
        (["cat", "--min-score", "auto"], "A server is searched by words and items"),
        (["cat", "--server", "127.0.0.1:1"], "is no address of a server"),
        (["cat", "--server", "http://127.0.0.1:1"], "cannot be reached"),
        (["cat", "--server", "{url}/nowhere"], "answers with the status 404"),
    ],
)
def test_refusals_say_what_to_do(space: Any, capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    server = [] if "--server" in words else ["--server", space.url]
    assert main(["search", *(word.format(url=space.url) for word in words), *server]) == 1
    assert message in capsys.readouterr().err
