"""IDCMR against loops over single items, straight from the paper's equations, and its classifier against NumPy."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import IDCMRConfig, IDCMRModel
from cmr_hub.methods.idcmr.modeling_idcmr import discrimination_loss, ridge_classifier

N, DIM, CLASSES = 6, 5, 3


@pytest.fixture
def batch():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[torch.tensor([0, 1, 2, 0, 1, 0])]
    labels[1, 2] = 1  # one item of two classes
    return torch.randn(N, DIM), torch.randn(N, DIM), labels


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"hidden_dim": 9, "embed_dim": DIM, "num_labels": CLASSES}
    return IDCMRModel(IDCMRConfig(image_dim=7, text_dim=4, **sizes, **settings))


def slow_pairwise(a, b, labels):
    total = 0.0
    for i in range(N):
        for j in range(N):
            theta = sum(x * y for x, y in zip(a[i].tolist(), b[j].tolist(), strict=True))
            similar = any(x and y for x, y in zip(labels[i].tolist(), labels[j].tolist(), strict=True))
            total -= similar * theta - math.log(1 + math.exp(theta))
    return total / N**2


def test_discrimination_loss_sums_three_kinds_of_pairs(batch):
    image, text, labels = batch
    slow = sum(slow_pairwise(a, b, labels) for a, b in ((image, text), (image, image), (text, text)))
    assert discrimination_loss(image, text, labels).item() == pytest.approx(slow, abs=1e-5)


def test_discrimination_loss_does_not_overflow(batch):
    image, text, labels = batch
    assert torch.isfinite(discrimination_loss(1e4 * image, 1e4 * text, labels))


def test_gradients_of_the_losses(batch):
    image, text, labels = (part.double() for part in batch)
    image, text = image.requires_grad_(), text.requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: discrimination_loss(u, v, labels), (image, text))


@pytest.mark.parametrize("rows", [1, 3, 40], ids=["one item", "fewer items than dimensions", "more"])
def test_classifier_is_the_ridge_solution(rows):
    """As the least squares of U C = S with sqrt(r) I C = 0 beneath, and by the normal equations as printed."""
    rng = np.random.default_rng(0)
    embeds, labels, ridge = rng.normal(size=(rows, DIM)), np.eye(CLASSES)[rng.integers(0, CLASSES, rows)], 0.3
    ours = ridge_classifier(torch.from_numpy(embeds), torch.from_numpy(labels), ridge).numpy()
    stacked = np.vstack([embeds, math.sqrt(ridge) * np.eye(DIM)]), np.vstack([labels, np.zeros((DIM, CLASSES))])
    np.testing.assert_allclose(ours, np.linalg.lstsq(*stacked)[0], atol=1e-10)
    printed = np.linalg.solve(embeds.T @ embeds + ridge * np.eye(DIM), embeds.T @ labels)
    np.testing.assert_allclose(ours, printed, atol=1e-10)


@pytest.mark.parametrize(("combine", "factor"), [("sum", 1.0), ("mean", 0.5)])
def test_a_training_step_solves_the_classifier_after_the_losses(batch, combine, factor):
    model = make_model(combine=combine, ridge=0.3).train()
    features = torch.randn(N, 7), torch.randn(N, 4)
    first = model(*features, batch[2])
    assert first.image_logits.abs().sum() == 0  # the losses are of the classifier that was there before
    embeds = [model.get_image_features(features[0]).detach(), model.get_text_features(features[1]).detach()]
    expected = sum(
        np.linalg.solve(u.T @ u + 0.3 * np.eye(DIM), u.T @ batch[2].numpy())
        for u in (rows.double().numpy() for rows in embeds)
    )
    np.testing.assert_allclose(model.classifier.numpy(), factor * expected, atol=1e-4)
    torch.testing.assert_close(model(*features, batch[2]).image_logits, embeds[0] @ model.classifier)
    assert not model.classifier.requires_grad


def test_measuring_leaves_the_classifier_alone(batch):
    model = make_model().eval()
    model(torch.randn(N, 7), torch.randn(N, 4), batch[2])
    assert model.classifier.abs().sum() == 0


def test_objective_weighs_its_terms(batch):
    model = make_model(loss_lambda=0.3, loss_eta=0.7).train()
    features = torch.randn(N, 7), torch.randn(N, 4)
    for _ in range(2):  # the second with a classifier that says something
        output = model(*features, batch[2])
    terms = output.loss_terms
    torch.testing.assert_close(output.loss, terms["J1"] + 0.3 * terms["J2"] + 0.7 * terms["J3"])


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_gradients_reach_every_weight(batch, activation):
    model = make_model(activation=activation).train()
    features = torch.randn(N, 7), torch.randn(N, 4)
    model(*features, batch[2])
    model(*features, batch[2]).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_upper_layer_is_one_module_and_the_classifier_no_parameter():
    model = make_model()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"image_branch", "text_branch", "shared"}
    assert "classifier" in model.state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ridge": 0.0}, "ridge must be above 0"),
        ({"activation": "tanh"}, "activation"),
        ({"combine": "max"}, "combine"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        IDCMRConfig(**settings)
