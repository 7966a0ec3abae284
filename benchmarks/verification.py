"""What comparing digests costs when things are opened: `python benchmarks/verification.py [--items N] [--json FILE]`.

By turns in one run: loading the largest bundled checkpoint, and opening a gallery of --items items, with its files
compared with `checksums.json` and without. "again" is of files that the process has compared before and that nobody
has touched, "first" of others; all are in memory, so that none waits for the disk. Seconds are those of the processor,
of the fastest turn, which other programs on the machine change least.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cmr_hub
from benchmarks.common import report
from cmr_hub.encoders import create_encoder
from cmr_hub.hub import bundled_folder
from cmr_hub.utils import checksums


def by_turns(load: Callable[..., Any], turns: int) -> dict[str, float]:
    """Milliseconds without verification, and the shares that it adds; of the fastest turn of each."""
    load(verify=True)  # the first warms up
    seconds: dict[str, list[float]] = {"without": [], "first": [], "again": []}
    for turn in range(turns):
        order = list(seconds) if turn % 2 else list(seconds)[::-1]
        for name in order:
            if name == "first":
                checksums._compared.clear()
            elif name == "again":
                load(verify=True)
            started = time.process_time()
            load(verify=name != "without")
            seconds[name].append(time.process_time() - started)
    fastest = {name: min(values) for name, values in seconds.items()}
    shares = {f"{name} adds": fastest[name] / fastest["without"] - 1 for name in ("first", "again")}
    return {"ms without": 1000 * fastest["without"], **shares}


def in_new_processes(checkpoint: Path, turns: int) -> dict[str, float]:
    """As [`by_turns`], for the first checkpoint that a process loads, from before torch is imported."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(turns):
        for verify in seconds:
            program = (
                "import time, cmr_hub; started = time.process_time(); "
                f"cmr_hub.from_pretrained({str(checkpoint)!r}, verify={verify}); print(time.process_time() - started)"
            )
            output = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parents[1]
            ).stdout
            seconds[verify].append(float(output))
    with_, without = min(seconds[True]), min(seconds[False])
    return {"ms without": 1000 * without, "first adds": with_ / without - 1, "again adds": float("nan")}


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def largest_checkpoint() -> Path:
    return max((path.parent for path in bundled_folder().glob("*/config.json")), key=megabytes)


def save_gallery(items: int, width: int, folder: Path) -> cmr_hub.Retriever:
    """Write a gallery of random embeddings, and return its retriever."""
    rng = np.random.default_rng(0)
    processor = cmr_hub.CMRProcessor(
        create_encoder("image", "precomputed", dim=8), create_encoder("text", "precomputed", dim=8)
    )
    config = cmr_hub.DSCMRConfig(image_dim=8, text_dim=8, hidden_dim=8, embed_dim=width, num_labels=3)
    retriever = cmr_hub.Retriever(cmr_hub.DSCMRModel(config), processor, name="random")
    embeds = [rng.normal(size=(items, width)).astype(np.float32) for _ in range(2)]
    for rows in embeds:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = [[f"the text of item {i}"] for i in range(items)]
    dataset = Dataset.from_dict({"id": [str(i) for i in range(items)], "texts": texts})
    cmr_hub.Gallery(dataset, retriever, *embeds, index="exact").save_pretrained(folder)
    return retriever


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000, help="items of the gallery")
    parser.add_argument("--width", type=int, default=256, help="width of its embeddings")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--processes", type=int, default=3, help="new processes with and without verification")
    parser.add_argument("--json", help="also write the figures here")
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    checkpoint = largest_checkpoint()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "gallery"
        retriever = save_gallery(arguments.items, arguments.width, folder)
        opened = {
            checkpoint.name: (checkpoint, lambda verify: cmr_hub.from_pretrained(checkpoint, verify=verify)),
            f"gallery of {arguments.items:,}": (
                folder,
                lambda verify: cmr_hub.Gallery.from_pretrained(folder, retriever=retriever, verify=verify),
            ),
        }
        rows = [
            {"opened": kind, "MB": megabytes(path), **by_turns(load, arguments.turns)}
            for kind, (path, load) in opened.items()
        ]
    alone = {"opened": f"{checkpoint.name}, new process", "MB": megabytes(checkpoint)}
    report([*rows, {**alone, **in_new_processes(checkpoint, arguments.processes)}], arguments.json)


if __name__ == "__main__":
    main()
