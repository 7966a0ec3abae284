import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from cmr_hub.data import load_dataset
from cmr_hub.errors import InputError
from cmr_hub.evaluation import get_protocol
from cmr_hub.experiments import choose
from cmr_hub.experiments.choose import candidates, described, protocols_to_compare_by
from own_data import news
from toys import feature_dataset


@pytest.fixture
def splits():
    """Pairs of which CCA's recipe, with its 50 canonical pairs, asks for too much."""
    return DatasetDict(train=feature_dataset(60), test=feature_dataset(12, seed=1, prefix="test"))


@pytest.mark.slow
def test_quick_methods_are_ranked_on_pairs_that_none_of_them_learned_from(splits, monkeypatch, caplog):
    seen = []
    train = choose.train
    monkeypatch.setattr(
        choose, "train", lambda recipe, data, *rest, **more: seen.append(data) or train(recipe, data, *rest, **more)
    )
    compared_by = protocols_to_compare_by(splits)
    caplog.set_level("INFO")
    found = candidates(splits, "folder", compared_by, data_name="mine")
    assert {one.recipe.method for one in found} == set(choose.LABELLED) - {"cca"}
    assert "CCA is left out: " in caplog.text
    assert "no test split" not in caplog.text
    assert "SM on mine: " in caplog.text
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].scores["dscmr"] > 0.8
    assert found[0].score == pytest.approx((found[0].scores["dscmr"] + found[0].scores["instance"]) / 2)
    for data in seen:
        assert set(data) == {"train", "validation"}
        assert not set(data["train"]["id"]) & set(data["validation"]["id"])
        assert set(data["train"]["id"]) < set(splits["train"]["id"])
    table = described(found, compared_by)
    assert table.splitlines()[-1].endswith("is trained.")
    assert "mAP@all" in table
    assert "map (dscmr)" in table
    assert "mean_recall (instance)" in table


@pytest.mark.slow
def test_pairs_without_labels_are_compared_by_methods_that_need_none(splits):
    pairs = DatasetDict({name: split.remove_columns("label") for name, split in splits.items()})
    assert [protocol.name for protocol in protocols_to_compare_by(pairs)] == ["instance"]
    found = candidates(pairs, "folder", [get_protocol("instance")])
    assert {one.recipe.method for one in found} == set(choose.UNLABELLED) - {"cca"}
    assert all(0 <= one.score <= 1 for one in found)


def test_texts_that_repeat_are_compared_by_class_alone():
    classes = ClassLabel(names=["cat", "dog"])
    rows = {"id": ["a", "b", "c", "d"], "texts": [["cat"], ["dog"], ["cat"], ["dog"]], "label": [0, 1, 0, 1]}
    train = Dataset.from_dict(rows).cast_column("label", classes)
    assert [protocol.name for protocol in protocols_to_compare_by(DatasetDict(train=train))] == ["dscmr"]
    own = train.map(lambda row: {"texts": [f"{row['texts'][0]} {row['id']}"]})
    assert [protocol.name for protocol in protocols_to_compare_by(DatasetDict(train=own))] == ["dscmr", "instance"]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "chosen"), [({}, "tfidf"), ({"text": "glove"}, "glove")])
def test_texts_that_the_text_encoder_does_not_know(tmp_path, monkeypatch, caplog, given, chosen):
    monkeypatch.setattr(choose, "LABELLED", ("semantic_matching",))
    dataset = load_dataset("folder", news(tmp_path, 40), split="train")
    found = candidates(dataset, "folder", [get_protocol("dscmr")], {"image": "efficientnet-lite0", **given})
    assert found[0].recipe.encoders["text"].name == chosen
    assert ("tfidf takes the place of" in caplog.text) == (not given)


def test_too_few_pairs_to_compare_on(splits):
    few = DatasetDict(train=splits["train"].select(range(4)))
    with pytest.raises(InputError, match="4 training pairs are too few"):
        candidates(few, "folder", [get_protocol("dscmr")])


def test_none_can_be_trained(splits, monkeypatch):
    monkeypatch.setattr(choose, "LABELLED", ("unified", "cca"))

    def refuse(*arguments, **options):
        raise InputError("no")

    monkeypatch.setattr(choose, "train", refuse)
    with pytest.raises(InputError, match="None of unified, cca can be trained on 'folder'"):
        candidates(splits, "folder", [get_protocol("dscmr")])
