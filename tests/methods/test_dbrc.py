"""DBRC against loops over items and bits, and what each of its losses moves."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.dbrc import DBRCConfig, DBRCModel
from cmr_hub.methods.dbrc.modeling_dbrc import ATanh, reconstruction_loss, regression_loss, sharpness_penalty

N, BITS = 5, 8


@pytest.fixture
def pairs():
    torch.manual_seed(0)
    return torch.randn(N, 6) + 2, 3 * torch.randn(N, 4)


def make_model(pairs, **settings):
    torch.manual_seed(1)
    model = DBRCModel(DBRCConfig(image_dim=6, text_dim=4, embed_dim=BITS, **{"hidden_dim": 7, **settings}))
    model.image_standardizer.fit(pairs[0])
    model.text_standardizer.fit(pairs[1])
    return model


def slow_error(guess, true):
    errors = [
        (g - t) ** 2 for row in zip(guess.tolist(), true.tolist(), strict=True) for g, t in zip(*row, strict=True)
    ]
    return sum(errors) / len(errors)


def test_reconstruction_and_regression_by_loops(pairs):
    guesses = torch.randn(N, 6), torch.randn(N, 4)
    slow = slow_error(guesses[0], pairs[0]) + slow_error(guesses[1], pairs[1])
    assert reconstruction_loss(*pairs, *guesses).item() == pytest.approx(slow, rel=1e-5)
    image, text, joint = torch.randn(3, N, BITS).tanh()
    slow = slow_error(image, joint) + slow_error(text, joint)
    assert regression_loss(image, text, joint).item() == pytest.approx(slow, rel=1e-5)


def test_the_regression_moves_the_hash_functions_not_the_joint_code():
    image, text, joint = torch.randn(3, N, BITS).unbind()
    joint.requires_grad_()
    image.requires_grad_()
    regression_loss(image, text, joint).backward()
    assert joint.grad is None
    torch.testing.assert_close(image.grad, 2 * (image - joint).detach() / image.numel())


def test_the_losses_have_the_gradients_of_their_values(pairs):
    image, text = (x.double() for x in pairs)
    guesses = tuple(torch.randn_like(x).requires_grad_() for x in (image, text))
    assert torch.autograd.gradcheck(lambda *guesses: reconstruction_loss(image, text, *guesses), guesses)
    alpha = torch.tensor(1.7, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(sharpness_penalty, alpha)


def test_adaptive_tanh_learns_its_slope():
    layer = ATanh()
    hidden = torch.tensor([[0.2, -0.4]])
    torch.testing.assert_close(layer(hidden), torch.tensor([[math.tanh(0.2), math.tanh(-0.4)]]))
    # The penalty alone pulls alpha up, and so the outputs towards signs.
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.5)
    before = layer.alpha.item()
    for _ in range(20):
        optimiser.zero_grad()
        sharpness_penalty(layer.alpha).backward()
        optimiser.step()
    assert layer.alpha.item() > 1.5 * before
    assert layer(hidden)[0, 1] < math.tanh(-0.4 * 1.5)


def test_objective_weighs_its_terms_and_each_reconstruction_sees_its_code(pairs):
    model = make_model(pairs, hash_weight=0.3, sharpness_weight=0.7)
    output = model(*pairs)
    terms = output.loss_terms
    image, text = model.image_standardizer(pairs[0]), model.text_standardizer(pairs[1])
    codes = {
        "joint": model.get_pair_features(*pairs),
        "image": model.get_image_features(pairs[0]),
        "text": model.get_text_features(pairs[1]),
    }
    for name, code in codes.items():
        slow = slow_error(model.decoders["image"](code), image) + slow_error(model.decoders["text"](code), text)
        assert terms[f"{name}_reconstruction"].item() == pytest.approx(slow, rel=1e-4)
    expected = sum(terms[f"{name}_reconstruction"] for name in codes)
    torch.testing.assert_close(output.loss, expected + 0.3 * terms["hash_regression"] + 0.7 * terms["sharpness"])


def test_gradients_reach_every_weight(pairs):
    model = make_model(pairs)
    model(*pairs).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_joint_code_depends_on_both_sides(pairs):
    model = make_model(pairs)
    code = model.get_pair_features(*pairs)
    assert code.shape == (N, BITS)
    assert not torch.allclose(code, model.get_pair_features(pairs[0], pairs[1].flip(0)))
    assert not torch.allclose(code, model.get_pair_features(pairs[0].flip(0), pairs[1]))


def test_one_side_alone_needs_no_other(pairs):
    model = make_model(pairs)
    both = model(*pairs)
    torch.testing.assert_close(model(image_features=pairs[0]).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=pairs[1]).text_embeds, both.text_embeds)
    assert model(image_features=pairs[0]).loss is None


def test_one_side_comes_to_tell_the_other():
    torch.manual_seed(2)
    image = torch.randn(200, 6)
    text = image[:, :4] * 2 + 1
    model = make_model((image, text), hidden_dim=32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = model(image, text).loss_terms
    for _ in range(150):
        optimiser.zero_grad()
        model(image, text).loss.backward()
        optimiser.step()
    after = model(image, text)
    for name in ("joint_reconstruction", "image_reconstruction", "text_reconstruction"):
        assert after.loss_terms[name] < 0.6 * before[name]
    agree = (after.image_embeds > 0) == (after.text_embeds > 0)
    assert agree.float().mean() > 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, and is 0"),
        ({"sharpness_weight": -1.0}, "sharpness_weight must not be negative, and is -1.0"),
        ({"hash_weight": -0.5}, "hash_weight must not be negative, and is -0.5"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        DBRCConfig(**settings)
