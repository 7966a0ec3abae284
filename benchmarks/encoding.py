"""How fast frozen encoders are, by backend: `python benchmarks/encoding.py [--data-dir DIR] [--texts FILE]`.

In one run and by turns, each figure the median of the rounds, from files or strings to vectors, with the largest
difference from torch's vectors:

- images: `encode` of efficientnet-lite0 (read, decode, crop, network); for comparison the same with the network as
  timm makes it, its batch norms not folded into convolutions, and decoding alone;
- texts: `encode` of minilm;
- galleries: `Gallery.build` over blocks of a data set, of a fresh block in each round;
- what converting each network and loading its conversion takes once;
- mAP of a checkpoint with features of either precision (--figures).

Backends that are not installed are left out. Without --images, 500 x 375 JPEGs are generated; without --texts,
sentences; without --data-dir no gallery is built.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cmr_hub
from benchmarks.common import best_time, report
from cmr_hub.data import load_dataset
from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.backends import CONVERTERS, chosen_backend
from cmr_hub.errors import MissingExtraError
from cmr_hub.evaluation import evaluate

# How many times faster than torch the best backend with torch's numbers is to be.
TARGETS = {"images": 2.3, "texts": 1.5, "galleries": 2.0}
CHECKPOINT = "cmr/dscmr-emoji"  # with efficientnet-lite0
TIMES, TIMES_CPU = "times torch", "times torch by CPU"
TIMM = "(torch, network of timm)"
Contestants = Mapping[str, Callable[[], Any]]


def generated_photos(folder: Path, count: int) -> list[Path]:
    """JPEGs of a photo's size and about a photo's detail."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(0, 256, (75, 100, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def captions(file: Path | None, count: int) -> list[str]:
    """Lines of a file, of which the last column counts, or made-up sentences of 5 to 20 words; all different."""
    generator = np.random.default_rng(0)
    if file is not None:
        lines = sorted({line.split("\t")[-1] for line in file.read_text(encoding="utf-8").splitlines()})
        return [str(line) for line in generator.permutation(lines)[:count]]
    words = ["a", "the", "red", "small", "two", "dog", "child", "bird", "car", "tree", "runs", "sits", "on", "under"]
    return [" ".join(generator.choice(words, generator.integers(5, 21))) for _ in range(count)]


def contenders() -> list[tuple[str, str]]:
    """Backend and precision of each contestant that can run here, torch first."""
    found = []
    for backend, precision in [("torch", "f32"), *((name, "f32") for name in CONVERTERS), ("openvino", "bf16")]:
        try:
            create_encoder("text", "minilm", backend=backend, precision=precision)
        except MissingExtraError as error:
            print(error)
        else:
            found.append((backend, precision))
    return found


@dataclass
class Clock:
    """Seconds of runs of one contestant: as they passed, and of computing by all threads of this process.

    Where other programs compute too, the latter tell more.
    """

    passed: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)

    def time(self, run: Callable[[], Any]) -> None:
        """Run once."""
        passed, computed = time.perf_counter(), time.process_time()
        run()
        self.passed.append(time.perf_counter() - passed)
        self.computed.append(time.process_time() - computed)

    def row(self, count: int, unit: str, reference: Clock) -> dict[str, float]:
        """What a table says of `count` inputs, medians of the runs, next to another contestant."""
        passed, computed = statistics.median(self.passed), statistics.median(self.computed)
        return {
            f"{unit}/s": count / passed,
            TIMES: statistics.median(reference.passed) / passed,
            f"CPU ms/{unit}": 1000 * computed / count,
            TIMES_CPU: statistics.median(reference.computed) / computed,
        }


@contextmanager
def fresh_cache() -> Iterator[None]:
    """A block that finds nothing in the cache."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CMR_HUB_CACHE"] = cache
        yield
    os.environ.pop("CMR_HUB_CACHE")
    os.environ.update(before)


def start_up(modality: str, name: str, inputs: Sequence[Any]) -> list[dict[str, Any]]:
    """Seconds of the first input: without a conversion, and with one, by encoders in a fresh cache."""
    rows = []
    with fresh_cache():
        for backend, precision in contenders():
            if precision != "f32":
                continue
            for what in ("first input, nothing stored", "first input, conversion stored"):
                encoder = create_encoder(modality, name, backend=backend)
                seconds = best_time(lambda: encoder.encode(inputs[:1]))  # noqa: B023
                rows.append({"encoder": name, "backend": backend, "what": what, "seconds": seconds})
    return rows


def encoder_speeds(modality: str, name: str, inputs: Sequence[Any], rounds: int) -> list[dict[str, Any]]:
    """Speed of each backend from inputs to vectors, and how far its vectors are from torch's."""
    encoders = {
        f"{backend} {precision}": create_encoder(modality, name, backend=backend, precision=precision)
        for backend, precision in contenders()
    }
    vectors = {label: encoder.encode(inputs) for label, encoder in encoders.items()}
    contestants: dict[str, Callable[[], Any]] = {
        label: lambda encoder=encoder: encoder.encode(inputs) for label, encoder in encoders.items()
    }
    if modality == "image":
        contestants |= references(encoders["torch f32"], inputs)
    clocks = {label: Clock() for label in contestants}
    for _ in tqdm(range(rounds), desc=name):
        for label, run in contestants.items():
            clocks[label].time(run)
    expected = vectors["torch f32"]
    return [
        {
            "encoder": name,
            "backend": label,
            **clock.row(len(inputs), modality, clocks["torch f32"]),
            "largest difference": (vectors[label] - expected).abs().max().item() if label in vectors else "",
        }
        for label, clock in clocks.items()
    ]


