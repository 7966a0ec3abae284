"""DSCMR-Hash: each term against loops over single items, and the schedule, the signs and the weights."""

import math
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.dscmr_hash import DSCMRHashConfig, DSCMRHashModel
from cmr_hub.methods.dscmr_hash.configuration_dscmr_hash import WEIGHTS
from cmr_hub.methods.dscmr_hash.modeling_dscmr_hash import (
    Continuation,
    balance_loss,
    decorrelation_loss,
    invariance_loss,
    quantisation_loss,
)
from cmr_hub.modeling.codes import pack
from cmr_hub.modeling.losses import likelihood_loss, straight_through_signs

N, BITS, CLASSES = 6, 8, 3


@pytest.fixture
def batch():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES, dtype=torch.float64)[torch.tensor([0, 1, 2, 0, 1, 0])]
    labels[1, 2] = 1  # one item of two classes
    labels[5] = 0  # and one of none
    image, text = torch.randn(2, N, BITS, dtype=torch.float64).tanh().requires_grad_()
    return image, text, labels


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"image_dim": 7, "text_dim": 4, "hidden_dim": 16, "embed_dim": BITS, "num_labels": CLASSES}
    return DSCMRHashModel(DSCMRHashConfig(**{"dropout": 0.0, **sizes, **settings}))


def some_batch():
    torch.manual_seed(2)
    return torch.randn(N, 7), torch.randn(N, 4), torch.eye(CLASSES)[torch.arange(N) % CLASSES]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def sign(value):
    return 1.0 if value > 0 else -1.0


def test_likelihood_is_the_mean_over_three_kinds_of_pairs(batch):
    image, text, labels = (tensor.tolist() for tensor in batch)
    total = 0.0
    for a, b in ((image, text), (image, image), (text, text)):
        for i in range(N):
            for j in range(N):
                theta = 5 * (dot(a[i], b[j]) / BITS - 0.2)
                total += math.log(1 + math.exp(theta)) - (dot(labels[i], labels[j]) > 0) * theta
    assert likelihood_loss(*batch, scale=5.0, margin=0.2).item() == pytest.approx(total / N**2)


def test_invariance_quantisation_and_balance(batch):
    image, text, _ = batch
    cells = [(u, v) for row in zip(image.tolist(), text.tolist(), strict=True) for u, v in zip(*row, strict=True)]
    between = sum((u - v) ** 2 for u, v in cells) / len(cells)
    assert invariance_loss(image, text).item() == pytest.approx(between)
    to_code = sum((u - sign(u + v)) ** 2 + (v - sign(u + v)) ** 2 for u, v in cells) / len(cells)
    assert quantisation_loss(image, text).item() == pytest.approx(to_code)
    means = [sum(column) / N for values in (image, text) for column in values.T.tolist()]
    assert balance_loss(image, text).item() == pytest.approx(sum(mean**2 for mean in means) / BITS)


def test_decorrelation_looks_at_pairs_of_different_bits(batch):
    total = 0.0
    for values in batch[:2]:
        columns = values.T.tolist()
        total += sum((dot(columns[a], columns[b]) / N) ** 2 for a in range(BITS) for b in range(BITS) if a != b)
    assert decorrelation_loss(*batch[:2]).item() == pytest.approx(total / (BITS * (BITS - 1)))


def test_what_the_terms_ask_for_costs_nothing():
    codes = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    for loss in (invariance_loss, quantisation_loss, balance_loss, decorrelation_loss):
        assert loss(codes, codes).item() == 0


def test_gradients_against_finite_differences(batch):
    image, text, labels = batch
    assert torch.autograd.gradcheck(lambda u, v: likelihood_loss(u, v, labels, 5.0, 0.2), (image, text))
    for loss in (invariance_loss, quantisation_loss, balance_loss, decorrelation_loss):
        assert torch.autograd.gradcheck(loss, (image, text))


