"""InfoNCE with ignored answers and weighted wrong ones, against loops over single answers."""

import math

import pytest
import torch

from cmr_hub.modeling.losses import info_nce, inverse_temperature

N = 5


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return 4 * torch.randn(N, N, dtype=torch.float64)


@pytest.fixture
def ignored():
    matching = torch.eye(N, dtype=torch.bool)
    matching[0, 1] = matching[1, 0] = matching[3, 4] = True
    matching[2] = True  # nothing is wrong for this one
    return matching


def slow_info_nce(logits, ignored, hardness):
    losses = []
    for i in range(N):
        wrong = [j for j in range(N) if j != i and not ignored[i, j]]
        hard = [math.exp(hardness * logits[i, j]) for j in wrong]
        weights = [len(wrong) * value / sum(hard) for value in hard]
        own = math.exp(logits[i, i])
        others = sum(weight * math.exp(logits[i, j]) for weight, j in zip(weights, wrong, strict=True))
        losses.append(-math.log(own / (own + others)))
    return sum(losses) / N


@pytest.mark.parametrize("hardness", [0.0, 0.3, 1.0])
def test_ignored_answers_take_no_part_and_hard_ones_count_more(logits, ignored, hardness):
    assert info_nce(logits, ignored, hardness).item() == pytest.approx(slow_info_nce(logits, ignored, hardness))
    nothing = torch.zeros(N, N, dtype=torch.bool)
    assert info_nce(logits, None, hardness).item() == pytest.approx(slow_info_nce(logits, nothing, hardness))


def test_gradients_agree_with_finite_differences(logits, ignored):
    assert torch.autograd.gradcheck(lambda given: info_nce(given, ignored), logits.requires_grad_())


def test_nothing_is_learned_from_the_weights_of_wrong_answers(logits):
    info_nce(logits.requires_grad_(), hardness=0.5).backward()
    wrong = logits.detach().masked_fill(torch.eye(N, dtype=torch.bool), -math.inf)
    counted = wrong + (0.5 * wrong).log_softmax(dim=1) + math.log(N - 1)
    counted = torch.where(torch.eye(N, dtype=torch.bool), logits.detach(), counted)
    expected = (counted.softmax(dim=1) - torch.eye(N)) / N  # of softmax cross-entropy
    assert torch.allclose(logits.grad, expected, atol=1e-12)


def test_one_pair_has_no_wrong_answer():
    assert info_nce(torch.tensor([[3.0]]), hardness=0.5).item() == 0


def test_the_scale_stays_below_a_hundred_in_training_alone():
    log_scale = torch.nn.Parameter(torch.tensor(6.0))
    assert inverse_temperature(log_scale, training=False).item() == pytest.approx(math.exp(6), rel=1e-5)
    scale = inverse_temperature(log_scale, training=True)
    assert scale.item() == pytest.approx(100, rel=1e-5)
    scale.backward()
    assert log_scale.grad.item() == pytest.approx(100, rel=1e-5)
