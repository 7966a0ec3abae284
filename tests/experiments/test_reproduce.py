import json
import shlex
from pathlib import Path

import pytest
from datasets import DatasetDict

from cmr_hub.errors import InputError
from cmr_hub.experiments import reproduce as module
from cmr_hub.experiments.encoder_choice import EncoderChoice
from cmr_hub.experiments.reproduce import Outcome, Plan, Task, longest_first, not_measured, protocols_for, reproduce
from cmr_hub.hub.weights import weights_digest
from cmr_hub.results import NotMeasured
from cmr_hub.results.markdown import results_markdown
from cmr_hub.results.store import merged
from cmr_hub.training.recipe import CitedFigures, load_recipe
from cmr_hub.training.run import TRAINER_FOLDER, TrainingRun
from cmr_hub.training.splits import with_validation
from cmr_hub.utils.checksums import write_checksums
from command_line import parse
from small_results import small_results, small_row
from toys import feature_dataset


@pytest.fixture
def data(monkeypatch):
    """A data set of released features that stands for Wikipedia."""
    dataset = DatasetDict(
        train=feature_dataset(90), validation=feature_dataset(30, 1, "val"), test=feature_dataset(30, 2, "test")
    )
    monkeypatch.setattr(module, "load_dataset", lambda name, folder, **options: dataset)
    return dataset


@pytest.fixture
def quick(monkeypatch):
    """Recipes that fit the toy data; more settings by method are taken from what this gives."""
    changes = {"dscmr": {"config": {"hidden_dim": 8, "embed_dim": 4}, "training": {"num_train_epochs": 2}}}
    changes |= {"cca": {"config": {"embed_dim": 3}}, "sh": {"config": {}}}

    def load(method, dataset=None):
        return load_recipe(method).changed(**{"test_selected": None, **changes[method]})

    monkeypatch.setattr(module, "load_recipe", load)
    return changes


@pytest.fixture
def trainings(monkeypatch):
    """The folders that are trained, as they are."""
    folders, train = [], module.train

    def noted(*args, **kwargs):
        folders.append(args[3])
        return train(*args, **kwargs)

    monkeypatch.setattr(module, "train", noted)
    return folders


def plan(folder, methods=("dscmr", "cca", "sh"), **changes):
    return Plan("wiki", None, Path(folder), methods, **{"seeds": (0, 1), "bits": (8, 16), **changes})


def test_every_method_seed_and_length_is_trained_and_stands_in_the_table(data, quick, trainings, tmp_path):
    results, outcomes = reproduce(plan(tmp_path))
    assert sorted(str(folder.relative_to(tmp_path)) for folder in trainings) == [
        *("cca/seed-0", "dscmr/seed-0", "dscmr/seed-1", "sh/16-bits/seed-0", "sh/8-bits/seed-0")
    ]
    assert {(row.method, row.bits, tuple(row.seeds)) for row in results.table.rows} == {
        *(("dscmr", None, (0, 1)), ("cca", None, ()), ("sh", 8, ()), ("sh", 16, ()))
    }
    stored = [TrainingRun.load(tmp_path / f"dscmr/seed-{seed}").results for seed in (0, 1)]
    values = [entry["metrics"]["map"] for run in stored for entry in run if entry["protocol"] == "dscmr"]
    spread = next(row for row in results.table.rows if row.method == "dscmr").metrics["dscmr"]["map"]
    assert spread.mean == pytest.approx(sum(values) / 2)
    assert results.pairs == {"train": 90, "validation": 30, "test": 30}
    assert not results.complete
    assert results.seconds > 0
    assert [outcome.kept for outcome in outcomes] == [False] * 5
    assert results.command == ("cmr reproduce --dataset wiki --methods dscmr cca sh --seeds 0 1 --bits 8 16")


def test_the_papers_protocol_stands_beside_the_clean_one_and_is_marked(data, quick, tmp_path):
    results, _ = reproduce(plan(tmp_path, ["dscmr"]))
    metrics = results.table.rows[0].metrics
    assert list(results.table.protocols) == ["dscmr", "dscmr-test-selected"]
    assert metrics["dscmr-test-selected"]["map"].mean >= metrics["dscmr"]["map"].mean
    assert "epoch chosen on the test split" in results_markdown(results)


def test_closed_forms_learn_from_the_pairs_that_other_methods_learn_from(data, quick, tmp_path):
    del data["validation"]
    reproduce(plan(tmp_path, seeds=(0,)))
    runs = {name: TrainingRun.load(tmp_path / name / "seed-0") for name in ("dscmr", "cca", "sh/8-bits")}
    assert {run.pairs for run in runs.values()} == {len(with_validation(data)["train"])}
    assert runs["cca"].pairs < len(data["train"])
    _, outcomes = reproduce(plan(tmp_path, seeds=(0,)))
    assert all(outcome.kept for outcome in outcomes)


