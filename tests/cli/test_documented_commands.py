"""Every command line in the documentation, the cards and the code is one that the command can read."""

import re
import shlex
from pathlib import Path

import click
import pytest

from command_line import parse

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / name for name in ("README.md", "RESULTS.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "model_cards").glob("*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "training").rglob("*.yaml")),
    *sorted(path for kind in ("md", "yaml", "py") for path in (ROOT / "cmr_hub").rglob(f"*.{kind}")),
]
QUOTES = {"`": "`", "<code>": "</code>", "": "\n"}  # what precedes a command, and where it then ends
START = re.compile(
    r"(?<![\w/`{])(?P<quote>`|<code>|)(?P<program>python -m training|(?:-m )?cmr_hub\.cli|cmr)(?= [a-z])"
)


def command_lines(text):
    """Program, words after it, and whether they are all that is to be typed.

    A command that is quoted in prose ends with its quote and may leave words out; another one ends with its line.
    """
    text = re.sub(r"\\\n\s*", "", text)
    text = re.sub(r'"\n\s*f?"', "", text)  # strings of Python that go on in the next line
    for found in START.finditer(text):
        line, closed, _ = text[found.end() :].partition(QUOTES[found["quote"]])
        if closed:
            line = re.split(r'#| >|"', " ".join(line.split()))[0].strip(" .,;)")
            line = line.strip("' .,;)") if line.count("'") % 2 else line
            yield found["program"], shlex.split(line), not found["quote"] and "…" not in line


DOCUMENTED = {
    path.relative_to(ROOT): lines
    for path in SOURCES
    if (lines := list(command_lines(path.read_text(encoding="utf-8"))))
}


def test_the_command_lines_are_found():
    assert len(DOCUMENTED) > 60
    assert sum(map(len, DOCUMENTED.values())) > 150
    readme = {words[0] for _, words, _ in DOCUMENTED[Path("README.md")]}
    assert {"train", "evaluate", "reproduce", "ablate", "sweep", "table", "gallery", "prepare", "publish"} <= readme


def test_a_command_line_ends_where_its_quotes_or_its_line_do():
    text = "`cmr map --gallery\nx '{}'`, <code>cmr train'</code>, or\n\n    cmr table a \\\n      --json b    # why\n"
    assert list(command_lines(text)) == [
        ("cmr", ["map", "--gallery", "x", "{}"], False),
        ("cmr", ["train"], False),
        ("cmr", ["table", "a", "--json", "b"], True),
    ]


@pytest.mark.parametrize("path", DOCUMENTED, ids=str)
def test_documented_command_lines_can_be_read(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for program, words, is_complete in DOCUMENTED[path]:
        if words[-1] == "…" and not words[-2].startswith("-"):
            words = words[:-1]
        try:
            parse(words, counts_seeds=program == "python -m training")
        except click.UsageError as error:
            if is_complete or not isinstance(error, click.MissingParameter):
                pytest.fail(f"{shlex.join(words)}: {error.format_message()}")
