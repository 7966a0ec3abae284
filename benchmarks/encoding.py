"""How fast images are encoded from files: `python benchmarks/encoding.py [--images FOLDER] [--json FILE]`.

In one run, by turns: `encode` of efficientnet-lite0 from files (read, decode, crop, network), and the bare network on
ready tensors of the same batch size and memory format, once as timm makes it (the measure of the target) and once with
its batch norms folded, as the encoder uses it. Without --images, 500 x 375 JPEGs are generated.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import best_time, report
from cmr_hub.encoders import create_encoder

TARGET = 0.9


def generated_photos(folder: Path, count: int) -> list[Path]:
    """JPEGs of a photo's size and about a photo's detail."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(0, 256, (75, 100, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def measure(paths: list[Path], rounds: int) -> dict[str, float]:
    """Images a second, the median of the rounds, of each contestant."""
    encoder = create_encoder("image", "efficientnet-lite0")
    plain = encoder.build_classifier().eval().requires_grad_(False)
    plain.reset_classifier(0)
    plain = plain.to(memory_format=torch.channels_last)
    batches = list(encoder.pixels(paths))

    @torch.inference_mode()
    def bare(network: nn.Module) -> None:
        for pixels in batches:
            network(pixels)

    contestants = {
        "bare network (timm)": lambda: bare(plain),
        "encode, from files": lambda: encoder.encode(paths),
        "bare network, batch norms folded": lambda: bare(encoder.network),
        "read, decode and crop alone": lambda: list(encoder.pixels(paths)),
    }
    encoder.encode(paths[:8])
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in tqdm(range(rounds), desc="rounds"):
        for name, run in contestants.items():
            times[name].append(best_time(run))
    return {name: len(paths) / statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of JPEGs, searched in depth")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.images:
            paths = sorted(options.images.rglob("*.jpg"))[: options.count]
        else:
            paths = generated_photos(Path(scratch), options.count)
        speeds = measure(paths, options.rounds)
    bare, ours = speeds["bare network (timm)"], speeds["encode, from files"]
    rows = [{"what": name, "images/s": speed, "of the bare network": speed / bare} for name, speed in speeds.items()]
    report(rows, options.json)
    print(f"target {TARGET}: {'met' if ours / bare >= TARGET else 'MISSED'} ({torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()
