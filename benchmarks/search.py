"""How long one query takes in process: `python benchmarks/search.py [--items 10000] [--json FILE]`.

The gallery is the test split of a data set, by default the embedded emoji, repeated with a little noise up to the
wanted size; the retriever is the bundled cmr/dscmr-emoji, or another by `--checkpoint`. Medians of single queries,
from the raw text or image file to the hits.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cmr_hub
from benchmarks.common import best_time, report
from cmr_hub.data import load_dataset

TARGETS_MS = {"text": 10.0, "image": 80.0, "item": 10.0}


def large_gallery(items: int, checkpoint: str, dataset: Dataset) -> cmr_hub.Gallery:
    """A gallery of `items` distinct items made from those of a data set."""
    retriever = cmr_hub.from_pretrained(checkpoint)
    small = cmr_hub.Gallery.from_dataset(dataset, retriever)
    rows = np.arange(items) % len(small)
    noise = np.random.default_rng(0)
    embeds = []
    for modality in ("image", "text"):
        noisy = small.embeds[modality][rows] + 0.01 * noise.normal(size=(items, small.embeds[modality].shape[1]))
        embeds.append((noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32))
    repeated = small.dataset.select(rows).remove_columns("id").add_column("id", [str(i) for i in range(items)])
    return cmr_hub.Gallery(repeated, retriever, *embeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--checkpoint", default="cmr/dscmr-emoji")
    parser.add_argument("--dataset", default="emoji", help="whose test split is repeated")
    parser.add_argument("--data-dir", type=Path, help="where its files are")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    dataset = load_dataset(options.dataset, options.data_dir)["test"]
    gallery = large_gallery(options.items, options.checkpoint, dataset)
    texts = [texts[0] for texts in gallery.dataset[: options.queries]["texts"]]
    with tempfile.TemporaryDirectory() as scratch:
        photo = Path(scratch) / "photo.jpg"
        pixels = np.random.default_rng(1).integers(0, 256, (75, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(photo, quality=90)
        queries = {
            "text": [lambda text=text: gallery.search(text=text, target="image") for text in texts],
            "image": [lambda: gallery.search(image=photo, target="text")] * options.queries,
            "item": [lambda item=item: gallery.search(item=item) for item in gallery.ids[: options.queries]],
        }
        rows = []
        for kind, calls in queries.items():
            calls[0]()  # the first query loads vectors or network
            milliseconds = [1000 * best_time(call) for call in calls]
            rows.append(
                {
                    "query": kind,
                    "items": len(gallery),
                    "median ms": statistics.median(milliseconds),
                    "slowest ms": max(milliseconds),
                    "target ms": TARGETS_MS[kind],
                }
            )
    report(rows, options.json)


if __name__ == "__main__":
    main()
