"""The command line: `python -m training train | ablate | evaluate | publish | prepare`."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cmr_hub.errors import CMRError, InputError


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="train a method on a data set by its recipe")
    train.add_argument("--method", required=True)
    _add_dataset(train)
    train.add_argument("--output-dir", type=Path, required=True, help="receives the checkpoint")
    train.add_argument("--seed", type=int, nargs="+", default=[0], help="several train one checkpoint each")
    train.add_argument(
        "--protocol", nargs="+", default=["dscmr"], help="of the results; the first also defines the epoch's choice"
    )
    train.add_argument("--image-encoder", help="instead of the recipe's")
    train.add_argument("--text-encoder", help="instead of the recipe's")
    train.add_argument("--epochs", type=int, dest="num_train_epochs")
    train.add_argument("--batch-size", type=int, dest="per_device_train_batch_size")
    train.add_argument("--learning-rate", type=float, dest="learning_rate")
    train.add_argument("--patience", type=int, help="epochs without a better validation metric before stopping")
    train.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="fields of the method's config")
    train.add_argument("--training", nargs="*", default=[], metavar="NAME=VALUE", help="other TrainingArguments")
    train.add_argument("--half", action="store_true", help="store the weights in half precision")
    train.add_argument("--resume", action="store_true", help="go on with an interrupted run in the output folder")
    train.set_defaults(run=run_train)

    ablate = commands.add_parser("ablate", help="train and tabulate the variants that a recipe compares")
    ablate.add_argument("--method", required=True)
    _add_dataset(ablate)
    ablate.add_argument("--output-dir", type=Path, required=True, help="receives <table>/<row>/seed-<n>")
    ablate.add_argument("--seed", type=int, nargs="+", default=[0])
    ablate.add_argument("--protocol", default="dscmr", help="of the results, and of the epoch's choice")
    ablate.add_argument("--json", type=Path, help="also write the results here")
    ablate.set_defaults(run=run_ablate)

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint")
    evaluate.add_argument("--checkpoint", required=True, help="folder or repo id")
    _add_dataset(evaluate)
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--protocol", nargs="+", default=["dscmr"])
    evaluate.add_argument("--json", type=Path, help="also write the results here")
    evaluate.add_argument("--record", action="store_true", help="keep the results for the card, in the checkpoint")
    evaluate.set_defaults(run=run_evaluate)

    publish = commands.add_parser("publish", help="write a checkpoint's card and put it on the Hub")
    publish.add_argument("--checkpoint", type=Path, required=True, help="a folder that `train` made")
    publish.add_argument("--repo-id", required=True)
    publish.add_argument("--output-dir", type=Path, help="write the finished repo here, and leave the Hub alone")
    publish.add_argument("--private", action="store_true")
    publish.set_defaults(run=run_publish)

    prepare = commands.add_parser("prepare", help="download a data set, train on it and build its galleries")
    prepare.add_argument("dataset")
    prepare.add_argument("--data-dir", type=Path, help="where its files are; downloaded otherwise")
    prepare.add_argument("--progress", choices=("log", "json"), default="log")
    prepare.set_defaults(run=run_prepare)

    ship = commands.add_parser("ship", help="make the features that come with the package (maintainers)")
    ship.add_argument("--dataset", default="emoji")
    ship.add_argument("--image-encoder", default="efficientnet-lite0")
    ship.set_defaults(run=run_ship)
    return parser


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir", type=Path, help="where its files are; downloaded otherwise")


def run_train(options: argparse.Namespace) -> None:
    """`train`: one checkpoint a seed; with several, each in its own folder, and mean and deviation at the end."""
    from cmr_hub.data import load_dataset

    from .recipe import load_recipe
    from .seeds import summarise
    from .train import train

    shortcuts = ("num_train_epochs", "per_device_train_batch_size", "learning_rate")
    given = {name: getattr(options, name) for name in shortcuts if getattr(options, name) is not None}
    encoders = {"image": options.image_encoder, "text": options.text_encoder}
    recipe = load_recipe(options.method, options.dataset).changed(
        encoders={side: name for side, name in encoders.items() if name},
        config=parse_settings(options.config),
        training={**given, **parse_settings(options.training)},
    )
    if options.patience is not None:
        recipe = recipe.changed(early_stopping_patience=options.patience)
    dataset = load_dataset(options.dataset, options.data_dir)
    several = len(options.seed) > 1
    runs = [
        train(
            recipe,
            dataset,
            options.dataset,
            options.output_dir / f"seed-{seed}" if several else options.output_dir,
            seed=seed,
            protocols=options.protocol,
            half=options.half,
            resume=options.resume,
            command=recorded_command(),
        )
        for seed in options.seed
    ]
    if several:
        logging.info("%s", summarise(runs))


def run_ablate(options: argparse.Namespace) -> None:
    """`ablate`: one table for each that the recipe lists."""
    from cmr_hub.data import load_dataset
    from cmr_hub.files import atomic_file

    from .ablate import ablate
    from .recipe import load_recipe

    tables = ablate(
        load_recipe(options.method, options.dataset),
        load_dataset(options.dataset, options.data_dir),
        options.dataset,
        options.output_dir,
        seeds=options.seed,
        protocol=options.protocol,
        command=recorded_command(),
    )
    logging.info("%s", "\n\n".join(table.markdown() for table in tables))
    if options.json:
        with atomic_file(options.json) as scratch:
            entries = [table.to_dict() for table in tables]
            scratch.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def run_evaluate(options: argparse.Namespace) -> None:
    """`evaluate`: one table a protocol."""
    from cmr_hub import Retriever
    from cmr_hub.data import load_dataset
    from cmr_hub.files import atomic_file

    from .evaluate import evaluate
    from .train import TrainingRun, result_entry

    retriever = Retriever.from_pretrained(options.checkpoint)
    dataset = load_dataset(options.dataset, options.data_dir)
    if options.split not in dataset:
        raise InputError(f"{options.dataset!r} has no split {options.split!r}, only {', '.join(dataset)}.")
    run = TrainingRun.load(Path(options.checkpoint)) if options.record else None
    entries = []
    for protocol in options.protocol:
        result = evaluate(retriever, dataset[options.split], protocol, dataset["train"])
        logging.info("%s", result.table())
        entries.append(result_entry(result, options.split, run.seed if run and run.epochs else None))
    if options.json:
        with atomic_file(options.json) as scratch:
            scratch.write_text(json.dumps(entries, indent=2) + "\n")
    if run:
        run.with_results(entries).save(Path(options.checkpoint))


def run_publish(options: argparse.Namespace) -> None:
    """`publish`: the card, then the Hub or a folder."""
    from .publish import publish

    where = publish(options.checkpoint, options.repo_id, output_dir=options.output_dir, private=options.private)
    logging.info("%s", where)


def run_prepare(options: argparse.Namespace) -> None:
    """`prepare`: everything that a gallery in the Space needs."""
    from .prepare import prepare

    prepare(options.dataset, options.data_dir, report=print_json if options.progress == "json" else log_progress)


def run_ship(options: argparse.Namespace) -> None:
    """`ship`: features of an embedded data set, into the package."""
    from .ship import ship_features

    logging.info("%s", ship_features(options.dataset, options.image_encoder))


def print_json(stage: str, fraction: float, message: str) -> None:
    """One line of progress for a program; see `cmr_hub.space.preparation`."""
    print(json.dumps({"stage": stage, "fraction": round(fraction, 4), "message": message}), flush=True)


def log_progress(stage: str, fraction: float, message: str) -> None:
    """One line of progress for a person."""
    logging.info("%3.0f %%  %s: %s", 100 * fraction, stage, message)


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """`["loss_eta=0.2", "optim=sgd"]` to `{"loss_eta": 0.2, "optim": "sgd"}`; values are YAML."""
    pairs = [setting.partition("=") for setting in given]
    for name, equals, _ in pairs:
        if not equals:
            raise InputError(f"Write settings as NAME=VALUE, not {name!r}.")
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def recorded_command() -> str:
    """The command line as anyone would type it: without `--data-dir`, which only this machine has."""
    words = sys.argv[1:]
    if "--data-dir" in words:
        at = words.index("--data-dir")
        del words[at : at + 2]
    return "python -m training " + shlex.join(words)


def main() -> int:
    """Run one command; errors that a user can mend are one line on stderr and exit code 1."""
    options = build_parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("httpx", "httpx2", "datasets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        options.run(options)
    except CMRError as error:
        if getattr(options, "progress", None) == "json":
            print_json("error", 0.0, str(error))
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. What is complete is saved; the same command with --resume goes on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