def test_what_is_done_is_kept_and_costs_no_time(data, quick, trainings, tmp_path):
    first, _ = reproduce(plan(tmp_path))
    trainings.clear()
    second, outcomes = reproduce(plan(tmp_path))
    assert trainings == []
    assert all(outcome.kept for outcome in outcomes)
    assert second == first


def test_another_seed_length_or_setting_is_trained_and_nothing_else(data, quick, trainings, tmp_path):
    reproduce(plan(tmp_path))
    trainings.clear()
    quick["cca"] = {"config": {"embed_dim": 2}}
    reproduce(plan(tmp_path, seeds=(0, 1, 2), bits=(8, 16, 24)))
    assert sorted(str(folder.relative_to(tmp_path)) for folder in trainings) == [
        *("cca/seed-0", "dscmr/seed-2", "sh/24-bits/seed-0")
    ]


def test_figures_that_a_recipe_cites_otherwise_by_now_cost_no_training(data, quick, trainings, tmp_path):
    reproduce(plan(tmp_path, ["cca"]))
    trainings.clear()
    quick["cca"]["published"] = CitedFigures(source="Someone", metrics={"map": 0.5}, differs="Other features.")
    results, _ = reproduce(plan(tmp_path, ["cca"]))
    assert trainings == []
    assert results.table.rows[0].published.source == "Someone"
    assert "- CCA: Other features." in results_markdown(results)


def test_an_interrupted_one_goes_on_where_it_stood(data, quick, tmp_path, monkeypatch):
    whole, _ = reproduce(plan(tmp_path / "whole", ["cca", "dscmr"]))
    real, calls = module.train, []

    def interrupted(*args, **kwargs):
        calls.append(args[3])
        if len(calls) == 3:  # CCA and one seed of DSCMR are done
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduce(plan(tmp_path / "stopped", ["cca", "dscmr"]))
    spent = json.loads((tmp_path / "stopped" / "clock.json").read_text())["seconds"]
    resumed, outcomes = reproduce(plan(tmp_path / "stopped", ["cca", "dscmr"]))
    assert [outcome.kept for outcome in outcomes] == [True, True, False]
    assert [row.metrics for row in resumed.table.rows] == [row.metrics for row in whole.table.rows]
    assert resumed.seconds > spent > 0


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"seconds": null}'])
def test_damaged_files_of_an_earlier_call_do_not_stop_the_next(data, quick, trainings, tmp_path, caplog, content):
    reproduce(plan(tmp_path, ["cca"]))
    trainings.clear()
    (tmp_path / "clock.json").write_text(content)
    record = tmp_path / "cca" / "seed-0" / "training_run.json"
    record.write_text(record.read_text()[:100])
    results, _ = reproduce(plan(tmp_path, ["cca"]))
    assert [folder.name for folder in trainings] == ["seed-0"]
    assert results.seconds > 0
    assert "clock.json gives no seconds" in caplog.text
    assert "training_run.json is no valid JSON" in caplog.text
    assert (tmp_path / "clock.json.damaged").read_text() == content


def test_weights_that_were_not_measured_are_not_taken_for_a_finished_run(
    data, quick, trainings, tmp_path, monkeypatch
):
    reproduce(plan(tmp_path, ["cca"]))
    earlier = weights_digest(tmp_path / "cca" / "seed-0")
    quick["cca"] = {"config": {"embed_dim": 2}}
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "save", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reproduce(plan(tmp_path, ["cca"]))
    assert weights_digest(tmp_path / "cca" / "seed-0") != earlier
    trainings.clear()
    quick["cca"] = {"config": {"embed_dim": 3}}  # what the record says
    reproduce(plan(tmp_path, ["cca"]))
    assert [folder.name for folder in trainings] == ["seed-0"]
    assert TrainingRun.load(tmp_path / "cca" / "seed-0").weights == earlier


def test_other_data_of_the_same_name_are_trained_on(data, quick, trainings, tmp_path, monkeypatch):
    reproduce(plan(tmp_path, ["cca"]))
    trainings.clear()
    fewer = DatasetDict({**data, "train": data["train"].select(range(80))})
    monkeypatch.setattr(module, "load_dataset", lambda name, folder, **options: fewer)
    reproduce(plan(tmp_path, ["cca"]))
    assert [folder.name for folder in trainings] == ["seed-0"]


def test_what_an_interrupted_run_of_other_settings_left_is_not_gone_on_with(data, quick, tmp_path):
    states = tmp_path / "dscmr" / "seed-0" / TRAINER_FOLDER
    (states / "checkpoint-1").mkdir(parents=True)
    (states / "checkpoint-1" / "trainer_state.json").write_text("{}")  # would fail to load
    write_checksums(states / "checkpoint-1", every_file=True)
    (states / "request.json").write_text("{}")
    results, _ = reproduce(plan(tmp_path, ["dscmr"]))
    assert results.table.rows[0].seeds == [0, 1]


