"""Change saved folders at random, and load them: with digests every change is refused, without them none does harm."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

import hostile
from attempts import ANSWERED, REFUSED, Attack, Attempt, Failure
from cmr_hub.errors import CMRError
from saved import SHARD_ROWS, VARIANTS, Saved, check_sane, everything, same

CHECKSUMS = "checksums.json"
IGNORED = ("README.md", "LICENSE")  # people edit them, and nothing is read from them


class Mutations(Attack):
    """Random changes of checkpoints, galleries, indexes, quantizers and their settings."""

    name = "mutations"
    tries = 3000
    seconds = 8.0

    def canary_files(self) -> Mapping[str, bytes]:
        file = io.BytesIO()
        Image.new("RGB", (8, 8), "purple").save(file, "PNG")
        return {
            "image.png": file.getvalue(),
            "image.pth": file.getvalue(),
            "weights.safetensors": file.getvalue(),
            "config.json": b'{"model_type": "vit"}',
            "vocabulary.json": b'["red", "green", "blue"]',
        }

    def prepare(self) -> None:
        self.resources.enter_context(patch("cmr_hub.retrieval.gallery_storage.SHARD_ROWS", SHARD_ROWS))
        self.made = self.folder / "made"
        self.kinds = everything(self.made)
        self.answers: dict[tuple[str, int], Any] = {}

    def expected(self, kind: Saved, variant: int) -> Any:
        """What an intact folder answers."""
        key = kind.name, variant
        if key not in self.answers:
            self.answers[key] = kind.ask(kind.make(self.made, variant))
        return self.answers[key]

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        kind, variant = random.choice(self.kinds), random.randrange(VARIANTS)
        expected = self.expected(kind, variant)
        folder = self.folder / "tried"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kind.make(self.made, variant), folder)
        has_digests = random.random() < 0.4
        if not has_digests:
            for path in folder.rglob(CHECKSUMS):
                path.unlink()
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in IGNORED)
        path = random.choice(files)
        before = path.read_bytes()
        listed = is_listed(path, folder)
        said, must = self._change(path, kind, variant, random, folder)
        is_json = path.suffix == ".json"
        group = f"{kind.group} {'settings' if is_json else 'data'}{' with digests' if listed else ''}"
        attempt.does(group, f"{kind.name}-{variant}, {path.relative_to(folder)}: {said}")
        changed = not path.is_file() or path.read_bytes() != before
        try:
            answer = kind.ask(folder)
        except CMRError as error:
            self._check_message(error)
            return REFUSED
        if changed and listed:
            raise Failure("loads, although its digest is another")
        if must and not same(answer, expected):
            raise Failure("loads, and answers otherwise than before")
        check_sane(answer)
        return ANSWERED

    def _change(self, path: Path, kind: Saved, variant: int, random: random.Random, folder: Path) -> tuple[str, bool]:
        """Change a file; what was done, and whether it has to be noticed without digests too."""
        outside = self.canary.paths
        generic = ["flip", "flip", "truncate", "garbage", "zeros", "swap", "remove", "folder", "pipe", "endless"]
        special = {".json": ["field"] * 14 + ["text"] * 3, ".safetensors": ["tensors"] * 8 + ["header"] * 3}
        special[".parquet"] = ["rows"] * 12
        way = random.choice(generic + special.get(path.suffix, []))
        # A text that is no longer the same may be as good as the one before, and so may a missing list of digests.
        is_data = path.suffix != ".json"
        if way == "field":
            return hostile.change_json(path, random, outside), False
        if way == "text":
            return hostile.replace_json(path, random), path.name != CHECKSUMS
        if way == "tensors":
            return hostile.change_tensors(path, random, kind.group in ("checkpoint", "quantizer"))
        if way == "header":
            return hostile.change_header(path, random), True
        if way == "rows":
            return hostile.change_rows(path, random, outside)
        if way == "swap":
            other = kind.make(self.made, 1 - variant) / path.relative_to(folder)
            if not other.exists():
                other = kind.make(self.made, variant) / path.relative_to(folder)
            shutil.copyfile(other, path)
            return "that of another one", False
        if way == "remove":
            path.unlink()
            return "missing", path.name != CHECKSUMS
        if way == "folder":
            path.unlink()
            path.mkdir()
            return "a folder", path.name != CHECKSUMS
        if way == "pipe":
            path.unlink()
            os.mkfifo(path)
            return "a pipe", path.name != CHECKSUMS
        if way == "endless":
            path.unlink()
            path.symlink_to("/dev/zero")
            return "without an end", path.name != CHECKSUMS
        return getattr(hostile, way)(path, random), way == "truncate" and is_data

    @staticmethod
    def _check_message(error: CMRError) -> None:
        if len(str(error)) < 20:
            raise Failure(f"refused without a reason: {error!r}")


def is_listed(path: Path, root: Path) -> bool:
    """Whether a digest of a file is in the list of its folder, or of one around it."""
    for folder in path.parents:
        listed = folder / CHECKSUMS
        if listed.is_file() and path.relative_to(folder).as_posix() in json.loads(listed.read_text())["files"]:
            return True
        if folder == root:
            return False
    return False
