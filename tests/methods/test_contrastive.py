"""InfoNCE against loops over single items, straight from the equation."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import ContrastiveConfig, ContrastiveModel
from cmr_hub.modeling.losses import info_nce, pair_logits

N, DIM = 6, 5


@pytest.fixture
def embeds():
    torch.manual_seed(0)
    return torch.randn(N, DIM, dtype=torch.float64), torch.randn(N, DIM, dtype=torch.float64)


def make_model(**settings):
    torch.manual_seed(1)
    return ContrastiveModel(
        ContrastiveConfig(image_dim=7, text_dim=4, **{"embed_dim": DIM, "hidden_dim": 9, "dropout": 0.0, **settings})
    )


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_info_nce(queries, answers, scale, right=None):
    """-1/n sum_i log( exp(s cos(q_i, a_i)) / sum_j exp(s cos(q_i, a_j)) ), over j that are i or not `right` for i."""
    total = 0.0
    for i in range(N):
        scores = {
            j: math.exp(scale * cosine(queries[i].tolist(), answers[j].tolist()))
            for j in range(N)
            if j == i or right is None or not right[i][j]
        }
        total -= math.log(scores[i] / sum(scores.values()))
    return total / N


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_both_directions(embeds, scale):
    image, text = embeds
    logits = pair_logits(image, text, torch.tensor(scale, dtype=torch.float64))
    assert info_nce(logits).item() == pytest.approx(slow_info_nce(image, text, scale), rel=1e-9)
    assert info_nce(logits.T).item() == pytest.approx(slow_info_nce(text, image, scale), rel=1e-9)


def test_gradients_agree_with_finite_differences(embeds):
    image, text = (rows.requires_grad_() for rows in embeds)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: info_nce(pair_logits(*given)), (image, text, scale))


@pytest.mark.parametrize("hidden_dim", [0, 9])
def test_the_objective_is_the_mean_of_both_directions(hidden_dim):
    model = make_model(hidden_dim=hidden_dim)
    output = model(torch.randn(N, 7), torch.randn(N, 4))
    image, text = output.image_embeds.tolist(), output.text_embeds.tolist()
    slow = [slow_info_nce(*map(torch.tensor, pair), 1 / 0.07) for pair in ((image, text), (text, image))]
    assert output.loss.item() == pytest.approx(sum(slow) / 2, rel=1e-4)
    assert set(output.loss_terms) == {"image_to_text", "text_to_image"}


def test_what_describes_an_image_too_is_no_wrong_answer():
    matching = torch.eye(N, dtype=torch.bool)
    matching[0, 1] = matching[1, 0] = True  # two texts of one image
    matching[2, 5] = True  # a text of image 5 that stands under image 2 too
    model = make_model()
    output = model(torch.randn(N, 7), torch.randn(N, 4), matching=matching)
    image, text = output.embeds
    expected = {
        "image_to_text": slow_info_nce(image, text, 1 / 0.07, matching.tolist()),
        "text_to_image": slow_info_nce(text, image, 1 / 0.07, matching.T.tolist()),
    }
    assert {name: term.item() for name, term in output.loss_terms.items()} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("hidden_dim", [0, 9])
def test_gradients_reach_every_weight(hidden_dim):
    model = make_model(hidden_dim=hidden_dim)
    model(torch.randn(N, 7), torch.randn(N, 4)).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_one_pair_has_nothing_to_tell_apart():
    model = make_model()
    loss = model(torch.randn(1, 7), torch.randn(1, 4)).loss
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_one_side_alone_needs_no_other():
    model = make_model().eval()
    image, text = torch.randn(2, 7), torch.randn(2, 4)
    both = model(image, text)
    torch.testing.assert_close(model(image_features=image).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=text).text_embeds, both.text_embeds)
    assert model(text_features=text).loss is None


def test_classes_change_nothing():
    model = make_model().eval()
    image, text = torch.randn(N, 7), torch.randn(N, 4)
    torch.testing.assert_close(model(image, text, torch.eye(N)).loss, model(image, text).loss)


def test_the_scale_is_learned_and_stays_below_a_hundred():
    model = make_model()
    with torch.no_grad():
        model.log_scale.fill_(7.0)
    image, text = torch.randn(N, 7), torch.randn(N, 4)
    model(image, text).loss.backward()
    assert model.log_scale.exp().item() == pytest.approx(100)
    assert model.log_scale.grad != 0  # it may come back


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_dim": -1}, "hidden_dim must be 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"initial_temperature": 0.001}, "initial_temperature must be at least 0.01"),
        ({"embed_dim": "wide"}, "embed_dim"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        ContrastiveConfig(**settings)
