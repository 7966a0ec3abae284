"""DSCMR against loops over single items, straight from the paper's equations."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import DSCMRConfig, DSCMRModel
from cmr_hub.evaluation import get_protocol
from cmr_hub.methods.dscmr.modeling_dscmr import discrimination_loss
from cmr_hub.training.recipe import load_recipe

N, DIM, CLASSES = 6, 5, 3


@pytest.fixture
def batch():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[torch.tensor([0, 1, 2, 0, 1, 0])]
    labels[1, 2] = 1  # one item of two classes
    return torch.randn(N, DIM), torch.randn(N, DIM), labels


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_pairwise(a, b, labels):
    total = 0.0
    for i in range(N):
        for j in range(N):
            theta = cosine(a[i].tolist(), b[j].tolist()) / 2
            similar = any(x and y for x, y in zip(labels[i].tolist(), labels[j].tolist(), strict=True))
            total += math.log(1 + math.exp(theta)) - similar * theta
    return total / N**2


def test_discrimination_loss_sums_three_kinds_of_pairs(batch):
    image, text, labels = batch
    slow = sum(slow_pairwise(a, b, labels) for a, b in ((image, text), (image, image), (text, text)))
    assert discrimination_loss(image, text, labels).item() == pytest.approx(slow, abs=1e-5)


def slow_residual(rows, labels):
    """Mean of the rows' norms."""
    return sum(math.dist(row, label) for row, label in zip(rows.tolist(), labels.tolist(), strict=True)) / N


def test_the_objective_of_the_authors_code(batch):
    labels = batch[2]
    model = make_model(residual_norm="rowwise")
    inputs = torch.randn(N, 7), torch.randn(N, 4)
    embeds = model.get_image_features(inputs[0]), model.get_text_features(inputs[1])
    first = sum(slow_residual(model.classify(rows), labels) for rows in embeds)
    image, text = embeds
    second = sum(slow_pairwise(a, b, labels) for a, b in ((image, text), (image, image), (text, text)))
    third = slow_residual(image, text)
    assert model(*inputs, labels).loss.item() == pytest.approx(first + 1e-3 * second + 1e-1 * third, rel=1e-5)


def test_the_recipe_knows_how_the_authors_code_is_trained():
    recipe = load_recipe("dscmr", "pascal")
    reference = recipe.for_protocol(get_protocol("dscmr-test-selected"))
    assert recipe.for_protocol(get_protocol("dscmr")) is recipe
    assert reference.encoders == recipe.encoders
    assert {**recipe.config, "residual_norm": "rowwise"} == reference.config
    changed = {"num_train_epochs": 500, "train_sampling_strategy": "sequential"}
    assert {**recipe.training, **changed} == reference.training
    assert (reference.early_stopping_patience, reference.test_selected) == (None, None)


def make_model(**settings):
    torch.manual_seed(1)
    return DSCMRModel(
        DSCMRConfig(image_dim=7, text_dim=4, hidden_dim=9, embed_dim=DIM, num_labels=CLASSES, **settings)
    )


def test_objective_weighs_its_terms(batch):
    model = make_model(loss_lambda=0.3, loss_eta=0.7)
    output = model(torch.randn(N, 7), torch.randn(N, 4), batch[2])
    terms = output.loss_terms
    torch.testing.assert_close(output.loss, terms["J1"] + 0.3 * terms["J2"] + 0.7 * terms["J3"])
    assert output.image_logits.shape == output.text_logits.shape == (N, CLASSES)


def test_one_side_alone_needs_no_other():
    model = make_model()
    image, text = torch.randn(2, 7), torch.randn(2, 4)
    both = model(image, text)
    assert both.loss is None
    torch.testing.assert_close(model(image_features=image).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=text).text_embeds, both.text_embeds)
    assert model(text_features=text).image_embeds is None


def test_upper_layers_are_one_module_for_both_sides():
    names = {name.split(".")[0] for name, _ in make_model().named_parameters()}
    assert names == {"image_branch", "text_branch", "shared", "classifier"}


def test_initialisation_is_torchs():
    # nn.Linear draws from U(-1/sqrt(d), 1/sqrt(d)); transformers' default would be N(0, 0.02) with bias zero.
    model = make_model()
    bound = 1 / math.sqrt(9)
    assert 0.8 * bound < model.shared.weight.abs().max() <= bound
    assert model.shared.bias.abs().max() > 0


def test_gradients_reach_every_weight(batch):
    model = make_model()
    model(torch.randn(N, 7), torch.randn(N, 4), batch[2]).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_unknown_norm_is_refused():
    with pytest.raises(StrictDataclassError, match="residual_norm"):
        DSCMRConfig(residual_norm="nuclear")


def test_types_are_checked():
    with pytest.raises(StrictDataclassError, match="hidden_dim"):
        DSCMRConfig(hidden_dim="wide")
