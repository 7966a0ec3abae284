"""Hostile values and changes of files, drawn at random."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

BILLION = 10**9
ADDED_KEYS = (
    *("weights", "saved_in", "catalyser", "auto_map", "trust_remote_code", "_name_or_path", "retriever", "address"),
    *("token", "path", "num_labels", "id2label", "dtype", "quantization_config", "attn_implementation", "__class__"),
)


def hostile_value(random: random.Random, outside: Sequence[Path], folder: Path) -> Any:
    """A JSON value that no honest file has there.

    Args:
        random: draws it.
        outside: files that are not to be opened.
        folder: where the value is read from, for paths that lead out of it.
    """
    path = random.choice(outside)
    kinds: list[Callable[[], Any]] = [
        lambda: random.choice([None, True, False, [], {}, "", 0, -1, 1, 2]),
        lambda: random.choice([BILLION, 10**18, 2**63, -(2**63), 10**400, 10**5000]),
        lambda: random.choice([float("nan"), float("inf"), 1e308, -0.5, 0.5]),
        lambda: str(path),
        lambda: "/".join([".."] * len(folder.parts) + list(path.parts[1:])),
        lambda: f"file://{path}",
        lambda: random.choice(["http://127.0.0.1:9/x", "~root", "/proc/self/environ", "/dev/zero", ".", "..", "\x00"]),
        lambda: random.choice(
            ["x" * 1_000_000, "\ud800", "é" * 300, "builtins.eval", "\n\n", "%s%n", "{0.__class__}"]
        ),
        lambda: [0] * 100_000,
        lambda: _nested(random.choice([50, 300, 600])),
        lambda: {str(number): number for number in range(random.choice([3, 20_000]))},
        lambda: [str(path), str(path)],
        lambda: {"bytes": None, "path": str(path)},
    ]
    return random.choice(kinds)()


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of everything in a JSON value, from the outermost in."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def change_json(path: Path, random: random.Random, outside: Sequence[Path]) -> str:
    """Replace, remove or add one field of a JSON file; says which."""
    content = json.loads(path.read_text())
    where = random.choice(places(content))
    parent = content
    for key in where[:-1]:
        parent = parent[key]
    way = random.choice(["replace"] * 6 + ["remove", "add"])
    if way == "remove":
        del parent[where[-1]]
        said = f"without {where}"
    else:
        value = hostile_value(random, outside, path.parent)
        if way == "add" and isinstance(parent, dict):
            where = (*where[:-1], random.choice(ADDED_KEYS))
        parent[where[-1]] = value
        said = f"{where} = {_short(value)}"
    path.write_text(_dumps(content), encoding="utf-8", errors="surrogatepass")
    return said


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**50:
        return "an integer of thousands of digits"
    try:
        text = ascii(value)
    except RecursionError:
        return "lists in lists"
    return text if len(text) < 80 else f"{text[:40]}… ({len(text):,} characters)"


def _dumps(content: Any) -> str:
    import sys

    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(content)
    finally:
        sys.set_int_max_str_digits(limit)


JSON_FILES: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "an empty object": b"{}",
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "no UTF-8": b"\xff\xfe{\x00}\x00",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NUL bytes": b"\0" * 500,
    "half an object": b'{"model_type": "dscmr", ',
}


def replace_json(path: Path, random: random.Random) -> str:
    """Put another JSON text, or what is none, into a file."""
    name = random.choice(list(JSON_FILES))
    path.write_bytes(JSON_FILES[name])
    return name


def flip(path: Path, random: random.Random) -> str:
    """Flip some bits."""
    content = bytearray(path.read_bytes())
    at = sorted(random.randrange(len(content)) for _ in range(random.choice([1, 1, 1, 3, 20])))
    for byte in at:
        content[byte] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    return f"bits of bytes {', '.join(map(str, at))} flipped"


def truncate(path: Path, random: random.Random) -> str:
    """Cut the end off."""
    size = path.stat().st_size
    kept = random.choice([0, 1, size // 2, size - 1, random.randrange(size)])
    with path.open("rb+") as file:
        file.truncate(kept)
    return f"cut to {kept} of {size} bytes"


def garbage(path: Path, random: random.Random) -> str:
    """Random bytes, in the place of all or of a part."""
    content = bytearray(path.read_bytes())
    start = random.choice([0, 0, random.randrange(len(content))])
    stop = random.choice([len(content), min(len(content), start + 64)])
    content[start:stop] = random.randbytes(stop - start)
    path.write_bytes(content)
    return f"bytes {start} to {stop} are garbage"


def zeros(path: Path, random: random.Random) -> str:
    """A part that the disk lost."""
    content = bytearray(path.read_bytes())
    start = random.randrange(len(content))
    stop = min(len(content), start + random.choice([512, 4096]))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)
    return f"bytes {start} to {stop} are zero"


def change_tensors(path: Path, random: random.Random, are_weights: bool) -> tuple[str, bool]:
    """Write other tensors; says which, and whether that has to be noticed without a digest too.

    Embeddings, unlike weights, may be zero.
    """
    tensors = load_file(path)
    name = random.choice(sorted(tensors))
    tensor = tensors[name]
    floats = [each for each in sorted(tensors) if tensors[each].is_floating_point() and tensors[each].numel()]
    way = random.choice(
        ["nan", "inf", "all zero", "int", "half", "double", "wider", "fewer", "missing", "more", "renamed", "scalar"]
    )
    if way in ("nan", "inf") and floats:
        name = random.choice(floats)
        broken = tensors[name].clone()
        broken.view(-1)[random.randrange(broken.numel())] = float(way)
        tensors[name] = broken
        said = f"{way} in {name}"
    elif way == "all zero":
        tensors = {each: torch.zeros_like(value) for each, value in tensors.items()}
        said = "all tensors zero"
    elif way == "int":
        tensors[name] = tensor.to(torch.int64 if tensor.dtype != torch.int64 else torch.int8)
        said = f"{name} as integers"
    elif way in ("half", "double"):
        tensors[name] = tensor.to(torch.float16 if way == "half" else torch.float64)
        said = f"{name} as {tensors[name].dtype}"
    elif way == "wider":
        tensors[name] = torch.cat([tensor.reshape(1, -1)] * 2, dim=1)
        said = f"{name} of the shape {tuple(tensors[name].shape)}"
    elif way == "fewer":
        tensors[name] = tensor.reshape(-1)[: tensor.numel() // 2].clone()
        said = f"{name} cut"
    elif way == "scalar":
        tensors[name] = torch.tensor(1.0)
        said = f"{name} a scalar"
    elif way == "missing":
        del tensors[name]
        said = f"without {name}"
    elif way == "renamed":
        tensors[name + "x"] = tensors.pop(name)
        said = f"{name} renamed"
    else:
        tensors["extra"] = torch.ones(3)
        said = "another tensor"
    save_file({each: value.contiguous().clone() for each, value in tensors.items()}, path, metadata={"format": "pt"})
    must = way in ("nan", "inf", "int", "wider", "fewer", "scalar", "missing", "renamed")
    return said, must or (way == "all zero" and bool(floats) and are_weights)


def change_header(path: Path, random: random.Random) -> str:
    """Write another header in front of the same tensors."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    way = random.choice(["huge", "beyond", "overlap", "shape", "dtype", "deep"])
    if way == "huge":
        path.write_bytes((2**62).to_bytes(8, "little") + header + data)
        return "a header of 2**62 bytes"
    entries: dict[str, Any] = json.loads(header)
    name = random.choice([each for each in entries if each != "__metadata__"])
    if way == "beyond":
        entries[name]["data_offsets"] = [0, BILLION * 1000]
    elif way == "overlap":
        entries[name]["data_offsets"] = [0, 4]
    elif way == "shape":
        entries[name]["shape"] = [BILLION, BILLION]
    elif way == "dtype":
        entries[name]["dtype"] = "F999"
    else:
        entries["__metadata__"] = _nested(5000 if random.random() < 0.5 else 90)
    text = _dumps(entries) if way != "deep" else '{"__metadata__":' + "[" * 5000 + "]" * 5000 + "}"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + data)
    return f"header of {name}: {way}"


