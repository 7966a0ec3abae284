"""DJSRH against loops over single pairs of items, straight from the slides' equations."""

import math
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from closeness import assert_alike
from cmr_hub.methods.djsrh import DJSRHConfig, DJSRHModel
from cmr_hub.methods.djsrh.modeling_djsrh import SharpenCodes, joint_affinity, reconstruction_terms

M, BITS = 5, 8


@pytest.fixture
def pairs():
    torch.manual_seed(0)
    return torch.rand(M, 6), torch.rand(M, 4)


def make_model(**settings):
    torch.manual_seed(1)
    return DJSRHModel(DJSRHConfig(image_dim=6, text_dim=4, embed_dim=BITS, **{"hidden_dim": 7, **settings}))


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_affinity(image, text, beta, eta, entry):
    """The affinity as the slides spell it out last: products of S_I and S_T, entry by entry."""
    s_i, s_t = (
        [[entry(cosine(a, b)) for b in features.tolist()] for a in features.tolist()] for features in (image, text)
    )
    joint = [[0.0] * M for _ in range(M)]
    for i in range(M):
        for j in range(M):
            second = 0.0
            for k in range(M):
                second += beta**2 * s_i[i][k] * s_i[j][k] + (1 - beta) ** 2 * s_t[i][k] * s_t[j][k]
                second += beta * (1 - beta) * (s_i[i][k] * s_t[j][k] + s_t[i][k] * s_i[j][k])
            joint[i][j] = (1 - eta) * (beta * s_i[i][j] + (1 - beta) * s_t[i][j]) + eta / M * second
    return torch.tensor(joint)


def slow_terms(image_codes, text_codes, target):
    image, text = image_codes.tolist(), text_codes.tolist()
    compared = {"image_text": (image, text), "image_image": (image, image), "text_text": (text, text)}
    return {
        name: sum((cosine(a[i], b[j]) - target[i, j].item()) ** 2 for i in range(M) for j in range(M)) / M**2
        for name, (a, b) in compared.items()
    }


@pytest.mark.parametrize(
    ("affinity", "entry", "is_centred"),
    [
        ("rescaled", lambda x: 2 * x - 1, False),
        ("plain", lambda x: x, False),
        ("centred", lambda x: x, True),
    ],
)
def test_objective_by_loops(pairs, affinity, entry, is_centred):
    model = make_model(affinity=affinity, beta=0.2, eta=0.6, mu=1.3, lambda1=0.5, lambda2=0.7)
    model.image_standardizer.fit(pairs[0])
    model.text_standardizer.fit(pairs[1])
    output = model(*pairs)
    seen = [features - features.mean(dim=0) for features in pairs] if is_centred else pairs
    target = 1.3 * slow_affinity(*seen, beta=0.2, eta=0.6, entry=entry)
    slow = slow_terms(output.image_embeds, output.text_embeds, target)
    for name, value in slow.items():
        assert output.loss_terms[name].item() == pytest.approx(value, rel=1e-4)
    expected = slow["image_text"] + 0.5 * slow["image_image"] + 0.7 * slow["text_text"]
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)


def test_joint_affinity_of_equal_sides_without_second_order_is_theirs():
    affinity = torch.randn(M, M)
    torch.testing.assert_close(joint_affinity(affinity, affinity, beta=0.3, eta=0.0), affinity)


def test_the_loss_has_the_gradient_of_its_values():
    torch.manual_seed(0)
    codes = [torch.randn(M, BITS, dtype=torch.double, requires_grad=True) for _ in range(2)]
    target = torch.randn(M, M, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda *codes: sum(reconstruction_terms(*codes, target).values()), codes)


def test_codes_are_tanh_of_alpha_h(pairs):
    model = make_model()
    model.alpha.fill_(3.0)
    hidden = model.image_network(pairs[0])
    slow = [[math.tanh(3 * value) for value in row] for row in hidden.tolist()]
    torch.testing.assert_close(model.get_image_features(pairs[0]), torch.tensor(slow))


@pytest.mark.parametrize(("done", "epoch"), [(0, 1), (1.0, 2), (8.0, 9), (2.5, 3)])
def test_alpha_is_the_root_of_the_epoch(done, epoch):
    model = make_model()
    SharpenCodes().on_epoch_begin(None, SimpleNamespace(epoch=done), None, model=model)
    assert model.alpha.item() == pytest.approx(math.sqrt(epoch))


def test_alpha_is_saved_with_the_weights(tmp_path, pairs):
    model = make_model()
    model.alpha.fill_(2.5)
    model.save_pretrained(tmp_path)
    loaded = DJSRHModel.from_pretrained(tmp_path)
    assert loaded.alpha.item() == 2.5
    assert_alike(loaded.get_text_features(pairs[1]), model.get_text_features(pairs[1]))


def test_gradients_reach_every_weight(pairs):
    model = make_model()
    model(*pairs).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_one_side_alone_needs_no_other(pairs):
    model = make_model()
    both = model(*pairs)
    torch.testing.assert_close(model(image_features=pairs[0]).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=pairs[1]).text_embeds, both.text_embeds)
    assert model(image_features=pairs[0]).loss is None


@pytest.mark.parametrize("affinity", ["rescaled", "plain", "centred"])
def test_rows_of_zeros_leave_the_loss_finite(affinity):
    model = make_model(affinity=affinity)
    loss = model(torch.zeros(3, 6), torch.zeros(3, 4)).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 1.2}, "beta is a share, from 0 to 1, and is 1.2"),
        ({"eta": -0.1}, "eta is a share, from 0 to 1, and is -0.1"),
        ({"mu": -1.0}, "mu must not be negative, and is -1.0"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, and is 0"),
        ({"affinity": "euclidean"}, "affinity"),
        ({"embed_dim": 12}, "multiple of 8"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        DJSRHConfig(**settings)
