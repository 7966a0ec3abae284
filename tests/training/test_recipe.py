import pytest

from cmr_hub.errors import UnknownNameError
from cmr_hub.registry import METHODS
from training.recipe import load_recipe


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_a_recipe_with_its_paper(method):
    recipe = load_recipe(method)
    assert recipe.title
    assert recipe.paper.citation.startswith("@")
    assert set(recipe.encoders) == {"image", "text"}


def test_a_data_set_changes_what_it_names_and_no_more():
    general, wiki = load_recipe("dscmr"), load_recipe("dscmr", "wiki")
    assert wiki.encoders["image"] == {"name": "precomputed", "transform": "hellinger"}
    assert (wiki.config, wiki.training) == (general.config, general.training)


def test_the_papers_optimiser_is_spelled_out():
    training = load_recipe("dscmr").training
    assert (training["learning_rate"], training["adam_beta1"], training["adam_beta2"]) == (1e-4, 0.5, 0.999)
    assert (training["weight_decay"], training["max_grad_norm"], training["lr_scheduler_type"]) == (0, 0, "constant")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"loss_lamda": 1}}, "no config field named 'loss_lamda'. Did you mean 'loss_lambda'"),
        ({"training": {"learning_rat": 1}}, "no training argument named 'learning_rat'. Did you mean 'learning_rate'"),
    ],
)
def test_misspelled_settings(changes, message):
    with pytest.raises(UnknownNameError, match=message):
        load_recipe("dscmr").changed(**changes)


def test_unknown_method():
    with pytest.raises(UnknownNameError, match="Did you mean 'dscmr'"):
        load_recipe("dscmrr")
