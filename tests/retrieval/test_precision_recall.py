from pathlib import Path

import pytest
from datasets import DatasetDict

from closeness import assert_figures
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.evaluation import evaluate
from cmr_hub.retrieval import precision_recall
from cmr_hub.retrieval.precision_recall import has_curves, is_quick, measure_curves
from toys import feature_dataset, feature_retriever


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, DatasetDict]:
    """A saved checkpoint on released features, and what stands in for its data set."""
    dataset = DatasetDict(train=feature_dataset(60, 1), test=feature_dataset(30, 2))
    monkeypatch.setattr(precision_recall, "_splits", lambda name: dataset)
    feature_retriever("cca").save_pretrained(tmp_path)
    return str(tmp_path), dataset


def test_curves_are_those_of_the_evaluator(toy: tuple[str, DatasetDict]):
    folder, dataset = toy
    measured = measure_curves(folder, "wiki", "dcmh")
    expected = evaluate(feature_retriever("cca"), dataset["test"], "dcmh", dataset["train"])
    assert_figures(measured.metrics, expected.metrics)
    for curve in measured.curves.values():
        assert len(curve["precision"]) == len(curve["recall"]) == 11
        assert curve["recall"] == sorted(curve["recall"])


def test_what_was_measured_is_kept(toy: tuple[str, DatasetDict], monkeypatch: pytest.MonkeyPatch):
    first = measure_curves(toy[0], "wiki", "dscmr")
    monkeypatch.setattr(precision_recall, "evaluate", None)
    assert measure_curves(toy[0], "wiki", "dscmr") is first


def test_protocols_of_pairs_and_of_two_rankings_have_no_curves(toy: tuple[str, DatasetDict]):
    asked = ("dscmr", "djsrh-tie-aware", "instance", "dscmr-reranked")
    assert [has_curves(protocol) for protocol in asked] == [True, True, False, False]
    with pytest.raises(InputError, match="Precision-recall curves are of classes"):
        measure_curves(toy[0], "wiki", "instance")
    with pytest.raises(UnknownNameError):
        has_curves("dsmcr")


def test_quick_is_what_needs_no_encoding_of_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert is_quick("cmr/cca-emoji", "emoji")
    monkeypatch.setattr(precision_recall, "is_available", lambda dataset: True)
    assert is_quick("cmr/cca-wiki", "wiki")
    assert not is_quick("cmr/dan-rsicd", "rsicd")
    monkeypatch.setattr(precision_recall, "prepared_galleries", lambda dataset: {"dan": tmp_path})
    assert is_quick("cmr/dan-rsicd", "rsicd")
    monkeypatch.setattr(precision_recall, "is_available", lambda dataset: False)
    assert not is_quick("cmr/dan-rsicd", "rsicd")