def references(encoder: Any, paths: Sequence[Any]) -> Contestants:
    """Encoding with the network as timm makes it, and decoding without any network."""
    plain = encoder.build_classifier().eval().requires_grad_(False)
    plain.reset_classifier(0)
    eager = create_encoder("image", encoder.name, backend="torch")
    eager.network = plain.to(memory_format=torch.channels_last)
    return {
        TIMM: lambda: eager.encode(paths),
        "(read, decode and crop)": lambda: list(encoder.pixels(paths)),
    }


def gallery_speeds(items: Dataset, block: int, rounds: int) -> list[dict[str, Any]]:
    """Items a second of `Gallery.build` by each backend of torch's numbers; a block of items for each round."""
    retrievers = {
        backend: cmr_hub.from_pretrained(CHECKPOINT, backend=backend, precision=precision)
        for backend, precision in contenders()
        if precision == "f32"
    }
    for retriever in retrievers.values():  # networks and word vectors are there when the time starts
        retriever.encode_images(items[:1]["image"])
        retriever.encode_texts(["a"])
    clocks = {backend: Clock() for backend in retrievers}
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(rounds), desc="galleries"):
            some = items.select(range(number * block, (number + 1) * block))
            for backend, retriever in retrievers.items():
                target = Path(folder) / f"{backend}-{number}"
                clocks[backend].time(
                    lambda: cmr_hub.Gallery.build(some, retriever, target, show_progress=False)  # noqa: B023
                )
    return [{"backend": backend, **clock.row(block, "item", clocks["torch"])} for backend, clock in clocks.items()]


def figures(dataset: Mapping[str, Dataset], checkpoint: str, protocol: str) -> list[dict[str, Any]]:
    """A checkpoint's figures on the test split with image features of each backend and precision."""
    rows = []
    for backend, precision in contenders():
        retriever = cmr_hub.from_pretrained(checkpoint, backend=backend, precision=precision)
        with fresh_cache():  # nothing that another backend computed
            result = evaluate(retriever, dataset["test"], protocol, dataset["train"])
        directions = {
            key: value for key, value in result.metrics.items() if key.rpartition("/")[2] == result.primary_metric
        }
        rows.append({"checkpoint": checkpoint, "backend": f"{backend} {precision}", **directions})
    return rows


def verdict(what: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Say whether the best backend of torch's numbers is as much faster as it is to be."""
    by_label = {row["backend"]: row for row in rows}
    exact = [label for label in by_label if not label.startswith("(") and "bf16" not in label]
    for measure in (TIMES, TIMES_CPU):
        best = max(by_label[label][measure] for label in exact)
        met = "met" if best >= TARGETS[what] else "MISSED"
        than = f", {best / by_label[TIMM][measure]:.2f} times {TIMM}" if TIMM in by_label else ""
        print(f"{what}, {measure}: {best:.2f}{than}; target {TARGETS[what]}: {met}")
    print()


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEGs, searched in depth")
    parser.add_argument("--texts", type=Path, help="file of one text per line")
    parser.add_argument("--dataset", default="rsicd", help="for galleries")
    parser.add_argument("--data-dir", type=Path, help="of the data set")
    parser.add_argument("--count", type=int, default=128, help="images; four times as many texts")
    parser.add_argument("--block", type=int, default=512, help="items of a gallery")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--figures", metavar="DATASET", help="also measure the effect on a checkpoint's figures")
    parser.add_argument("--checkpoint", default=CHECKPOINT, help="for --figures")
    parser.add_argument("--json", type=Path, help="also write the figures here, one file for each table")
    options = parser.parse_args()

    def write(name: str, rows: Sequence[dict[str, Any]]) -> None:
        report(rows, options.json and options.json.with_stem(f"{options.json.stem}-{name}"))

    threads, chosen = torch.get_num_threads(), chosen_backend("auto", "f32", "cpu")
    print(f"{threads} threads of {os.cpu_count()} CPUs; auto is {chosen}\n")
    with tempfile.TemporaryDirectory() as scratch:
        if options.images:
            paths = sorted(options.images.rglob("*.jpg"))[: options.count]
        else:
            paths = generated_photos(Path(scratch), options.count)
        texts = captions(options.texts, 4 * options.count)
        write("start-up", [*start_up("image", "efficientnet-lite0", paths), *start_up("text", "minilm", texts)])
        for what, modality, name, inputs in (
            ("images", "image", "efficientnet-lite0", paths),
            ("texts", "text", "minilm", texts),
        ):
            rows = encoder_speeds(modality, name, inputs, options.rounds)
            write(what, rows)
            verdict(what, rows)
    if options.data_dir:
        items = concatenate_datasets(list(load_dataset(options.dataset, options.data_dir).values()))
        rows = gallery_speeds(items, options.block, options.rounds)
        write("galleries", rows)
        verdict("galleries", rows)
    if options.figures:
        dataset = load_dataset(options.figures, options.data_dir if options.figures == options.dataset else None)
        write("figures", figures(dataset, options.checkpoint, "dscmr"))


if __name__ == "__main__":
    main()