def test_what_the_data_cannot_give_has_a_reason_and_stops_nothing(data, quick, tmp_path, caplog):
    quick["dan"] = {}
    results, _ = reproduce(plan(tmp_path, ["dan", "cca"]))
    assert [row.method for row in results.table.rows] == ["cca"]
    (missing,) = results.not_measured
    assert missing.method == "dan"
    assert "DAN eats region_features" in missing.reason
    assert f"- DAN: {missing.reason}" in results_markdown(results)


def test_a_fault_of_the_program_costs_its_own_row_alone(data, quick, tmp_path, monkeypatch):
    real = module.train

    def faulty(recipe, *args, **kwargs):
        if recipe.method == "sh":
            raise ZeroDivisionError("of all things")
        return real(recipe, *args, **kwargs)

    monkeypatch.setattr(module, "train", faulty)
    results, outcomes = reproduce(plan(tmp_path, ["sh", "cca"]))
    assert [row.method for row in results.table.rows] == ["cca"]
    assert [outcome.failed for outcome in outcomes] == [True, True, False]
    assert results.not_measured[0].title == "SH (8, 16 bits)"
    assert results.not_measured[0].reason == "ZeroDivisionError: of all things"


def test_nothing_at_all(data, quick, tmp_path):
    quick["dan"] = {}
    with pytest.raises(InputError, match=r"None of these methods has results on 'wiki':\n- DAN: The encoders"):
        reproduce(plan(tmp_path, ["dan"]))


def test_other_encoders_for_all(data, quick, tmp_path):
    other = EncoderChoice(image={"name": "precomputed", "description": "another"})
    asked = plan(tmp_path, ["cca"], choices=[other])
    reproduce(asked)
    folder = tmp_path / "image-precomputed-description-another/cca/seed-0"
    assert TrainingRun.load(folder).recipe["encoders"]["image"]["description"] == "another"
    assert "--image-encoder '{name: precomputed, description: another}'" in asked.command()


OTHER = EncoderChoice(text={"name": "precomputed", "description": "other"}, methods=["cca", "dan"])


def test_each_choice_of_encoders_has_rows_of_its_own(data, quick, trainings, tmp_path):
    asked = plan(tmp_path, ["cca", "sh"], bits=(8,), choices=[EncoderChoice(), OTHER])
    results, _ = reproduce(asked)
    texts = [(row.title, str(row.encoders["text"])) for row in results.table.rows]
    assert sorted(texts) == [
        ("CCA", "precomputed"),
        ("CCA", "precomputed (description=other)"),
        ("SH", "precomputed"),
    ]
    record = TrainingRun.load(tmp_path / OTHER.folder / "cca/seed-0")
    assert record.command == (
        "cmr reproduce --dataset wiki --methods cca --seeds 0 1 --bits 8 "
        "--text-encoder '{name: precomputed, description: other}'"
    )
    with parse(shlex.split(asked.command())[1:]) as again:
        assert again.params["encoders"] == (EncoderChoice(), OTHER)
    trainings.clear()
    reproduce(asked)
    assert trainings == []


def test_an_encoder_that_the_recipe_has_already_is_not_measured_twice(data, quick, tmp_path):
    own = EncoderChoice(text="glove")
    tasks = plan(tmp_path, ["cca"], choices=[EncoderChoice(), own, EncoderChoice(text="bow")]).tasks()
    assert [task.replaced for task in tasks] == [{}, {"text": "bow"}]


def test_where_nothing_is_finished_all_is_named_even_what_results_have(data, quick, tmp_path):
    asked = plan(tmp_path, ["cca"], trains=False)
    pairs = {split: len(rows) for split, rows in asked.load().items()}
    stored = small_results(rows=[small_row("cca", 0.3, text="precomputed")], pairs=pairs)
    with pytest.raises(InputError, match="has results on 'wiki':\n- CCA: it has not been trained yet"):
        reproduce(asked, earlier=stored)


