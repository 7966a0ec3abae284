"""`cmr answer`."""

from __future__ import annotations

from pathlib import Path

import click

from cmr_hub.cli.command import recorded_command
from cmr_hub.cli.options import (
    DatasetChoice,
    TrainingSettings,
    dataset_options,
    method_option,
    option,
    output_dir_option,
    overwrite_option,
    resume_option,
    seed_option,
    training_options,
)
from cmr_hub.cli.training_arguments import TrainingCommand
from cmr_hub.cli.types import PATH


@click.command("answer", cls=TrainingCommand, shared=True, requires={"sklearn": "train"})
@method_option
@dataset_options
@output_dir_option("Receives the checkpoint.")
@option("--questions", type=PATH, metavar="FILE", help="YAML file, instead of the questions of the data set.")
@option(
    "--share",
    type=float,
    default=0.03,
    help="Share of a split's images that a question is asked of for each answer.",
)
@seed_option()
@training_options
@resume_option
@overwrite_option
def command(
    *,
    method: str,
    data: DatasetChoice,
    output_dir: Path,
    questions: Path | None,
    share: float,
    seed: int,
    settings: TrainingSettings,
    resume: bool,
    overwrite_output_dir: bool,
) -> None:
    """Train a method on questions made from captions and class labels."""
    training = settings.arguments()

    from cmr_hub.experiments.answer import answer
    from cmr_hub.experiments.questions import default_questions, read_questions
    from cmr_hub.training.recipe import load_recipe

    words = read_questions(questions) if questions else default_questions(data.dataset)
    recipe = load_recipe(method, data.dataset).for_answering()
    answer(
        recipe.changed(config=settings.config, training=training),
        data.load(),
        data.dataset,
        words,
        output_dir,
        share=share,
        seed=seed,
        resume=resume,
        overwrite=overwrite_output_dir,
        command=recorded_command(),
    )