def change_rows(path: Path, random: random.Random, outside: Sequence[Path]) -> tuple[str, bool]:
    """Write other cells into a Parquet file; says which, and whether that has to be noticed without a digest too."""
    table = pq.read_table(path)
    embeds = [name for name in table.column_names if name.endswith(("_embeds", "_real_valued"))]
    ways = [
        "no rows",
        "fewer rows",
        "twice",
        "dropped column",
        "null ids",
        "numbers as ids",
        "metadata",
        "null column",
    ]
    ways += (
        ["nan", "inf", "34 times", "zero", "wider", "null embeds", "text embeds", "double embeds"] if embeds else []
    )
    if "image" in table.column_names:
        ways += ["image outside"] * 8 + ["broken image", "no image"]
    if "label" in table.column_names:
        ways += ["label 99", "negative label"]
    way = random.choice(ways)
    must, said = True, way
    if way in ("nan", "inf", "34 times", "zero", "wider", "double embeds"):
        column = random.choice(embeds)
        values = table.column(column).combine_chunks()
        rows = values.flatten().to_numpy().reshape(len(values), -1).copy()
        said = f"{column}: {way}"
        if rows.dtype == np.uint8 and way != "wider":
            rows = ~rows
            must = False  # other codes are codes too
        elif way == "wider":
            rows = np.concatenate([rows, rows], axis=1)
        elif way == "double embeds":
            rows, must = rows.astype(np.float64), False
        else:
            row = random.randrange(len(rows))
            rows[row] = {"nan": np.nan, "inf": np.inf, "34 times": 34 * rows[row], "zero": 0}[way]
            must = way != "zero" and not column.endswith("_real_valued")  # of which only directions are taken
        array = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        table = _with(table, column, array)
    elif way in ("null embeds", "text embeds"):
        column = random.choice(embeds)
        array = (
            pa.array(["x"] * len(table)) if way == "text embeds" else pa.nulls(len(table), table.field(column).type)
        )
        table = _with(table, column, array)
        said = f"{column}: {way}"
    elif way == "image outside":
        place = random.choice(outside)
        target = random.choice(
            [
                str(place),
                f"file://{place}",
                f"zip://x.png::{place}",
                "http://127.0.0.1:9/x.png",
                f"/proc/self/root{place}",
            ]
        )
        cells = [{"bytes": None, "path": target}] * len(table)
        table = _with(table, "image", pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})))
        said, must = f"images at {target}", False
    elif way in ("broken image", "no image"):
        cells = [{"bytes": b"no image" if way == "broken image" else None, "path": None}] * len(table)
        table = _with(table, "image", pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})))
        must = False
    elif way in ("label 99", "negative label"):
        values = [99 if way == "label 99" else -3] * len(table)
        table, must = _with(table, "label", pa.array(values, pa.int64())), False
    elif way == "null ids":
        table = _with(table, "id", pa.nulls(len(table), pa.string()))
    elif way == "numbers as ids":
        table, must = _with(table, "id", pa.array(range(len(table)), pa.int64())), False
    elif way == "null column":
        column = random.choice(table.column_names)
        table, must = _with(table, column, pa.nulls(len(table), table.field(column).type)), False
        said = f"{column} null"
    elif way == "twice":
        table = pa.concat_tables([table, table])
    elif way == "dropped column":
        column = random.choice(table.column_names)
        table, must = table.drop_columns([column]), False
        said = f"without {column}"
    elif way == "metadata":
        value = json.dumps({"info": {"features": hostile_value(random, outside, path.parent)}}, default=str)
        table = table.replace_schema_metadata({b"huggingface": value.encode(errors="replace")})
        must = False
    else:
        table, must = table[: 0 if way == "no rows" else len(table) // 2], False
    pq.write_table(table, path)
    return said, must


def _with(table: pa.Table, column: str, array: pa.Array) -> pa.Table:
    """The table with another column, and the same metadata."""
    metadata = table.schema.metadata
    table = table.set_column(table.column_names.index(column), column, array)
    return table.replace_schema_metadata(metadata)
