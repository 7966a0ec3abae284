import pytest

from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.methods import METHODS
from cmr_hub.training.recipe import load_recipe


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


def test_a_code_length_is_a_setting():
    assert load_recipe("sh").with_bits(24).config["embed_dim"] == 24


def test_code_lengths_that_cannot_be():
    with pytest.raises(InputError, match=r"'dscmr' is real-valued and has no code length. Hashing methods: .*\bsh\b"):
        load_recipe("dscmr").with_bits(64)
    with pytest.raises(InputError, match=r"embed_dim is 20. The nearest is 16"):
        load_recipe("sh").with_bits(20)


def test_published_figures_are_those_of_the_code_length():
    figures = {16: {"image_to_text/map": 0.1}, 32: {"image_to_text/map": 0.2}}
    recipe = load_recipe("sh").changed(published={"source": "Someone, 2010", "protocol": "djsrh", "bits": figures})
    expected = {"source": "Someone, 2010", "protocol": "djsrh", "metrics": {"image_to_text/map": 0.2}}
    assert recipe.with_bits(32).published_here == expected
    assert recipe.with_bits(64).published_here == {}
    assert load_recipe("cca", "wiki").published_here["metrics"]["image_to_text/map"] == 0.249
