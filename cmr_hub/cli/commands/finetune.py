"""`cmr finetune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cmr_hub.cli.command import recorded_command
from cmr_hub.cli.options import (
    TRAINING,
    NamedDataset,
    TrainingSettings,
    backend_options,
    checkpoint_option,
    named_dataset_options,
    option,
    output_dir_option,
    overwrite_option,
    protocols_option,
    resume_option,
    seed_option,
)
from cmr_hub.cli.training_arguments import TrainingCommand


@click.command("finetune", cls=TrainingCommand, shared=True)
@checkpoint_option
@named_dataset_options
@output_dir_option("Receives the finetuned checkpoint.")
@option("--epochs", type=int, default=2, help="Epochs of training.")
@option(
    "--learning-rate",
    type=float,
    default=1e-5,
    help="Learning rate of the image encoder. 0 is a control: the rest is trained as long, the encoder is not.",
)
@option("--head-learning-rate", type=float, default=1e-4, help="Learning rate of the method's own model.")
@option("--batch-size", type=int, help="Training pairs per step. By default as the checkpoint was trained.")
@option(
    "--freeze",
    metavar="PART",
    help="Last part of the network that is not trained, such as blocks.4. By default all of it is trained.",
)
@option(
    "--group-texts",
    is_flag=True,
    renamed_from=["--together"],
    help="Put an image's texts into one batch, so that the image is encoded once for all of them.",
)
@seed_option()
@protocols_option(["instance"], "Protocols of the results; the first also chooses the epoch.")
@backend_options
@TRAINING
@resume_option
@overwrite_option
def command(
    *,
    checkpoint: str,
    data: NamedDataset,
    output_dir: Path,
    epochs: int,
    learning_rate: float,
    head_learning_rate: float,
    batch_size: int | None,
    freeze: str | None,
    group_texts: bool,
    seed: int,
    protocols: Sequence[str],
    training: Mapping[str, Any],
    resume: bool,
    overwrite_output_dir: bool,
) -> None:
    """Train a checkpoint and its image encoder together."""
    arguments = TrainingSettings(epochs, training=training).arguments(
        learning_rate=head_learning_rate, per_device_train_batch_size=batch_size
    )

    from cmr_hub.training.finetune import FinetuneSettings, finetune

    finetune(
        checkpoint,
        data.load(),
        data.dataset,
        output_dir,
        FinetuneSettings(learning_rate, freeze, group_texts),
        training=arguments,
        seed=seed,
        protocols=protocols,
        resume=resume,
        overwrite=overwrite_output_dir,
        command=recorded_command(),
        data_name=data.title,
        data_dir=data.folder,
    )
