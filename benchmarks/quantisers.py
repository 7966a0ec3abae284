"""What short codes find of half a million real vectors: `python benchmarks/quantisers.py --cache FOLDER`.

Spreading vectors with a lattice, beside product quantisation (PQ, OPQ), sign codes of random hyperplanes (LSH) and of
a learned rotation (ITQ), at 64 and 128 bits, and as a control the same lattice behind principal components instead of
a catalyser. R@r is how often the true nearest neighbour of a query is among the first r. Real-valued quantisers
compare codes with the query as it is, sign codes with the query's code. All that learns, learns from the same sample
of the base.

The weight of KoLeo is chosen on the validation queries, for each code length, with a smaller network that is trained
for a shorter time (`--figure` draws the curves); the table is of the test queries. The cache keeps what was made:
vectors, catalysers. 128 bits are two lattices of 64: an output of 48 dimensions, cut into two spheres. Needs
`faiss-cpu`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import faiss
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from benchmarks.regions import Regions, load_regions
from cmr_hub.indexes.lattice import LatticeIndex
from cmr_hub.training.train_quantizer import Neighbourhood, QuantizerSettings, find_neighbours, save, spread
from cmr_hub.utils import plots

logger = logging.getLogger(__name__)

RANKS = (1, 10, 100)
BITS = (64, 128)
SPHERE_BITS = 64  # of a lattice in 24 dimensions with r2 = 79
KOLEO = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
# What some minutes of one core allow. The rest is as the paper has it; only the weight of KoLeo is chosen.
TRAINING = QuantizerSettings(hidden_dim=1024, epochs=12)
FOR_THE_CURVE = replace(TRAINING, hidden_dim=512, epochs=3)
FAISS = {
    "PQ": {64: "PQ8", 128: "PQ16"},
    "OPQ": {64: "OPQ8_96,PQ8", 128: "OPQ16_96,PQ16"},
    "LSH": {64: "LSH64r", 128: "LSH128r"},
    "ITQ": {64: "ITQ64,LSH"},  # it gives no more bits than there are dimensions
}
Search = Callable[[np.ndarray, int], np.ndarray]


@dataclass
class Quantiser:
    """One row of the table, made.

    Attributes:
        search: queries and k to rows, `(q, k)`.
        bytes: of an item's code.
        seconds: of learning, and of coding the base.
    """

    search: Search
    bytes: int
    seconds: tuple[float, float]


def recalls(search: Search, queries: np.ndarray, nearest: np.ndarray) -> dict[str, float]:
    """R@1, R@10 and R@100."""
    hits = search(queries, max(RANKS)) == nearest[:, None]
    return {f"R@{rank}": float(hits[:, :rank].any(axis=1).mean()) for rank in RANKS}


class Catalysers:
    """Catalysers trained on one sample, each once: the cache keeps them."""

    def __init__(self, sample: np.ndarray, cache: Path):
        self.sample, self.cache = sample, cache

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return find_neighbours(self.sample, TRAINING)

    def trained(self, settings: QuantizerSettings) -> tuple[Path, float]:
        """The folder of the catalyser of these settings, and the seconds that its training took."""
        name = hashlib.sha256(json.dumps([len(self.sample), asdict(settings)]).encode()).hexdigest()[:12]
        folder = self.cache / f"catalyser-{name}"
        record = folder / "seconds.json"
        if not record.exists():
            known = self._neighbourhood
            logger.info("Training %s: %s", folder.name, settings)
            start = time.perf_counter()
            save(*spread(known, settings), folder)
            record.write_text(json.dumps(time.perf_counter() - start))
        return folder, json.loads(record.read_text())


def lattice_quantiser(base: np.ndarray, catalyser: Path, seconds: float) -> Quantiser:
    """Spreading vectors, by the gallery's own index."""
    start = time.perf_counter()
    index = LatticeIndex(base, catalyser=catalyser)
    coding = time.perf_counter() - start
    return Quantiser(lambda queries, k: index.search(queries, k)[1], index.vectors.shape[1], (seconds, coding))


def control_quantiser(base: np.ndarray, spheres: int) -> Quantiser:
    """The lattice behind principal components: of 24 for each sphere, every `spheres`-th goes to the same one."""
    parts = [slice(part, 24 * spheres, spheres) for part in range(spheres)]

    def cut(vectors: np.ndarray) -> np.ndarray:
        pieces = [vectors[:, part] / np.linalg.norm(vectors[:, part], axis=1, keepdims=True) for part in parts]
        return np.concatenate(pieces, axis=1)

    start = time.perf_counter()
    points = [LatticeIndex(np.ascontiguousarray(base[:, part])) for part in parts]
    coding = time.perf_counter() - start
    decoded = faiss.IndexFlatIP(24 * spheres)
    decoded.add(np.concatenate([index.lattice.decode(index.vectors) for index in points], axis=1).astype(np.float32))
    return Quantiser(lambda queries, k: decoded.search(cut(queries), k)[1], 8 * spheres, (0.0, coding))


