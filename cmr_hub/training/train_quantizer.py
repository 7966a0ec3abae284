"""Training a catalyser for spreading vectors on the embeddings of a gallery, or on vectors from a file."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tqdm.auto import tqdm

from cmr_hub.data.columns import Modality
from cmr_hub.errors import InputError
from cmr_hub.indexes.quantizers.lattice import SphereLattice
from cmr_hub.indexes.quantizers.spreading_vectors import SpreadingVectorsConfig, SpreadingVectorsModel
from cmr_hub.modeling.checked_model import WEIGHT_FILES
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.utils.checksums import saved

logger = logging.getLogger(__name__)

RUN_NAME = "spread_run.json"
RECALL_AT = 10
QUERIES_AT_ONCE = 512


@dataclass(frozen=True)
class QuantizerSettings:
    """How a catalyser is trained. What the paper gives is the default; README.md beside the model says what it is.

    Attributes:
        output_dim, spheres, hidden_dim, koleo: as in `SpreadingVectorsConfig`.
        r2: of the lattice that the epoch is chosen with, in `output_dim / spheres` dimensions.
        positives: x+ is one of so many nearest in the input space.
        negative_rank: x- is the one of this rank in the output space, counted in all training vectors.
        mining_rows: a random part of the training vectors in which negatives are looked for, at a rank in proportion.
        epochs, batch_size, learning_rate, momentum: of stochastic gradient descent; the rate falls to 0 by a cosine.
        held_out: share of the vectors that the epoch is chosen with, at most `most_held_out`.
        seed: of the weights, the held-out vectors and every draw.

    Raises:
        InputError: a number out of its range, or a lattice or a network that cannot be.
    """

    output_dim: int = 24
    spheres: int = 1
    hidden_dim: int = 1024
    koleo: float = 0.02
    r2: int = 79
    positives: int = 10
    negative_rank: int = 50
    mining_rows: int = 20_000
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    held_out: float = 0.05
    most_held_out: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, kind = getattr(self, setting.name), type(setting.default)
            if not (type(value) is kind or (kind is float and type(value) is int)):
                wanted = "whole number" if kind is int else "number"
                raise InputError(f"{setting.name} is {value!r}, and takes a {wanted}.")
            object.__setattr__(self, setting.name, kind(value))  # 0, as YAML reads it, is a weight too
        for name, least in (
            ("positives", 1),
            ("negative_rank", 1),
            ("mining_rows", 2),
            ("epochs", 1),
            ("batch_size", 2),
        ):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, and is {getattr(self, name)}.")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is a share of the vectors, between 0 and 1, not {self.held_out}.")
        self.config(input_dim=1)
        self.lattice()

    def config(self, input_dim: int) -> SpreadingVectorsConfig:
        """The network's configuration for vectors of a width."""
        try:
            return SpreadingVectorsConfig(
                input_dim=input_dim,
                hidden_dim=self.hidden_dim,
                output_dim=self.output_dim,
                spheres=self.spheres,
                koleo=self.koleo,
            )
        except StrictDataclassError as error:
            raise InputError(str(error.__cause__)) from error

    def lattice(self) -> SphereLattice:
        """The lattice of one sphere."""
        return SphereLattice(self.output_dim // self.spheres, self.r2)


@dataclass
class QuantizerRun:
    """What is kept of a training, beside the weights.

    Attributes:
        settings: as given.
        vectors: how many it was trained on.
        history: an epoch's mean loss terms and its validation recall, epoch by epoch.
        best_epoch: the one that was kept, from 1.
        command: how it was called.
    """

    settings: QuantizerSettings
    vectors: int
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    command: str | None = None


def read_vectors(
    gallery: Path | None = None, modality: Literal["image", "text", "both"] = "image", path: Path | None = None
) -> np.ndarray:
    """What to train on, `(n, d)` float32: the embeddings in a gallery's folder, or a file of vectors.

    Args:
        gallery: a folder that `Gallery.save_pretrained` wrote.
        modality: whose embeddings of it; "both", one side's below the other's.
        path: `.npy`, or `.safetensors` with a single array.

    Raises:
        InputError: the gallery lacks the side or holds codes, or the file is no such file.
    """
    if gallery is not None:
        embeds = Gallery.from_pretrained(gallery, index="auto").embeds
        modalities: list[Modality] = ["image", "text"] if modality == "both" else [modality]
        missing = [name for name in modalities if name not in embeds]
        if missing:
            raise InputError(f"The gallery in {gallery} has no {missing[0]} embeddings, only {', '.join(embeds)}.")
        return _checked(np.concatenate([embeds[name] for name in modalities]), f"the gallery in {gallery}")
    if path is None:
        raise InputError("Name a gallery, or a file of vectors.")
    try:
        if path.suffix == ".safetensors":
            arrays = load_file(path)
            if len(arrays) != 1:
                raise InputError(f"{path} holds {len(arrays)} arrays, not one: {', '.join(arrays)}.")
            return _checked(next(iter(arrays.values())), str(path))
        return _checked(np.load(path, allow_pickle=False), str(path))
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as .npy or .safetensors: {error}.") from error


def _checked(vectors: np.ndarray, where: str) -> np.ndarray:
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise InputError(
            f"Spreading vectors are trained on real-valued rows, (n, d); {where} has {vectors.dtype} of the shape "
            f"{vectors.shape}."
        )
    if not np.isfinite(vectors).all():
        raise InputError(f"Row {np.argmin(np.isfinite(vectors).all(axis=1))} of {where} is not finite.")
    return vectors.astype(np.float32)


@dataclass(frozen=True)
class Neighbourhood:
    """What is known of the input space before anything is trained; several trainings can share it.

    Attributes:
        base: `(n, d)` float32 training vectors, of unit length.
        neighbours: `(n, positives)` int64, the nearest rows of each row.
        queries: `(q, d)` float32, held out.
        nearest: `(q,)` int64, the row of the base nearest to each query.
    """

    base: np.ndarray
    neighbours: np.ndarray
    queries: np.ndarray
    nearest: np.ndarray


def find_neighbours(vectors: np.ndarray, settings: QuantizerSettings) -> Neighbourhood:
    """Hold some vectors out, and find the neighbours of all: exact, of every training vector among all of them.

    Args:
        vectors: `(n, d)` float32. They are scaled to unit length, as a gallery's are.
        settings: how many to hold out, by which seed, and how many neighbours to find.

    Raises:
        InputError: too few vectors.
    """
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.random.default_rng(settings.seed).permutation(len(vectors))
    held_out = min(settings.most_held_out, round(settings.held_out * len(vectors)))
    queries, base = vectors[order[:held_out]], vectors[np.sort(order[held_out:])]
    least = 1 + max(settings.negative_rank, settings.positives)
    if not held_out or len(base) <= least:
        raise InputError(f"{len(vectors)} vectors are too few to spread: give more than {least}, some held out.")
    logger.info("Looking for the neighbours of %d vectors", len(base))
    neighbours = without_itself(nearest_rows(base, base, settings.positives + 1))
    return Neighbourhood(base, neighbours, queries, nearest_rows(queries, base, 1)[:, 0])


def spread(known: Neighbourhood, settings: QuantizerSettings) -> tuple[SpreadingVectorsModel, QuantizerRun]:
    """Train a catalyser, and choose its epoch on the vectors that are held out.

    Returns:
        The model of the best epoch, in evaluation mode, and what is to be kept of the training.

    """
    base, rng, lattice = known.base, np.random.default_rng(settings.seed), settings.lattice()
    torch.manual_seed(settings.seed)
    model = SpreadingVectorsModel(settings.config(base.shape[1]))
    steps = settings.epochs * (len(base) // min(settings.batch_size, len(base)))
    optimiser = torch.optim.SGD(model.parameters(), settings.learning_rate, settings.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    run, best = QuantizerRun(settings, len(base)), model.state_dict()
    with tqdm(total=steps, desc="Spreading", unit="step") as bar:
        for epoch in range(1, settings.epochs + 1):
            negatives = hard_negatives(model.catalyse(base), settings.negative_rank, settings.mining_rows, rng)
            terms = []
            for batch in _batches(base, known.neighbours, negatives, settings.batch_size, rng):
                output = model.train()(*batch)
                optimiser.zero_grad()
                output.loss.backward()
                optimiser.step()
                schedule.step()
                terms.append([output.loss_terms["rank"].item(), output.loss_terms["koleo"].item()])
                bar.update()
            recall = lattice_recall(model, lattice, base, known.queries, known.nearest, [RECALL_AT])[RECALL_AT]
            rank, koleo = np.mean(terms, axis=0).tolist()
            logger.info("Epoch %d: rank %.4f, koleo %.3f, recall@%d %.4f", epoch, rank, koleo, RECALL_AT, recall)
            if not run.history or recall > max(past["recall"] for past in run.history):
                run.best_epoch, best = epoch, copy.deepcopy(model.state_dict())
            run.history.append({"rank": rank, "koleo": koleo, "recall": recall})
    model.load_state_dict(best)
    return model.eval(), run


def nearest_rows(queries: np.ndarray, base: np.ndarray, k: int) -> np.ndarray:
    """Rows `(q, k)` int64 of the `k` largest inner products of each query, in order.

    An index is made for few queries and many rows; here every row is a query, and torch's selection is faster.
    """
    rows, k = torch.from_numpy(base).T, min(k, len(base))
    blocks = torch.from_numpy(queries).split(QUERIES_AT_ONCE)
    return torch.cat([(block @ rows).topk(k, dim=1).indices for block in blocks]).numpy()


def without_itself(found: np.ndarray) -> np.ndarray:
    """Finds `(n, k + 1)` of each row among all, less the row itself, `(n, k)`; where copies hid it, less the last."""
    drop = found == np.arange(len(found))[:, None]
    drop[~drop.any(axis=1), -1] = True
    return found[~drop].reshape(len(found), -1)


def hard_negatives(outputs: np.ndarray, rank: int, mining_rows: int, rng: np.random.Generator) -> np.ndarray:
    """For each row the one that is nearest but `rank - 1` in the output space, itself not counted.

    It is looked for in a random part of the rows, at the rank in proportion.

    Args:
        outputs: `(n, d)` float32, of unit length.
        rank: in all rows, from 1.
        mining_rows: how many rows to look among.
        rng: draws them.

    Returns:
        `(n,)` int64 rows.
    """
    n = len(outputs)
    some = np.sort(rng.choice(n, min(mining_rows, n), replace=False))
    rank = max(1, round(rank * len(some) / n))
    found = some[nearest_rows(outputs, outputs[some], rank + 1)]
    itself_before = (found[:, :rank] == np.arange(n)[:, None]).any(axis=1)
    return found[np.arange(n), rank - 1 + itself_before]


def lattice_recall(
    model: SpreadingVectorsModel,
    lattice: SphereLattice,
    base: np.ndarray,
    queries: np.ndarray,
    nearest: np.ndarray,
    ranks: list[int],
) -> dict[int, float]:
    """How often the true nearest neighbour is among the first r, when the base is quantised and the queries are not.

    Args:
        model: the catalyser.
        lattice: quantises its outputs.
        base: `(n, d)`.
        queries: `(q, d)`.
        nearest: `(q,)`, the row of the base that is nearest to each query in the input space.
        ranks: the numbers r.
    """
    outputs = model.catalyse(base)
    points = lattice.nearest(outputs.reshape(-1, lattice.dim)).reshape(outputs.shape)
    found = nearest_rows(model.catalyse(queries), points.astype(np.float32), max(ranks))
    hits = found == nearest[:, None]
    return {rank: float(hits[:, :rank].any(axis=1).mean()) for rank in ranks}


def save(model: SpreadingVectorsModel, run: QuantizerRun, output_dir: Path) -> None:
    """Write the weights, and beside them the record of the training."""
    with saved(output_dir, replaces=WEIGHT_FILES) as scratch:
        model.save_pretrained(scratch)
        record: dict[str, Any] = asdict(run)
        (scratch / RUN_NAME).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _batches(
    base: np.ndarray, neighbours: np.ndarray, negatives: np.ndarray, size: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Vectors, positives drawn from their neighbours, and negatives; in random order, without a shorter last batch."""
    size = min(size, len(base))
    drawn = neighbours[np.arange(len(base)), rng.integers(neighbours.shape[1], size=len(base))]
    order = rng.permutation(len(base))
    for start in range(0, len(base) - size + 1, size):
        rows = order[start : start + size]
        chosen, positive, negative = (torch.from_numpy(base[of]) for of in (rows, drawn[rows], negatives[rows]))
        yield chosen, positive, negative
