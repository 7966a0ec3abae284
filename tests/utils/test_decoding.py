from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import msgspec
import pytest

from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.utils.decoding import check_value, decode
from cmr_hub.utils.located_yaml import load_yaml


@dataclass(frozen=True)
class Row:
    rate: float


class Table(msgspec.Struct):
    title: str
    seeds: list[int] = []
    rows: dict[str, Row] = {}
    best: Row | None = None
    encoder: str | dict[str, Any] | None = None
    sizes: dict[int, float] = {}


class Kind(Enum):
    SGD = "sgd"
    ADAM = "adam"


def read(tmp_path, text):
    path = tmp_path / "table.yaml"
    path.write_text(text)
    return decode(Table, load_yaml(path))


def test_a_file_becomes_a_structure(tmp_path):
    text = "title: a\nseeds: [0, 2]\nrows: {x: {rate: 1.0e-3}}\nbest: {rate: 1}\nencoder: {name: b}\nsizes: {8: 1}"
    assert read(tmp_path, text) == Table("a", [0, 2], {"x": Row(0.001)}, Row(1.0), {"name": "b"}, {8: 1.0})
    assert read(tmp_path, "title: a\nencoder: glove").encoder == "glove"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: a\nsedes: [0]", "line 2: There is no field named 'sedes'. Did you mean 'seeds'"),
        ("title: a\nbest:\n  rat: 1", "line 3: There is no field of best named 'rat'. Did you mean 'rate'?"),
        ("title: a\nrows: {x: {rat: 1}}", "line 2: There is no field of rows.x named 'rat'. Did you mean 'rate'?"),
        ("seeds: [0]", "line 1: it lacks the field 'title'."),
        ("title: a\nrows:\n  x: {}", "line 3: rows.x lacks the field 'rate'."),
        (
            "title: a\nseeds: [0, '1']",
            "line 2: seeds[1] must be a whole number, and is '1'. YAML reads",
        ),
        (
            "title: a\nbest:\n  rate: 1e-3",
            "line 3: best.rate must be a number, and is '1e-3'. YAML reads this as text",
        ),
        ("title: a\nbest:\n  rate: true", "line 3: best.rate must be a number, and is True."),
        ("title: [a]", "line 1: title must be text, and is ['a']."),
        ("title: a\nrows: 3", "line 2: rows must be a mapping of names to values, and is 3."),
        ("title: a\nsizes: {eight: 1}", "line 2: a key of sizes must be a whole number, and is 'eight'."),
        ("title: a\ntitle: b", "line 2: 'title' is given twice; line 1 has it too."),
        ("title: [", "line 1: "),
        ("title: a\n? [a, b]\n: 1", "line 2: ['a', 'b'] cannot be a key."),
        ("title: a\n? {a: b}\n: 1", "line 2: {'a': 'b'} cannot be a key."),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(tmp_path, text, said):
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'table.yaml'}, {said}")


@pytest.mark.parametrize(
    ("text", "said"), [("title: 2024-13-45", "month must be in 1..12"), (f"title: {'[' * 2000}", "recursion")]
)
def test_what_cannot_be_read_is_named_with_its_file(tmp_path, text, said):
    with pytest.raises(InputError, match=rf"table\.yaml is no YAML: .*{said}"):
        read(tmp_path, text)


def test_a_value_that_anchors_make_large_is_shortened(tmp_path):
    doubled = "".join(f", &a{level + 1} [*a{level}, *a{level}]" for level in range(40))
    with pytest.raises(InputError, match="title must be text") as raised:
        read(tmp_path, f"title: [&a0 [x]{doubled}]")
    assert len(str(raised.value)) < 1000 + len(str(tmp_path))


def test_what_an_anchor_stands_for_is_read_at_both_places(tmp_path):
    table = read(tmp_path, "title: a\nbest: &best {rate: 2}\nrows: {x: *best, y: {<<: *best}}")
    assert table.rows == {"x": Row(2.0), "y": Row(2.0)}


def test_content_that_is_from_no_file_has_no_line():
    with pytest.raises(InputError, match=r"^best\.rate must be a number"):
        decode(Table, {"title": "a", "best": {"rate": "low"}})
    with pytest.raises(UnknownNameError, match="no field named 'titel'"):
        decode(Table, {"titel": "a"})


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, 1.0),
        (1, int | float, 1),
        (None, int | None, None),
        (2, float | None, 2.0),
        ("a", Literal["a", "b"], "a"),
        ("sgd", Kind | str, "sgd"),
        ([1, 2], tuple[float, ...], [1.0, 2.0]),
        ({"a": True}, dict[str, bool], {"a": True}),
    ],
)
def test_a_value_of_the_type_passes(value, hint, expected):
    checked = check_value(value, hint, "it")
    assert (checked, type(checked)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "it must be a whole number, and is True"),
        (1, bool, "it must be true or false, and is 1"),
        (1.0, int, "must be a whole number, and is 1.0"),
        ("8", int, "is '8'. YAML reads this as text: write 8"),
        ("1e-3", float | None, "must be a number or null, and is '1e-3'. YAML reads this as text: write 0.001"),
        ("c", Literal["a", "b"], "There is no value of it named 'c'"),
        ("admm", Kind | str, "no value of it named 'admm'. Did you mean 'adam'"),
        ([1, "2"], list[int], r"it\[1\] must be a whole number, and is '2'"),
        ({"a": 1}, dict[str, bool], "it must be"),
    ],
)
def test_a_value_of_another_type_is_refused(value, hint, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        check_value(value, hint, "it")
