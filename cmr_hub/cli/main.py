"""What `python -m training` does, command by command; each says more with `--help`."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cmr_hub.errors import CMRError, InputError, OtherProcessError
from cmr_hub.utils.processes import this_process

if TYPE_CHECKING:
    from datasets import DatasetDict

    from cmr_hub.training.train import TrainingRun

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = ("train", "answer", "tune", "ablate", "gallery")  # what several processes do together


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
        "--bits", type=int, nargs="+", default=[], help="code lengths of a hashing method; several train one each"
    )
    train.add_argument(
        "--protocol", nargs="+", default=["dscmr"], help="of the results; the first also defines the epoch's choice"
    )
    _add_encoders(train)
    train.add_argument("--captions", choices=("set", "each"), help="an item's captions as one text, or each by itself")
    train.add_argument("--epochs", type=int, dest="num_train_epochs")
    train.add_argument("--batch-size", type=int, dest="per_device_train_batch_size")
    train.add_argument("--learning-rate", type=float, dest="learning_rate")
    train.add_argument("--patience", type=int, help="epochs without a better validation metric before stopping")
    train.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="fields of the method's config")
    train.add_argument("--training", nargs="*", default=[], metavar="NAME=VALUE", help="other TrainingArguments")
    train.add_argument("--half", action="store_true", help="store the weights in half precision")
    train.add_argument("--resume", action="store_true", help="go on with an interrupted run in the output folder")
    train.set_defaults(run=run_train)

    answer = commands.add_parser("answer", help="train a method on questions made from captions and classes")
    answer.add_argument("--method", required=True)
    _add_dataset(answer)
    answer.add_argument("--output-dir", type=Path, required=True, help="receives the checkpoint")
    answer.add_argument("--questions", type=Path, help="YAML file, instead of the questions kept for the data set")
    answer.add_argument(
        "--share", type=float, default=0.03, help="of a split's images, that a question is asked of for each answer"
    )
    answer.add_argument("--seed", type=int, default=0)
    answer.add_argument("--epochs", type=int, dest="num_train_epochs")
    answer.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="fields of the method's config")
    answer.add_argument("--training", nargs="*", default=[], metavar="NAME=VALUE", help="other TrainingArguments")
    answer.add_argument("--resume", action="store_true", help="go on with an interrupted run in the output folder")
    answer.set_defaults(run=run_answer)

    reproduce = commands.add_parser(
        "reproduce", help="train all methods on a data set, and tabulate them beside the published figures"
    )
    _add_dataset(reproduce)
    reproduce.add_argument("--methods", nargs="+", default=["all"], help="by default all")
    reproduce.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    reproduce.add_argument("--bits", type=int, nargs="+", default=[16, 32, 64, 128], help="of hashing methods")
    _add_encoders(reproduce)
    reproduce.add_argument("--output-dir", type=Path, help="receives checkpoints; outputs/reproduce/<dataset>")
    reproduce.add_argument("--jobs", type=int, help="trainings at a time, a thread each; by default one a core")
    reproduce.add_argument(
        "--check", action="store_true", help="compare with the results in the repository instead of writing them"
    )
    reproduce.set_defaults(run=run_reproduce)

    ablate = commands.add_parser("ablate", help="train and tabulate the variants that a recipe compares")
    ablate.add_argument("--method", required=True)
    _add_dataset(ablate)
    ablate.add_argument("--output-dir", type=Path, required=True, help="receives <table>/<row>/seed-<n>")
    ablate.add_argument("--seed", type=int, nargs="+", default=[0])
    ablate.add_argument("--protocol", default="dscmr", help="of the results, and of the epoch's choice")
    ablate.add_argument("--json", type=Path, help="also write the results here")
    ablate.set_defaults(run=run_ablate)

    sweep = commands.add_parser(
        "sweep", help="search a recipe's settings on the validation split; goes on if interrupted"
    )
    sweep.add_argument("--method", required=True)
    _add_dataset(sweep)
    sweep.add_argument("--output-dir", type=Path, required=True, help="receives sweep.db and sweep.json")
    sweep.add_argument(
        "--search",
        nargs="+",
        required=True,
        metavar="NAME=KIND:VALUES",
        help="training arguments, or config.FIELD: =log:1e-5:1e-2, =float:0:1, =int:2:8 or =choice:256,512",
    )
    sweep.add_argument("--trials", type=int, default=20, help="in the end, earlier ones of the folder included")
    sweep.add_argument("--seed", type=int, default=0)
    sweep.add_argument("--protocol", default="dscmr")
    sweep.add_argument("--prune-after", type=int, metavar="EPOCHS", help="then give up trials below the median")
    sweep.add_argument("--epochs", type=int, dest="num_train_epochs")
    sweep.add_argument("--patience", type=int, help="epochs without a better validation metric before stopping")
    sweep.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="fields of the method's config")
    sweep.add_argument("--training", nargs="*", default=[], metavar="NAME=VALUE", help="other TrainingArguments")
    sweep.set_defaults(run=run_sweep)

    finetune = commands.add_parser("tune", help="train a checkpoint on, its image encoder along with it")
    finetune.add_argument("--checkpoint", required=True, help="folder or repo id of what `train` made")
    _add_dataset(finetune)
    finetune.add_argument("--output-dir", type=Path, required=True, help="receives the tuned checkpoint")
    finetune.add_argument("--epochs", type=int, default=2)
    finetune.add_argument(
        "--learning-rate",
        type=float,
        default=1e-5,
        help="of the image encoder's network; 0 for a control that trains the rest as long and nothing of it",
    )
    finetune.add_argument("--head-learning-rate", type=float, default=1e-4, help="of the method's own model")
    finetune.add_argument("--batch-size", type=int, help="instead of the checkpoint's training's")
    finetune.add_argument(
        "--freeze",
        metavar="PART",
        help="the network up to this part stays as it is ('blocks.4'); by default none does",
    )
    finetune.add_argument(
        "--together",
        action="store_true",
        help="keep an image's texts together in a batch: it goes through the network once for all of them",
    )
    finetune.add_argument("--seed", type=int, default=0)
    finetune.add_argument(
        "--protocol", nargs="+", default=["instance"], help="of the results; the first also chooses the epoch"
    )
    finetune.add_argument("--training", nargs="*", default=[], metavar="NAME=VALUE", help="other TrainingArguments")
    finetune.add_argument("--resume", action="store_true", help="go on with an interrupted run in the output folder")
    finetune.set_defaults(run=run_tune)

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint")
    evaluate.add_argument("--checkpoint", required=True, help="folder or repo id")
    _add_dataset(evaluate)
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--protocol", nargs="+", default=["dscmr"])
    evaluate.add_argument("--json", type=Path, help="also write the results here")
    evaluate.add_argument("--record", action="store_true", help="keep the results for the card, in the checkpoint")
    evaluate.set_defaults(run=run_evaluate)

    table = commands.add_parser("table", help="put finished runs side by side: mean and deviation over seeds")
    table.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="checkpoint, or folder that holds some")
    table.add_argument("--protocol", nargs="+", help="columns, and by the first the order; default: all measured")
    table.add_argument("--split", default="test")
    table.add_argument("--output", type=Path, help="also write the Markdown here")
    table.add_argument("--json", type=Path, help="also write the figures here")
    table.set_defaults(run=run_table)

    results = commands.add_parser("results", help="write the page of results and its plots from the JSON")
    results.add_argument("--folder", type=Path, default=Path(), help="receives RESULTS.md and docs/results/; here")
    results.set_defaults(run=run_results)

    figure = commands.add_parser("figure", help="draw a checkpoint's common space (t-SNE)")
    figure.add_argument("--checkpoint", required=True, help="folder or repo id")
    _add_dataset(figure)
    figure.add_argument("--split", default="test")
    figure.add_argument("--output", type=Path, required=True, help=".png, .pdf or .svg")
    figure.add_argument("--most", type=int, default=1000, help="pairs to draw, of more those chosen by their ids")
    figure.add_argument("--seed", type=int, default=0, help="of the layout")
    figure.add_argument("--perplexity", type=float, default=30.0, help="about how many neighbours a point keeps")
    figure.add_argument("--json", type=Path, help="also write the coordinates here")
    figure.set_defaults(run=run_figure)

    curves = commands.add_parser(
        "curves", help="draw precision-recall curves of checkpoints, for codes also by radius"
    )
    curves.add_argument("--checkpoint", nargs="+", required=True, help="folders or repo ids")
    _add_dataset(curves)
    curves.add_argument("--split", default="test")
    curves.add_argument("--protocol", default="dcmh", help="one with classes")
    curves.add_argument("--output", type=Path, required=True, help=".png, .pdf or .svg")
    curves.add_argument("--json", type=Path, help="also write the points here")
    curves.set_defaults(run=run_curves)

    faithfulness = commands.add_parser(
        "faithfulness", help="delete the regions that a checkpoint attends to, and see whether its scores fall"
    )
    faithfulness.add_argument("--checkpoint", required=True, help="folder or repo id, of a method that attends")
    _add_dataset(faithfulness)
    faithfulness.add_argument("--split", default="test")
    faithfulness.add_argument(
        "--by",
        choices=("pixels", "features"),
        default="pixels",
        help="what the mean replaces: a region's cell of the image, which is encoded anew, or the region's features",
    )
    faithfulness.add_argument("--seed", type=int, default=0, help="of the random regions and the bootstrap")
    faithfulness.add_argument("--json", type=Path, help="also write the figures here")
    faithfulness.set_defaults(run=run_faithfulness)

    word_pairs = commands.add_parser("word-pairs", help="compare vectorisers by the cosine of related words")
    _add_dataset(word_pairs)
    word_pairs.add_argument("--pairs", nargs="+", metavar="WORD:WORD", help="instead of those kept for the data set")
    word_pairs.add_argument("--output", type=Path, help="also draw a bar plot here (.png, .pdf or .svg)")
    word_pairs.set_defaults(run=run_word_pairs)

    publish = commands.add_parser("publish", help="write a checkpoint's card and put it on the Hub")
    publish.add_argument("--checkpoint", type=Path, required=True, help="a folder that `train` made")
    publish.add_argument("--repo-id", required=True)
    publish.add_argument("--output-dir", type=Path, help="write the finished repo here, and leave the Hub alone")
    publish.add_argument("--private", action="store_true")
    publish.set_defaults(run=run_publish)

    gallery = commands.add_parser("gallery", help="embed items of any number into a gallery; goes on if interrupted")
    gallery.add_argument("--checkpoint", required=True, help="folder or repo id")
    gallery.add_argument(
        "--source",
        type=Path,
        nargs="+",
        required=True,
        help="Parquet files, or one folder: of Parquet files, of images with a metadata.csv, or of images alone",
    )
    gallery.add_argument("--output-dir", type=Path, required=True, help="receives the gallery")
    gallery.add_argument("--index", default="auto")
    gallery.add_argument(
        "--index-option", nargs="*", default=[], metavar="NAME=VALUE", help="what the index is made with"
    )
    gallery.add_argument("--name", default="gallery", help="what people call it")
    gallery.add_argument("--shard-rows", type=int, help="items a file")
    gallery.add_argument("--refer", action="store_true", help="keep paths of image files instead of copies")
    gallery.add_argument("--keep-real-valued", action="store_true", help="of codes keep the values too, to re-rank by")
    gallery.add_argument("--skip-unusable", action="store_true", help="leave out what cannot be used, and say what")
    gallery.set_defaults(run=run_gallery)

    spread = commands.add_parser("spread", help="train a catalyser (spreading vectors) for the index 'lattice'")
    vectors = spread.add_mutually_exclusive_group(required=True)
    vectors.add_argument("--gallery", type=Path, help="folder of a gallery, whose embeddings it learns from")
    vectors.add_argument("--vectors", type=Path, help="or a .npy or .safetensors file of (n, d) vectors")
    spread.add_argument("--side", choices=("image", "text", "both"), default="image", help="of the gallery")
    spread.add_argument("--output-dir", type=Path, required=True, help="receives the catalyser")
    for name, kind in (("output_dim", int), ("koleo", float), ("epochs", int), ("seed", int)):
        spread.add_argument(f"--{name.replace('_', '-')}", type=kind, help="instead of the paper's")
    spread.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="other fields of SpreadSettings")
    spread.set_defaults(run=run_spread)

    prepare = commands.add_parser("prepare", help="download a data set, train on it and build its galleries")
    prepare.add_argument("dataset")
    prepare.add_argument("--data-dir", type=Path, help="where its files are; downloaded otherwise")
    prepare.add_argument("--progress", choices=("log", "json"), default="log")
    prepare.set_defaults(run=run_prepare)

    mapping = commands.add_parser("map", help="lay a gallery out in the plane (t-SNE), for the Space's map")
    what = mapping.add_mutually_exclusive_group(required=True)
    what.add_argument("--gallery", type=Path, help="folder of a gallery, which receives the map")
    what.add_argument("--dataset", help="or a data set, as --checkpoint embeds it")
    mapping.add_argument("--checkpoint", help="folder or repo id, with --dataset")
    mapping.add_argument("--data-dir", type=Path, help="where the data set's files are; downloaded otherwise")
    mapping.add_argument("--progress", choices=("log", "json"), default="log")
    mapping.set_defaults(run=run_map)

    ship = commands.add_parser("ship", help="make the features that come with the package (maintainers)")
    ship.add_argument("--dataset", default="emoji")
    ship.add_argument("--image-encoder", default="efficientnet-lite0")
    ship.set_defaults(run=run_ship)
    return parser


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir", type=Path, help="where its files are; downloaded otherwise")
    parser.add_argument(
        "--dataset-option",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="what its loader takes beyond this, such as complete_classes=true of pascal",
    )


def _load_dataset(options: argparse.Namespace) -> DatasetDict:
    from cmr_hub.data import load_dataset

    return load_dataset(options.dataset, options.data_dir, **parse_settings(options.dataset_option))


def _add_encoders(parser: argparse.ArgumentParser) -> None:
    for modality in ("image", "text"):
        parser.add_argument(
            f"--{modality}-encoder",
            type=parse_encoder,
            metavar="ENCODER",
            help="instead of the recipe's: a name, or YAML with options such as '{name: word2vec, window: 3}'",
        )


def _encoders(options: argparse.Namespace) -> dict[str, Any]:
    given = {"image": options.image_encoder, "text": options.text_encoder}
    return {modality: encoder for modality, encoder in given.items() if encoder}


def _check_split(options: argparse.Namespace, dataset: Mapping[str, Any]) -> None:
    if options.split not in dataset:
        raise InputError(f"{options.dataset!r} has no split {options.split!r}, only {', '.join(dataset)}.")


def _write_json(path: Path, content: Any) -> None:
    from cmr_hub.utils.files import atomic_file

    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def run_train(options: argparse.Namespace) -> None:
    """`train`: a checkpoint for each code length and seed, in folders of their own where there are several."""
    from cmr_hub.experiments.seeds import summarise
    from cmr_hub.experiments.table import find_checkpoints, make_tables
    from cmr_hub.results.markdown import table_markdown
    from cmr_hub.training.recipe import load_recipe
    from cmr_hub.training.train import make_features, train

    shortcuts = ("num_train_epochs", "per_device_train_batch_size", "learning_rate")
    given = {name: getattr(options, name) for name in shortcuts if getattr(options, name) is not None}
    dataset = _load_dataset(options)
    recipe = load_recipe(options.method, options.dataset).for_columns(dataset["train"].column_names)
    recipe = recipe.changed(
        encoders=_encoders(options),
        config=parse_settings(options.config),
        training={**given, **parse_settings(options.training)},
    )
    others = {"early_stopping_patience": options.patience, "captions": options.captions}
    recipe = recipe.changed(**{name: value for name, value in others.items() if value is not None})
    recipes = {f"{bits}-bits": recipe.with_bits(bits) for bits in options.bits} or {"": recipe}
    features = make_features(recipe, dataset, options.dataset)
    runs: dict[Path, TrainingRun] = {}
    for (length, of_length), seed in product(recipes.items(), options.seed):
        folder = options.output_dir / (length if len(recipes) > 1 else "")
        folder = folder / (f"seed-{seed}" if len(options.seed) > 1 else "")
        runs[folder] = train(
            of_length,
            dataset,
            options.dataset,
            folder,
            seed=seed,
            protocols=options.protocol,
            half=options.half,
            resume=options.resume,
            command=recorded_command(),
            features=features,
        )
    if len(recipes) > 1:
        logging.info("%s", "\n".join(map(table_markdown, make_tables(find_checkpoints(list(runs))))))
    elif len(runs) > 1:
        logging.info("%s", summarise(list(runs.values())))


def run_answer(options: argparse.Namespace) -> None:
    """`answer`: one checkpoint, and a table of its accuracy."""
    from cmr_hub.experiments.answer import answer
    from cmr_hub.experiments.questions import default_questions, read_questions
    from cmr_hub.training.recipe import load_recipe

    words = read_questions(options.questions) if options.questions else default_questions(options.dataset)
    epochs = {} if options.num_train_epochs is None else {"num_train_epochs": options.num_train_epochs}
    recipe = load_recipe(options.method, options.dataset).for_answering()
    answer(
        recipe.changed(config=parse_settings(options.config), training={**epochs, **parse_settings(options.training)}),
        _load_dataset(options),
        options.dataset,
        words,
        options.output_dir,
        share=options.share,
        seed=options.seed,
        resume=options.resume,
        command=recorded_command(),
    )


def run_tune(options: argparse.Namespace) -> None:
    """`finetune`: one checkpoint from another."""
    from cmr_hub.training.finetune import FinetuneSettings, finetune

    training = {"num_train_epochs": options.epochs, "learning_rate": options.head_learning_rate}
    if options.batch_size is not None:
        training["per_device_train_batch_size"] = options.batch_size
    finetune(
        options.checkpoint,
        _load_dataset(options),
        options.dataset,
        options.output_dir,
        FinetuneSettings(options.learning_rate, options.freeze, options.together),
        training=training | parse_settings(options.training),
        seed=options.seed,
        protocols=options.protocol,
        resume=options.resume,
        command=recorded_command(),
    )


def run_reproduce(options: argparse.Namespace) -> None:
    """`reproduce`: checkpoints, and the results of all data sets anew."""
    from cmr_hub.errors import TrainingError
    from cmr_hub.experiments.publish import refresh_cards
    from cmr_hub.experiments.reproduce import Plan, reproduce
    from cmr_hub.experiments.workers import usable_cores
    from cmr_hub.methods import METHODS
    from cmr_hub.results.check import compare
    from cmr_hub.results.markdown import results_markdown
    from cmr_hub.results.page import write_results_page
    from cmr_hub.results.store import record, stored_results, write_results

    plan = Plan(
        dataset=options.dataset,
        data_dir=options.data_dir,
        output_dir=options.output_dir or Path("outputs", "reproduce", options.dataset),
        methods=list(METHODS) if options.methods == ["all"] else options.methods,
        seeds=range(options.seeds),
        bits=options.bits,
        encoders=_encoders(options),
        options=parse_settings(options.dataset_option),
    )
    stored = stored_results(options.dataset)
    results, outcomes = reproduce(plan, jobs=options.jobs or usable_cores(), earlier=stored)
    write_results(results, plan.output_dir / "results.json")
    logging.info("%s", results_markdown(results))
    if options.check:
        logging.info("%s", compare(results, stored))
    elif plan.encoders or not (REPOSITORY / "pyproject.toml").is_file():
        logging.info("These are not the recipes' encoders, or this is no checkout: the results stay in the folder.")
    else:
        record(results)
        refresh_cards(options.dataset)
        write_results_page(REPOSITORY)
    if failed := [outcome for outcome in outcomes if outcome.failed]:
        listed = "\n".join(f"- {outcome.task.title}: {outcome.reason}" for outcome in failed)
        raise TrainingError(
            f"{len(failed)} of {len(outcomes)} trainings failed; the same command tries them again:\n{listed}"
        )


def run_ablate(options: argparse.Namespace) -> None:
    """`ablate`: one table for each that the recipe lists."""
    from cmr_hub.experiments.ablate import ablate
    from cmr_hub.results.markdown import ablation_markdown
    from cmr_hub.training.recipe import load_recipe

    tables = ablate(
        load_recipe(options.method, options.dataset),
        _load_dataset(options),
        options.dataset,
        options.output_dir,
        seeds=options.seed,
        protocol=options.protocol,
        command=recorded_command(),
    )
    logging.info("%s", "\n\n".join(map(ablation_markdown, tables)))
    if options.json and this_process().is_main:
        _write_json(options.json, [table.to_dict() for table in tables])


def run_sweep(options: argparse.Namespace) -> None:
    """`sweep`: a table of trials, and the lines of a recipe that the best one stands for."""
    from cmr_hub.experiments.sweep import Dimension, sweep
    from cmr_hub.training.recipe import load_recipe

    space = [Dimension.parse(text) for text in options.search]
    epochs = {} if options.num_train_epochs is None else {"num_train_epochs": options.num_train_epochs}
    dataset = _load_dataset(options)
    recipe = load_recipe(options.method, options.dataset).for_columns(dataset["train"].column_names)
    recipe = recipe.changed(
        config=parse_settings(options.config), training={**epochs, **parse_settings(options.training)}
    )
    if options.patience is not None:
        recipe = recipe.changed(early_stopping_patience=options.patience)
    found = sweep(
        recipe,
        dataset,
        options.dataset,
        options.output_dir,
        space,
        trials=options.trials,
        seed=options.seed,
        protocol=options.protocol,
        prune_after=options.prune_after,
        command=recorded_command(),
    )
    logging.info("%s\n\n%s", found.table(), found.recipe_section())


def run_evaluate(options: argparse.Namespace) -> None:
    """`evaluate`: one table a protocol."""
    from cmr_hub.evaluation import evaluate
    from cmr_hub.retrieval.retriever import Retriever
    from cmr_hub.training.train import TrainingRun, result_entry

    retriever = Retriever.from_pretrained(options.checkpoint)
    dataset = _load_dataset(options)
    _check_split(options, dataset)
    run = TrainingRun.load(Path(options.checkpoint)) if options.record else None
    entries = []
    for protocol in options.protocol:
        result = evaluate(retriever, dataset[options.split], protocol, dataset["train"])
        logging.info("%s", result.table())
        entries.append(
            result_entry(result, options.split, run.seed if run and retriever.model.is_stochastic else None)
        )
    if options.json:
        _write_json(options.json, entries)
    if run:
        run.with_results(entries).save(Path(options.checkpoint))


def run_table(options: argparse.Namespace) -> None:
    """`table`: one a data set."""
    from cmr_hub.experiments.table import find_checkpoints, make_tables
    from cmr_hub.results.markdown import table_markdown
    from cmr_hub.utils.files import atomic_file

    tables = make_tables(find_checkpoints(options.runs), options.protocol, options.split)
    markdown = "\n".join(map(table_markdown, tables))
    logging.info("%s", markdown)
    if options.output:
        with atomic_file(options.output) as scratch:
            scratch.write_text(f"# Results\n\nMade by `python -m training table`.\n\n{markdown}", encoding="utf-8")
    if options.json:
        _write_json(options.json, [table.to_dict() for table in tables])


def run_results(options: argparse.Namespace) -> None:
    """`results`: the page and its plots, of all that `reproduce` and `ablate` measured."""
    from cmr_hub.results.page import write_results_page

    logging.info("%s", write_results_page(options.folder))


def run_figure(options: argparse.Namespace) -> None:
    """`figure`: t-SNE of one split."""
    from cmr_hub.experiments.figure import draw, project
    from cmr_hub.retrieval.retriever import Retriever
    from cmr_hub.utils.plots import check_suffix, save

    check_suffix(options.output)
    retriever = Retriever.from_pretrained(options.checkpoint)
    dataset = _load_dataset(options)
    _check_split(options, dataset)
    layout = {"seed": options.seed, "perplexity": options.perplexity}
    projection = project(retriever, dataset[options.split], most=options.most, **layout)
    shown = f"{len(projection.ids):,} of {len(dataset[options.split]):,} pairs"
    save(draw(projection, f"{retriever.name} · {options.dataset}, {options.split} split · {shown}"), options.output)
    logging.info("%s", options.output)
    if options.json:
        what = {"checkpoint": retriever.name, "dataset": options.dataset, "split": options.split}
        _write_json(options.json, {**what, **layout, **projection.to_dict()})


def run_curves(options: argparse.Namespace) -> None:
    """`curves`: precision and recall of the ranking, and of hash lookup."""
    from cmr_hub.evaluation import evaluate
    from cmr_hub.experiments.curves import draw, points
    from cmr_hub.retrieval.retriever import Retriever
    from cmr_hub.utils.plots import check_suffix, save

    check_suffix(options.output)
    dataset = _load_dataset(options)
    _check_split(options, dataset)
    results = {}
    for checkpoint in options.checkpoint:
        retriever = Retriever.from_pretrained(checkpoint)
        results[checkpoint] = evaluate(
            retriever, dataset[options.split], options.protocol, dataset["train"], curves=True
        )
    figure = draw(results)
    figure.suptitle(next(iter(results.values())).protocol.describe(), fontsize=7, wrap=True)
    save(figure, options.output)
    logging.info("%s", options.output)
    if options.json:
        _write_json(options.json, points(results))


def run_faithfulness(options: argparse.Namespace) -> None:
    """`faithfulness`: one table."""
    from cmr_hub.experiments.faithfulness import measure_faithfulness
    from cmr_hub.retrieval.retriever import Retriever

    retriever = Retriever.from_pretrained(options.checkpoint)
    dataset = _load_dataset(options)
    _check_split(options, dataset)
    measured = measure_faithfulness(
        retriever, dataset[options.split], by=options.by, seed=options.seed, show_progress=True
    )
    logging.info("%s", measured.table())
    if options.json:
        what = {"checkpoint": retriever.name, "dataset": options.dataset, "split": options.split}
        _write_json(options.json, {**what, **measured.to_dict()})


def run_word_pairs(options: argparse.Namespace) -> None:
    """`word-pairs`: a table, and a figure where one is asked for."""
    from cmr_hub.experiments.word_pairs import VECTORISERS, compare_vectorisers, default_pairs, draw, parse_pairs
    from cmr_hub.utils.plots import check_suffix, save

    if options.output:
        check_suffix(options.output)
    pairs = parse_pairs(options.pairs) if options.pairs else default_pairs(options.dataset)
    train = _load_dataset(options)["train"]
    table = compare_vectorisers(train, pairs, VECTORISERS)
    logging.info("%s", table)
    if options.output:
        save(draw(table), options.output)


def run_publish(options: argparse.Namespace) -> None:
    """`publish`: the card, then the Hub or a folder."""
    from cmr_hub.experiments.publish import publish

    where = publish(options.checkpoint, options.repo_id, output_dir=options.output_dir, private=options.private)
    logging.info("%s", where)


def run_gallery(options: argparse.Namespace) -> None:
    """`gallery`: one folder, which `Gallery.from_pretrained` opens."""
    from cmr_hub.retrieval.gallery import Gallery
    from cmr_hub.retrieval.retriever import Retriever

    # Whoever ends a long job politely finds what was embedded, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shard_rows = {} if options.shard_rows is None else {"shard_rows": options.shard_rows}
    built = Gallery.build(
        options.source[0] if len(options.source) == 1 else options.source,
        Retriever.from_pretrained(options.checkpoint),
        options.output_dir,
        options.index,
        index_options=parse_settings(options.index_option),
        name=options.name,
        keep_images=not options.refer,
        keep_real_valued=options.keep_real_valued,
        skip_unusable=options.skip_unusable,
        **shard_rows,
    )
    logging.info("%s: %d items, index %r (%s)", options.output_dir, len(built), built.index.name, built.index.reason)


def run_spread(options: argparse.Namespace) -> None:
    """`spread`: a catalyser, and how well the lattice ranks behind it."""
    from cmr_hub.training.train_quantizer import QuantizerSettings, find_neighbours, read_vectors, save, spread

    shortcuts = ("output_dim", "koleo", "epochs", "seed")
    given = {name: getattr(options, name) for name in shortcuts if getattr(options, name) is not None}
    given |= parse_settings(options.config)
    unknown = given.keys() - {field.name for field in fields(QuantizerSettings)}
    if unknown:
        raise InputError(f"SpreadSettings has no field {sorted(unknown)[0]!r}.")
    settings = QuantizerSettings(**given)
    vectors = read_vectors(options.gallery, options.side, options.vectors)
    model, run = spread(find_neighbours(vectors, settings), settings)
    save(model, replace(run, command=recorded_command()), options.output_dir)
    logging.info("%s, epoch %d of %d", options.output_dir, run.best_epoch, len(run.history))


def run_prepare(options: argparse.Namespace) -> None:
    """`prepare`: everything that a gallery in the Space needs."""
    from cmr_hub.experiments.prepare import prepare

    prepare(options.dataset, options.data_dir, report=print_json if options.progress == "json" else log_progress)


def run_map(options: argparse.Namespace) -> None:
    """`map`: t-SNE of a gallery, where the Space looks for it."""
    from cmr_hub.experiments.map import map_embedded, map_saved

    if (options.dataset is None) != (options.checkpoint is None):
        raise InputError("Give --dataset and --checkpoint together, or --gallery alone.")
    report = print_json if options.progress == "json" else log_progress
    if options.gallery:
        path = map_saved(options.gallery, report=report)
    else:
        path = map_embedded(options.dataset, options.checkpoint, options.data_dir, report=report)
    logging.info("%s", path)


def run_ship(options: argparse.Namespace) -> None:
    """`ship`: features of an embedded data set, into the package."""
    from cmr_hub.experiments.export_features import export_features

    logging.info("%s", export_features(options.dataset, options.image_encoder))


def print_json(stage: str, fraction: float, message: str) -> None:
    """One line of progress for a program; see `cmr_hub.space.services.preparation`."""
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


def parse_encoder(given: str) -> str | dict[str, Any]:
    """`"glove"` as it is, and `"{name: word2vec, window: 3}"` to a mapping of its name and options."""
    try:
        encoder = yaml.safe_load(given)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{given!r} is no YAML: {error}") from error
    if isinstance(encoder, dict) and "name" not in encoder:
        raise argparse.ArgumentTypeError(f"{given!r} has no name")
    return encoder


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
    process = this_process()
    logging.basicConfig(level=logging.INFO if process.is_main else logging.ERROR, format="%(message)s")
    for chatty in ("httpx", "httpx2", "datasets", "gensim"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        if not process.is_alone and options.command not in SHARED:
            raise InputError(f"{options.command!r} is work for one process; several do {', '.join(SHARED)} together.")
        options.run(options)
    except OtherProcessError:
        return 1  # the other one says why
    except CMRError as error:
        if getattr(options, "progress", None) == "json":
            print_json("error", 0.0, str(error))
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "Interrupted. What is complete is saved; the same command, of a training with --resume, goes on.",
            file=sys.stderr,
        )
        return 130
    return 0