def test_finished_trainings_alone_can_be_tabulated(data, quick, trainings, tmp_path):
    reproduce(plan(tmp_path, ["cca"]))
    trainings.clear()
    asked = plan(tmp_path, ["cca", "sh"], choices=[EncoderChoice(), OTHER], trains=False)
    results, outcomes = reproduce(asked)
    assert trainings == []
    assert [row.title for row in results.table.rows] == ["CCA"]
    assert [(one.title, one.encoders) for one in results.not_measured] == [
        ("CCA, precomputed (description=other)", {"image": "precomputed", "text": "precomputed (description=other)"}),
        ("SH (8, 16 bits)", {"image": "precomputed", "text": "precomputed"}),
    ]
    assert all("not been trained yet" in one.reason for one in results.not_measured)
    assert not any(outcome.failed for outcome in outcomes)
    stored = small_row("sh", 0.3, bits=8, text="precomputed")
    again, _ = reproduce(asked, earlier=small_results(rows=[stored], pairs=results.pairs))
    assert [one.title for one in again.not_measured] == ["CCA, precomputed (description=other)", "SH (16 bits)"]
    impossible = [NotMeasured("sh", "SH (16 bits)", "it has too few dimensions")]
    with_reason = small_results(rows=[stored], pairs=results.pairs, not_measured=impossible)
    again, _ = reproduce(asked, earlier=with_reason)
    assert [one.method for one in again.not_measured] == ["cca"]
    assert merged(again, with_reason).not_measured == [*again.not_measured, *impossible]


def test_the_length_that_a_data_set_asks_for_is_trained_beside_the_usual_ones():
    lengths = {task.bits for task in Plan("wiki", None, Path(), ["isotropic"]).tasks()}
    assert lengths == {8, 16, 32, 64, 128}
    assert {task.bits for task in Plan("wiki", None, Path(), ["isotropic"], bits=[16]).tasks()} == {16}


def with_texts(dataset, captions):
    return DatasetDict(
        {name: split.add_column("texts", [["text"] * captions] * len(split)) for name, split in dataset.items()}
    )


@pytest.mark.parametrize(
    ("method", "captions", "classes", "expected"),
    [
        ("cca", 1, True, ["dscmr"]),
        ("dspe", 1, True, ["dscmr"]),  # one text per item
        ("cca", 5, True, ["dscmr", "instance"]),
        ("cca", 5, False, ["instance"]),
        ("dscmr", 5, True, ["dscmr", "instance", "dscmr-test-selected"]),
        ("dspe", 5, True, ["instance", "dscmr", "instance-five"]),  # learns from single captions
        ("dspe", 5, False, ["instance", "instance-five"]),
        ("dspe", 0, True, ["dscmr"]),
        ("dcmh", 1, True, ["dscmr-tie-aware", "dcmh-tie-aware", "djsrh-tie-aware", "dcmh"]),
        ("cvh", 5, False, ["instance-tie-aware"]),
    ],
)
def test_protocols_follow_from_the_data_and_the_method(data, method, captions, classes, expected):
    dataset = with_texts(data, captions) if captions else data
    if not classes:
        dataset = dataset.remove_columns("label")
    recipe = load_recipe(method).for_columns(dataset["train"].column_names)
    assert protocols_for(recipe, dataset) == expected


def test_every_recipe_names_protocols_that_there_are():
    from cmr_hub.evaluation import get_protocol
    from cmr_hub.methods import METHODS

    assert [get_protocol(name).name for method in METHODS for name in load_recipe(method).protocols]


def test_what_took_long_is_begun_first():
    rows = [small_row("dscmr", 0.5, seconds=9.0), small_row("sh", 0.5, bits=16, seconds=20.0)]
    tasks = [Task("dscmr", None, 0), Task("sh", 16, 0), Task("cca", None, 0)]
    assert [task.method for task in longest_first(tasks, small_results(rows=rows))] == ["cca", "sh", "dscmr"]
    assert longest_first(tasks, None) == tasks


def test_one_choice_of_encoders_is_done_after_the_other():
    rows = [small_row("dscmr", 0.5, seconds=9.0), small_row("cca", 0.5, seconds=1.0)]
    tasks = [Task(method, None, 0, choice) for choice in (EncoderChoice(), OTHER) for method in ("cca", "dscmr")]
    ordered = longest_first(tasks, small_results(rows=rows))
    assert [(task.method, task.choice) for task in ordered] == [
        *(("dscmr", EncoderChoice()), ("cca", EncoderChoice()), ("dscmr", OTHER), ("cca", OTHER))
    ]


def test_one_line_a_reason():
    same = [Outcome(Task("sh", bits, 0), reason="too long") for bits in (64, 32)]
    (line,) = not_measured([*same, Outcome(Task("sh", 16, 0))])
    assert (line.method, line.title, line.reason) == ("sh", "SH (32, 64 bits)", "too long")


def test_no_seed_or_no_training_at_a_time(data, quick, tmp_path):
    with pytest.raises(InputError, match="0 seeds and 1 trainings at a time: one of each at least"):
        reproduce(plan(tmp_path, ["cca"], seeds=()))
    with pytest.raises(InputError, match="one of each at least"):
        reproduce(plan(tmp_path, ["cca"]), jobs=0)


def test_an_encoder_that_is_asked_for_is_not_put_aside(data, quick, tmp_path):
    with pytest.raises(InputError, match="takes raw texts, in a column 'texts'"):
        reproduce(plan(tmp_path, ["cca"], choices=[EncoderChoice(text="bow")]))
