"""The Trainer of every method that learns by gradient, on transformers' own."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import IntervalStrategy

from cmr_hub.evaluation import Protocol
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.utils.processes import this_process

from .datasets import Pairs, batch_as_is
from .distributed import JointSteps
from .resuming import ResumableTrainer
from .selection import MEAN, Selection

logger = logging.getLogger(__name__)

COLLAPSED = 0.99  # mean cosine between all items of one side


class CMRTrainer(ResumableTrainer):
    """`transformers.Trainer` for a [`CMRModel`] on [`Pairs`].

    It measures both directions on the evaluation pairs, logs the terms of the objective, and adds the callbacks that
    the method brings; it knows no method by name. Several processes take each step together ([`JointSteps`]), and the
    main one measures for all.

    A hyper-parameter search gives `model_init` (and None for `model`): each trial then trains a model of its own, with
    callbacks of its own.

    Args:
        model: the method.
        args: optimiser, schedule, logging and saving, as everywhere in transformers.
        train_dataset: pairs to learn from.
        eval_dataset: pairs to measure on, under `protocol`; None: nothing is measured.
        protocol: how the mAPs (or recalls) of the log are defined, as [`validation_protocol`] has it; of several, the
            log has the primary metric of each, and their mean.
        early_stopping_patience: evaluations without a better primary metric before training stops.

    Raises:
        InputError: the method or the protocol needs classes, and the pairs have none (or, for the method, one).
    """

    model: CMRModel
    train_dataset: Pairs
    eval_dataset: Pairs | None

    def __init__(
        self,
        model: CMRModel | None,
        args: TrainingArguments,
        train_dataset: Pairs,
        eval_dataset: Pairs | None,
        protocol: Protocol | Sequence[Protocol],
        early_stopping_patience: int | None = None,
        **kwargs: Any,
    ):
        self.selection = Selection.of(protocol)
        if eval_dataset is not None:
            self.selection = self.selection.fitted(eval_dataset)
            self.selection.check(eval_dataset)
        if isinstance(model, CMRModel):  # before the Trainer makes its folder
            model.check_labels(train_dataset.labels)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=batch_as_is,
            compute_metrics=self._retrieval_metrics,
            **kwargs,
        )
        self._terms: dict[str, list[torch.Tensor]] = defaultdict(list)
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self._patience = early_stopping_patience
        self._callbacks_of_model: list[TrainerCallback] = []
        self._adopt(self.model)

    def _adopt(self, model: CMRModel) -> None:
        """Train this model from now on, with the callbacks that it brings in place of an earlier one's."""
        model.check_labels(self.train_dataset.labels)
        self._terms.clear()
        self._joint = JointSteps(model, this_process())
        for callback in self._callbacks_of_model:
            self.remove_callback(callback)
        self._callbacks_of_model = [EpochLog(*self._shown), *model.training_callbacks()]
        if self._patience is not None and self.eval_dataset is not None:
            self._callbacks_of_model.append(EarlyStoppingCallback(self._patience))
        for callback in self._callbacks_of_model:
            self.add_callback(callback)

    @property
    def _shown(self) -> tuple[str, ...]:
        """What the names of the metrics of an epoch's line have in common; by default those of both directions."""
        return (MEAN,) if len(self.selection.protocols) > 1 else ()

    def call_model_init(self, trial=None):
        model = super().call_model_init(trial)
        if trial is not None:
            self._adopt(model)
        return model

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        with self._joint.embedding():
            used = self.model.select_inputs(inputs)
            loss, outputs = super().compute_loss(model, used, return_outputs=True, **kwargs)
        if model.training:
            for name, value in (outputs.loss_terms or {}).items():
                self._terms[name].append(value.detach())
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self._joint.average_gradients()
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= {name: torch.stack(values).mean().item() for name, values in self._terms.items()}
            self._terms.clear()
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        # What is left are the two embeddings, which is what the metrics are made of.
        ignored = ["loss_terms", "image_logits", "text_logits", *(ignore_keys or [])]
        return super().evaluate(eval_dataset, ignored, metric_key_prefix)

    def _retrieval_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        return this_process().run_on_main(lambda: self._measure(prediction))

    def _measure(self, prediction: EvalPrediction) -> dict[str, float]:
        image, text = (torch.from_numpy(values) for values in prediction.predictions)
        for modality, values in (("image", image), ("text", text)):
            likeness = mean_cosine(F.normalize(values, dim=1))
            if likeness > COLLAPSED:
                logger.warning(
                    "The %s embeddings have collapsed: the mean cosine between all of them is %.3f. A lower learning "
                    "rate, other loss weights or scaled features may help.",
                    modality,
                    likeness,
                )
        return self.selection.measure(self.model, image, text, cast(Pairs, self.eval_dataset))

    def _get_train_sampler(self, train_dataset=None):
        if self.model.groups_texts:
            return ItemSampler(self.train_dataset.caption_to_image)
        return super()._get_train_sampler(train_dataset)


class ItemSampler(torch.utils.data.Sampler):
    """Items in random order, the texts of each together, also in random order.

    Args:
        caption_to_image: `(m,)` the item of each text.
    """

    def __init__(self, caption_to_image: torch.Tensor):
        self.caption_to_image = caption_to_image

    def __len__(self) -> int:
        return len(self.caption_to_image)

    def __iter__(self) -> Iterator[int]:
        place = torch.randperm(int(self.caption_to_image.max()) + 1)
        texts = torch.randperm(len(self.caption_to_image))
        yield from texts[place[self.caption_to_image[texts]].argsort(stable=True)].tolist()


def mean_cosine(embeds: torch.Tensor) -> float:
    """Mean cosine between all pairs of different rows of `(n, d)` unit vectors."""
    n = len(embeds)
    return ((embeds.sum(dim=0).square().sum() - n) / max(1, n * (n - 1))).item()


class EpochLog(TrainerCallback):
    """One line an epoch: the loss, and what is measured on the evaluation pairs.

    Args:
        shown: what the names of the metrics have in common; by default those of both directions.
    """

    def __init__(self, shown: str = "_to_"):
        self.shown = shown

    def on_log(self, args, state, control, logs=None, **kwargs):
        if args.eval_strategy == IntervalStrategy.NO and "loss" in (logs or {}):
            logger.info("Epoch %d/%d  loss %.4f", round(state.epoch), args.num_train_epochs, logs["loss"])

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        losses = [f"loss {entry['loss']:.4f}  " for entry in state.log_history if "loss" in entry]
        shown = {name.removeprefix("eval_"): value for name, value in metrics.items() if self.shown in name}
        listed = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        loss = losses[-1] if losses else ""  # none where the start is measured
        logger.info("Epoch %d/%d  %s%s", round(state.epoch), args.num_train_epochs, loss, listed)
