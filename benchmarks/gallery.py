"""Building a gallery from files of images: `python benchmarks/gallery.py [--data-dir DIR] [--json FILE]`.

In one run, by turns over the same images: the bare image network on ready tensors (as timm makes it, and as the
encoder uses it, with batch norms folded), and `Gallery.build` from files to shards on disk with the images in them,
half of them at first, interrupted, then resumed; what is embedded is counted. Whole passes over a data set take
minutes, so that turns are taken in blocks of --block images.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image, concatenate_datasets

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cmr_hub
from benchmarks.common import best_time, report
from cmr_hub.data import load_dataset

TARGET = 0.9


def block_speeds(blocks: list[Dataset], retriever: cmr_hub.Retriever, folder: Path) -> dict[str, float]:
    """Images a second of each contestant, the median over blocks; by turns."""
    encoder = retriever.processor.image_encoder
    plain = encoder.build_classifier().eval().requires_grad_(False)
    plain.reset_classifier(0)
    plain = plain.to(memory_format=torch.channels_last)
    speeds: dict[str, list[float]] = {"bare network (timm)": [], "bare network, folded": [], "Gallery.build": []}
    for number, block in enumerate(blocks):
        records = block.cast_column("image", Image(decode=False))["image"][:]
        batches = list(encoder.pixels(records))
        with torch.inference_mode():
            seconds = {
                "bare network (timm)": best_time(lambda: [plain(pixels) for pixels in batches]),  # noqa: B023
                "bare network, folded": best_time(lambda: [encoder.network(pixels) for pixels in batches]),  # noqa: B023
            }
        seconds["Gallery.build"] = best_time(lambda: build(block, retriever, folder / str(number)))  # noqa: B023
        for name, value in seconds.items():
            speeds[name].append(len(block) / value)
    return {name: statistics.median(values[1:] or values) for name, values in speeds.items()}  # the first warms up


def build(items: Dataset, retriever: cmr_hub.Retriever, folder: Path) -> cmr_hub.Gallery:
    return cmr_hub.Gallery.build(items, retriever, folder, show_progress=False)


def interrupted_and_resumed(items: Dataset, retriever: cmr_hub.Retriever, folder: Path) -> dict[str, Any]:
    """How often each image is embedded when the building is interrupted after half of them."""
    counts: Counter[str] = Counter()
    encode = retriever.encode_images

    def counting(records: list[dict], **options: Any):
        if interrupt and sum(counts.values()) >= len(items) // 2:
            raise KeyboardInterrupt
        counts.update(record["path"] for record in records)
        return encode(records, **options)

    retriever.encode_images, interrupt = counting, True
    try:
        build(items, retriever, folder)
    except KeyboardInterrupt:
        before = sum(counts.values())
    interrupt = False
    seconds = best_time(lambda: build(items, retriever, folder))
    retriever.encode_images = encode
    return {
        "images": len(items),
        "embedded before the interrupt": before,
        "embedded in all": sum(counts.values()),
        "most often": max(counts.values()),
        "resumed, images/s": (len(items) - before) / seconds,
    }


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="cmr/dscmr-emoji", help="with the encoder efficientnet-lite0")
    parser.add_argument("--dataset", default="rsicd")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--block", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=5, help="for the speeds")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    items = concatenate_datasets(list(load_dataset(options.dataset, options.data_dir).values()))
    retriever = cmr_hub.from_pretrained(options.checkpoint)
    folder = Path(tempfile.mkdtemp())
    try:
        blocks = [items.select(range(n * options.block, (n + 1) * options.block)) for n in range(options.blocks)]
        speeds = block_speeds(blocks, retriever, folder)
        bare = speeds["bare network (timm)"]
        report(
            [{"what": name, "images/s": speed, "of bare": speed / bare} for name, speed in speeds.items()],
            options.json,
        )
        print(f"asked {TARGET}: {'met' if speeds['Gallery.build'] / bare >= TARGET else 'MISSED'}")
        resumed = options.json and options.json.with_stem(f"{options.json.stem}-resumed")
        report([interrupted_and_resumed(items, retriever, folder / "whole")], resumed)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
