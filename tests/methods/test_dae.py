"""The bimodal autoencoder against a loop over items and dimensions, and what each of its cases sees."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.dae import DAEConfig, DAEModel
from cmr_hub.methods.dae.modeling_dae import reconstruction_loss

N = 5


@pytest.fixture
def pairs():
    torch.manual_seed(0)
    return torch.randn(N, 6) + 2, 3 * torch.randn(N, 4)


@pytest.fixture
def model(pairs):
    torch.manual_seed(1)
    model = DAEModel(DAEConfig(image_dim=6, text_dim=4, hidden_dim=8, embed_dim=3))
    model.image_standardizer.fit(pairs[0])
    model.text_standardizer.fit(pairs[1])
    return model


def slow_loss(image, text, image_guess, text_guess):
    total = 0.0
    for true, guess in ((image, image_guess), (text, text_guess)):
        errors = [(t - g) ** 2 for row in zip(true, guess, strict=True) for t, g in zip(*row, strict=True)]
        total += sum(errors) / len(errors)
    return total.item()


def test_reconstruction_loss_is_a_mean_over_each_sides_dimensions(pairs):
    guesses = torch.randn(N, 6), torch.randn(N, 4)
    assert reconstruction_loss(*pairs, *guesses).item() == pytest.approx(slow_loss(*pairs, *guesses), rel=1e-5)


def test_the_loss_has_the_gradient_of_its_values(pairs):
    image, text = (x.double() for x in pairs)
    guesses = tuple(torch.randn_like(x).requires_grad_() for x in (image, text))
    assert torch.autograd.gradcheck(lambda *guesses: reconstruction_loss(image, text, *guesses), guesses)


def test_each_case_reconstructs_both_sides_from_what_it_sees(model, pairs):
    image, text = model.image_standardizer(pairs[0]), model.text_standardizer(pairs[1])
    output = model(*pairs)
    sees = {
        "both": (image, text),
        "image_only": (image, torch.zeros_like(text)),
        "text_only": (torch.zeros_like(image), text),
    }
    assert output.loss_terms.keys() == sees.keys()
    for case, inputs in sees.items():
        code = model.encode(*inputs)
        slow = slow_loss(image, text, model.image_decoder(code), model.text_decoder(code))
        assert output.loss_terms[case].item() == pytest.approx(slow, rel=1e-4)
    assert output.loss.item() == pytest.approx(sum(output.loss_terms.values()).item() / 3)


def test_one_side_alone_is_embedded_as_if_the_other_were_average(model, pairs):
    average = pairs[1].mean(dim=0).expand(N, -1)
    image, text = model.image_standardizer(pairs[0]), model.text_standardizer(average)
    torch.testing.assert_close(model.get_image_features(pairs[0]), model.encode(image, text), atol=1e-5, rtol=1e-4)
    assert model(image_features=pairs[0]).loss is None
    torch.testing.assert_close(model(text_features=pairs[1]).text_embeds, model(*pairs).text_embeds)


def test_gradients_reach_every_weight(model, pairs):
    model(*pairs).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_one_side_comes_to_tell_the_other(model):
    torch.manual_seed(2)
    image = torch.randn(200, 6)
    text = image[:, :4] * 2 + 1
    model.image_standardizer.fit(image)
    model.text_standardizer.fit(text)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = model(image, text).loss_terms["image_only"].item()
    for _ in range(200):
        optimiser.zero_grad()
        model(image, text).loss.backward()
        optimiser.step()
    assert model(image, text).loss_terms["image_only"].item() < 0.6 * before


def test_settings_that_cannot_be():
    with pytest.raises(StrictDataclassError, match="hidden_dim must be at least 1, and is 0"):
        DAEConfig(hidden_dim=0)
