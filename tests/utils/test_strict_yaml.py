import msgspec
import pytest

from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.utils.strict_yaml import read_yaml


class Row(msgspec.Struct, forbid_unknown_fields=True):
    rate: float


class Table(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    seeds: list[int] = []
    rows: dict[str, Row] = {}
    best: Row | None = None


def read(tmp_path, text):
    path = tmp_path / "table.yaml"
    path.write_text(text)
    return read_yaml(path, Table)


def test_a_file_becomes_a_structure(tmp_path):
    table = read(tmp_path, "title: a\nseeds: [0, 2]\nrows: {x: {rate: 1.0e-3}}\nbest: {rate: 1}")
    assert table == Table("a", [0, 2], {"x": Row(0.001)}, Row(1.0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: a\nsedes: [0]", "no field of {path} named 'sedes'. Did you mean 'seeds'?"),
        ("title: a\nbest: {rat: 1}", "no field of {path}, best named 'rat'. Did you mean 'rate'?"),
        ("title: a\nrows: {x: {rat: 1}}", "no field of {path}, rows[...] named 'rat'. Did you mean 'rate'?"),
    ],
)
def test_an_unknown_field_is_named_with_near_names(tmp_path, text, said):
    with pytest.raises(UnknownNameError) as raised:
        read(tmp_path, text)
    assert said.format(path=tmp_path / "table.yaml") in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [0]", "{path}: Object missing required field `title`."),
        ("title: a\nseeds: [0, '1']", "{path}, seeds[1]: Expected `int`, got `str`, '1': write 1."),
        ("title: a\nbest: {rate: 1e-3}", "{path}, best.rate: Expected `float`, got `str`, '1e-3': write 0.001."),
        ("title: a\nrows: {x: {rate: low}}", "{path}, rows[...].rate: Expected `float`, got `str`."),
        ("title: [a]", "{path}, title: Expected `str`, got `array`."),
        ("- title", "{path}: Expected `object`, got `array`."),
        ("title: [", "{path} is no YAML: "),
    ],
)
def test_a_wrong_value_is_named_with_file_and_field(tmp_path, text, said):
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(said.format(path=tmp_path / "table.yaml"))


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no\.yaml cannot be read"):
        read_yaml(tmp_path / "no.yaml", Table)