def faiss_quantiser(base: np.ndarray, sample: np.ndarray, factory: str) -> Quantiser:
    """One of faiss' own."""
    index = faiss.index_factory(base.shape[1], factory)
    start = time.perf_counter()
    index.train(sample)
    learned = time.perf_counter()
    index.add(base)
    seconds = (learned - start, time.perf_counter() - learned)
    return Quantiser(lambda queries, k: index.search(queries, k)[1], index.sa_code_size(), seconds)


def with_spheres(settings: QuantizerSettings, bits: int) -> QuantizerSettings:
    """The settings for codes of a length."""
    spheres = bits // SPHERE_BITS
    return replace(settings, spheres=spheres, output_dim=24 * spheres)


def koleo_curve(regions: Regions, catalysers: Catalysers, bits: int) -> list[dict[str, float]]:
    """Recall of the validation queries for each weight of KoLeo."""
    rows = []
    for koleo in KOLEO:
        made = catalysers.trained(with_spheres(replace(FOR_THE_CURVE, koleo=koleo), bits))
        search = lattice_quantiser(regions.base, *made).search
        found = recalls(search, regions.queries["validation"], regions.nearest["validation"])
        rows.append({"bits": bits, "koleo": koleo, **found})
        logger.info("%s", rows[-1])
    return rows


def quantisers(
    base: np.ndarray, catalysers: Catalysers, koleo: Mapping[int, float]
) -> Iterator[tuple[str, int, Callable[[], Quantiser]]]:
    """Name, bits, and a function that makes the quantiser."""
    for bits in BITS:
        settings = with_spheres(replace(TRAINING, koleo=koleo[bits]), bits)
        yield "spreading vectors + lattice", bits, partial(_spreading, base, catalysers, settings)
        for name, factories in FAISS.items():
            if bits in factories:
                yield name, bits, partial(faiss_quantiser, base, catalysers.sample, factories[bits])
        yield "PCA + lattice", bits, partial(control_quantiser, base, settings.spheres)


def _spreading(base: np.ndarray, catalysers: Catalysers, settings: QuantizerSettings) -> Quantiser:
    return lattice_quantiser(base, *catalysers.trained(settings))


def measure(regions: Regions, catalysers: Catalysers, koleo: Mapping[int, float]) -> list[dict[str, Any]]:
    """The table's rows."""
    rows = []
    for name, bits, make in quantisers(regions.base, catalysers, koleo):
        quantiser = make()
        start = time.perf_counter()
        found = recalls(quantiser.search, regions.queries["test"], regions.nearest["test"])
        searching = 1e3 * (time.perf_counter() - start) / len(regions.queries["test"])
        learning, coding = quantiser.seconds
        row = {"quantiser": name, "bits": bits, **found, "bytes": quantiser.bytes}
        rows.append({**row, "learning, s": learning, "coding, s": coding, "a query, ms": searching})
        logger.info("%s", rows[-1])
    return rows


def draw(curves: Mapping[int, Sequence[dict[str, float]]], chosen: Mapping[int, float], path: Path) -> None:
    """Recall against the weight of KoLeo, a panel for each code length, with the chosen weight marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4), dpi=80, layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (bits, curve) in zip(panels, curves.items(), strict=True):
        for rank in RANKS:
            axes.plot(KOLEO, [row[f"R@{rank}"] for row in curve], marker=".", label=f"R@{rank}")
        axes.axvline(chosen[bits], color="grey", linestyle=":", label="chosen")
        axes.set_xscale("symlog", linthresh=KOLEO[1])
        axes.set_xticks(KOLEO, [f"{weight:g}" for weight in KOLEO])
        axes.set_xticks([], minor=True)
        axes.set(xlim=(0, 1.1 * max(KOLEO)), ylim=(0, 1), xlabel="weight of KoLeo", title=f"{bits} bits")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("recall of the validation queries")
    panels[0].legend(frameon=False)
    plots.save(figure, path)


def main() -> None:
    """Parse arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="receives the vectors and the catalysers")
    parser.add_argument("--data-dir", type=Path, help="where the files of rsicd are; downloaded otherwise")
    parser.add_argument("--items", type=int, default=500_000)
    parser.add_argument("--queries", type=int, default=5_000, help="for validation, and as many for the test")
    parser.add_argument("--sample", type=int, default=100_000, help="of the base, that quantisers learn from")
    parser.add_argument("--figure", type=Path, help="also draw recall against the weight of KoLeo: .png, .pdf or .svg")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    regions = load_regions(options.cache, options.data_dir, options.items, options.queries)
    sample = regions.base[np.sort(np.random.default_rng(1).permutation(len(regions.base))[: options.sample])]
    catalysers = Catalysers(sample, options.cache)
    curves = {bits: koleo_curve(regions, catalysers, bits) for bits in BITS}
    chosen = {bits: max(curve, key=lambda row: row["R@10"])["koleo"] for bits, curve in curves.items()}
    if options.figure:
        draw(curves, chosen, options.figure)
    report(list(chain.from_iterable(curves.values())))
    print(f"Weights chosen for R@10: {chosen}\n")
    report(measure(regions, catalysers, chosen), options.json)


if __name__ == "__main__":
    main()
