import pytest

from closeness import FIGURES, assert_figures
from cmr_hub.data.labels import label_matrix
from cmr_hub.errors import InputError
from cmr_hub.evaluation import evaluate, evaluate_embeddings
from toys import feature_dataset, feature_retriever


@pytest.mark.parametrize("method", ["cca", "sh"])
def test_measures_what_the_retriever_embeds(method: str):
    retriever, test, train = feature_retriever(method), feature_dataset(20, seed=1), feature_dataset(60, seed=2)

    def both_modalities(dataset, prefix=""):
        columns = dataset.with_format("numpy")[:]
        return {
            f"{prefix}image_embeds": retriever.encode_images(columns["image_features"]),
            f"{prefix}text_embeds": retriever.encode_texts(columns["text_features"]),
            f"{prefix}labels": label_matrix(dataset),
        }

    result = evaluate(retriever, test, "dcmh", train, curves=True)
    by_hand = evaluate_embeddings(
        **both_modalities(test), **both_modalities(train, "gallery_"), protocol="dcmh", curves=True
    )
    assert_figures(result.metrics, by_hand.metrics)
    for direction, curve in by_hand.curves.items():
        for name, points in curve.items():
            assert result.curves[direction][name] == pytest.approx(points, abs=FIGURES)
    assert result.gallery["image_to_text"] == 60


def test_training_split_is_left_alone_where_it_is_not_searched():
    retriever, test = feature_retriever("cca"), feature_dataset(20, seed=1)
    with_it = evaluate(retriever, test, "dscmr", feature_dataset(60, seed=2))
    assert_figures(with_it.metrics, evaluate(retriever, test, "dscmr").metrics)


def test_missing_column_is_named():
    bare = feature_dataset(20).remove_columns("text_features")
    with pytest.raises(InputError, match="released features of the texts, in a column 'text_features'"):
        evaluate(feature_retriever("cca"), bare, "dscmr")


def test_a_measure_by_class_of_one_class_alone_is_a_warning(caplog):
    test = feature_dataset(60, seed=1).filter(lambda label: label == 1, input_columns="label")
    evaluate(feature_retriever("cca"), test, "instance")
    assert not caplog.records
    assert evaluate(feature_retriever("cca"), test, "dscmr").metrics["map"] == pytest.approx(1)
    assert f"All {len(test)} items are of the class" in caplog.text