def test_signs_have_the_gradient_of_the_identity():
    values = torch.tensor([0.3, -0.2, 0.0], requires_grad=True)
    signs = straight_through_signs(values)
    assert signs.tolist() == [1.0, -1.0, -1.0]  # as the code has it, zero is no bit
    (signs * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad.tolist() == [1.0, 2.0, 3.0]


def test_the_classifier_sees_codes_or_values():
    values = torch.tensor([[0.1] * BITS])
    through, plain = (make_model(straight_through=choice) for choice in (True, False))
    torch.testing.assert_close(through.classify(values), through.classify(values.sign()))
    assert not torch.allclose(plain.classify(values), plain.classify(values.sign()))
    doubled = make_model(class_scale=8.0)
    torch.testing.assert_close(doubled.classify(values), 2 * make_model(class_scale=4.0).classify(values))


def test_objective_weighs_its_terms_and_leaves_out_those_of_weight_zero():
    weights = {f"{name}_weight": 0.1 * (place + 1) for place, name in enumerate(WEIGHTS)}
    output = make_model(**weights)(*some_batch())
    assert list(output.loss_terms) == list(WEIGHTS)
    torch.testing.assert_close(
        output.loss, sum(weights[f"{name}_weight"] * output.loss_terms[name] for name in WEIGHTS)
    )
    for name in WEIGHTS:
        rest = make_model(**{**weights, f"{name}_weight": 0.0})(*some_batch())
        assert rest.loss_terms.keys() == set(WEIGHTS) - {name}
        torch.testing.assert_close(rest.loss, output.loss - weights[f"{name}_weight"] * output.loss_terms[name])


def test_frobenius_is_dscmrs_label_loss():
    image, text, labels = some_batch()
    output = make_model(label_loss="frobenius", label_weight=1.0)(image, text, labels)
    expected = ((output.image_logits - labels).norm() + (output.text_logits - labels).norm()) / N
    torch.testing.assert_close(output.loss_terms["label"], expected)


@pytest.mark.parametrize("straight_through", [True, False])
def test_gradients_reach_every_weight(straight_through):
    model = make_model(straight_through=straight_through)
    model(*some_batch()).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_values_are_scaled_features_through_tanh_and_one_side_alone_suffices():
    model = make_model()
    image, text, _ = some_batch()
    model.image_standardizer.fit(image)
    model.alpha.fill_(2.5)
    centred = image - image.mean(0)
    hidden = torch.relu(centred / centred.square().mean().sqrt() @ model.image_branch.weight.T)
    assert model(text_features=text).image_embeds is None
    model.image_branch.bias.data.zero_()
    expected = torch.tanh(2.5 * (hidden @ model.shared.weight.T + model.shared.bias))
    torch.testing.assert_close(model.get_image_features(image), expected)
    assert model(image, text).loss is None


def test_alpha_grows_evenly_and_changes_no_code():
    model, seen = make_model(final_alpha=4.0), []
    code = pack(model.get_image_features(some_batch()[0]))
    for epoch in range(4):
        Continuation().on_epoch_begin(
            SimpleNamespace(num_train_epochs=4), SimpleNamespace(epoch=float(epoch)), None, model=model
        )
        seen.append(model.alpha.item())
    assert seen == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert (pack(model.get_image_features(some_batch()[0])) == code).all()
    assert "alpha" in model.state_dict()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embed_dim", 12),
        ("hidden_dim", 0),
        ("dropout", 1.0),
        ("label_loss", "hinge"),
        ("class_scale", 0.0),
        ("similarity_scale", -1.0),
        ("decorrelation_weight", -0.1),
        ("final_alpha", 0.5),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        DSCMRHashConfig(**{field: value})


def test_without_any_term_there_is_nothing_to_learn():
    with pytest.raises(StrictDataclassError, match=r"label_weight, .* are all 0"):
        DSCMRHashConfig(**{f"{name}_weight": 0.0 for name in WEIGHTS})
