"""Training steps that several processes take together, to the weights that one process would have come to.

The objectives here couple all items of a batch (pairwise likelihoods, InfoNCE, triplets), so that the mean of the
losses of half batches is another objective. Every process therefore sees the whole batch, draws the same random
numbers and computes the whole loss. What can be shared is the embedding of the batch's rows, where each row is
embedded by itself: each process embeds its rows, and all get all of them. Batch normalisation and whatever draws
random numbers (dropout) do not go row by row, and are computed whole in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm as BATCH_NORM  # what all kinds of it are
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers import TrainingArguments
from transformers.trainer_utils import SaveStrategy

from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.utils.processes import Process, this_process

EMBEDDING = ("get_image_features", "get_text_features")


def as_if_alone(arguments: TrainingArguments) -> TrainingArguments:
    """Let a Trainer with these arguments work as in a single process: on whole batches, the model as it is.

    The arguments keep the device that they found for this process, but look no further than it. The main process alone
    saves states, takes the best of them in the end, and warns.
    """
    process = this_process()
    if not process.is_alone:
        state = arguments.distributed_state
        state.distributed_type, state.num_processes, state.process_index = DistributedType.NO, 1, 0
    if not process.is_main:
        arguments.save_strategy, arguments.load_best_model_at_end = SaveStrategy.NO, False
        # Where the Trainer tidies up states, and would find the main process's.
        arguments.output_dir = str(Path(arguments.output_dir or ".") / f"process-{process.rank}")
        arguments.log_level = arguments.log_level_replica = "error"
    return arguments


class GatherRows(torch.autograd.Function):
    """All rows of a batch, from the share of them that each process has.

    Each process computes the whole loss from all rows, and so has the whole gradient of its own rows without asking.
    It comes back multiplied by the number of processes: the mean over the processes ([`JointSteps.average_gradients`])
    then is the sum of what the shares give a weight, and for a weight that every process uses on the whole batch just
    what each has.
    """

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, lengths: list[int], process: Process) -> torch.Tensor:
        ctx.lengths, ctx.process = lengths, process
        padded = own.new_zeros(max(lengths), *own.shape[1:])
        padded[: len(own)] = own
        shares = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(shares, padded)
        return torch.cat([share[:length] for share, length in zip(shares, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient.split(ctx.lengths)[ctx.process.rank] * ctx.process.count, None, None


class JointSteps:
    """Steps of one model by the processes together; alone, they are the Trainer's own.

    Args:
        model: the method, in the same state in every process.
        process: which of them this is.
    """

    def __init__(self, model: CMRModel, process: Process):
        self.model, self.process = model, process
        self._row_by_row = not process.is_alone
        self._shared = False

    @contextmanager
    def embedding(self) -> Iterator[None]:
        """Within it, what embeds a modality of a batch computes this process's share of the rows and gets all."""
        if not self._row_by_row or any(
            isinstance(part, BATCH_NORM) and part.training for part in self.model.modules()
        ):
            yield
            return
        for name in EMBEDDING:
            setattr(self.model, name, partial(self._embed, getattr(self.model, name)))
        try:
            yield
        finally:
            for name in EMBEDDING:
                delattr(self.model, name)

    def average_gradients(self) -> None:
        """After a backward pass: make them those of the whole batch in every process, the same to the last bit."""
        if self._shared:
            gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
            together = parameters_to_vector(gradients)
            distributed.all_reduce(together)
            vector_to_parameters(together / self.process.count, gradients)
            self._shared = False

    def _embed(self, embed: Callable[..., torch.Tensor], *inputs: Any, **named: Any) -> torch.Tensor:
        length = next(len(rows) for rows in (*inputs, *named.values()) if rows is not None)
        if length < self.process.count or not self._row_by_row:
            return embed(*inputs, **named)
        before = _random_states()
        own = embed(*map(self._own, inputs), **{name: self._own(rows) for name, rows in named.items()})
        if any(not torch.equal(*states) for states in zip(before, _random_states(), strict=True)):
            # Another share would have drawn other numbers than one process does for the whole batch.
            self._row_by_row = False
            _set_random_states(before)
            return embed(*inputs, **named)
        self._shared |= self.model.training
        lengths = [len(share) for share in torch.arange(length).tensor_split(self.process.count)]
        return GatherRows.apply(own, lengths, self.process)

    def _own(self, rows: torch.Tensor | None) -> torch.Tensor | None:
        return None if rows is None else rows.tensor_split(self.process.count)[self.process.rank]


def _random_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])
