"""Old names work, warn where they are used, and say the new name."""

import numpy as np
import pytest

import cmr_hub
from attending import captioned, red_seeker, spotted
from cmr_hub import evaluation, indexes
from cmr_hub.encoders.base import TextEncoder
from cmr_hub.evaluation import evaluate_embeddings, get_protocol
from cmr_hub.modeling import losses
from cmr_hub.retrieval.explanation import Explanation
from cmr_hub.utils.deprecation import RenamedAttribute, renamed_arguments

EYE = np.eye(12, dtype=np.float32)


@pytest.fixture(autouse=True)
def warns_here():
    with pytest.warns(DeprecationWarning, match="is deprecated and will be removed in cmr_hub 0.3: use ") as caught:
        yield
    assert {warning.filename for warning in caught} == {__file__}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> cmr_hub.Gallery:
    return cmr_hub.Gallery.from_dataset(captioned([spotted(0, 0), spotted(1, 1)], [["red"], ["red"]]), red_seeker())


def test_gallery_picture(gallery):
    assert gallery.picture(0).size == gallery.image(0).size


def test_gallery_other_side(gallery):
    assert gallery.other_side("image") == "text"


def test_retriever_knows():
    assert red_seeker().knows(["red"]) == [True]


def test_explanation_picture():
    explanation = red_seeker().explain(spotted(0, 0), "red")
    assert explanation.picture().size == Explanation.draw(explanation).size


def test_modules_have_renamed_attributes():
    assert evaluation.Spread is evaluation.MeanStd
    assert indexes.Among is indexes.Filter
    assert losses.share_a_class is losses.label_similarity


def test_evaluation_by_caption_owner():
    owners = np.arange(12)
    result = evaluate_embeddings(EYE, EYE, protocol="instance", caption_owner=owners)
    assert result.metrics == evaluate_embeddings(EYE, EYE, protocol="instance", caption_to_image=owners).metrics


def test_a_protocol_of_captions_an_item():
    assert get_protocol("instance", captions_an_item=5).captions_per_item == 5


@pytest.mark.parametrize("name", ["exact", "kd_tree"])
def test_a_search_among_items(name):
    index = indexes.INDEXES[name](EYE)
    _, ids = index.search(EYE[:1], 1, among=indexes.Filter(np.array([2])))
    assert ids.tolist() == [[2]]


def test_a_lookup_of_codes():
    index = indexes.INDEXES["hamming"](np.array([[0], [255]], np.uint8))
    assert [found.tolist() for found in index.lookup(np.array([[1]], np.uint8), 1)] == [[0]]


def test_a_model_that_says_its_facts_by_their_old_names():
    class ToyModel(cmr_hub.CCAModel):
        config_class = cmr_hub.CCAConfig
        uses_chance = True
        attends = True

    assert ToyModel.is_stochastic
    assert ToyModel.has_attention
    assert cmr_hub.CCAModel.uses_chance is False


def test_an_encoder_that_says_its_facts_by_their_old_names():
    class ToyEncoder(TextEncoder):
        averages = False
        takes_raw = False

        def knows(self, texts):
            return [False] * len(texts)

    assert not ToyEncoder.supports_mean_pooling
    assert not ToyEncoder.accepts_raw_input
    assert ToyEncoder.has_known_tokens(None, ["a"]) == [False]


def test_both_names_of_an_argument_are_refused():
    @renamed_arguments(old="new")
    def function(new):
        return new

    assert function(old=1) == 1
    with pytest.raises(TypeError, match=r"function\(\) takes new=, or by its old name old=, not both"):
        function(old=1, new=2)


def test_an_attribute_that_is_renamed_reads_the_new_one():
    class Toy:
        new = RenamedAttribute("newest")
        newest = 3

    assert Toy().new == Toy.new == 3
