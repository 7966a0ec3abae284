"""UDCMH: its factorisation against loops and exhaustive search, and how codes and networks take turns."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from closeness import assert_signs
from cmr_hub.methods.udcmh import UDCMHConfig, UDCMHModel
from cmr_hub.methods.udcmh.factorisation import (
    BinaryFactors,
    centred_rows,
    independent_groups,
    modality_weights,
    neighbour_affinities,
)
from cmr_hub.methods.udcmh.modeling_udcmh import SolveCodes
from cmr_hub.training.datasets import Pairs

N, BITS = 40, 8


@pytest.fixture
def views():
    """Three clusters that both sides know, which also have much of their own."""
    torch.manual_seed(0)
    cluster = torch.arange(N) % 3
    return tuple(torch.randn(3, dim)[cluster] + 0.5 * torch.randn(N, dim) for dim in (7, 5))


def make_factors(views, **settings):
    torch.manual_seed(1)
    weights = {"laplacian_weight": 0.3, "network_weight": 0.2, "ridge": 0.01, "power": 2.0, **settings}
    factors = BinaryFactors.start(*(x.double() for x in views), bits=BITS, neighbours=4, **weights)
    return factors, [torch.randn(N, BITS, dtype=torch.double) for _ in views]


def slow_objective(factors, outputs, shares, us):
    """The objective at given weights and factors, item by item."""
    codes, total = factors.codes.tolist(), 0.0
    for share, features, joined, u in zip(shares, factors.features, factors.affinities, us, strict=True):
        error = factors.ridge * N * sum(x * x for row in u.tolist() for x in row)
        for i in range(N):
            for d in range(features.shape[1]):
                error += (features[i, d].item() - sum(codes[i][k] * u[k, d].item() for k in range(BITS))) ** 2
        dense = joined.to_dense()
        for i, j in itertools.product(range(N), repeat=2):
            inner = sum(a * b for a, b in zip(codes[i], codes[j], strict=True))
            error += factors.laplacian_weight * (2 * (i == j) - dense[i, j].item()) * inner
        total += share**factors.power * error
    for output in outputs:
        total += factors.network_weight * (factors.codes - output).square().sum().item()
    return total / N


def test_objective_by_loops(views):
    factors, outputs = make_factors(views)
    us = factors.factors()
    shares = modality_weights(factors.errors(us), factors.power).tolist()
    assert factors.objective(outputs).item() == pytest.approx(slow_objective(factors, outputs, shares, us), rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"laplacian_weight": 5.0}, {"laplacian_weight": 0.0}, {"power": 1.2}])
def test_the_objective_falls_at_every_step(views, settings):
    factors, outputs = make_factors(views, **settings)
    values = [factors.objective(outputs).item()]
    for _ in range(12):
        factors.update(outputs)
        values.append(factors.objective(outputs).item())
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(values))
    assert values[-1] < values[0] - 0.01


def test_factors_and_weights_are_the_best_for_the_codes(views):
    factors, outputs = make_factors(views)
    us = factors.factors()
    shares = modality_weights(factors.errors(us), factors.power).tolist()
    best = slow_objective(factors, outputs, shares, us)
    torch.manual_seed(3)
    for _ in range(5):
        moved = [u + 0.05 * torch.randn_like(u) for u in us]
        assert slow_objective(factors, outputs, shares, moved) > best
    for share in (0.2, 0.5, 0.8):
        assert slow_objective(factors, outputs, [share, 1 - share], us) >= best


def test_no_single_bit_would_be_better_flipped(views):
    factors, outputs = make_factors(views)
    for _ in range(50):
        factors.update(outputs)
    us = factors.factors()
    shares = modality_weights(factors.errors(us), factors.power).tolist()
    best = slow_objective(factors, outputs, shares, us)
    for item, bit in itertools.product(range(0, N, 20), range(0, BITS, 2)):
        factors.codes[item, bit] *= -1
        assert slow_objective(factors, outputs, shares, us) >= best
        factors.codes[item, bit] *= -1


def test_groups_part_all_items_and_hold_no_neighbours(views):
    joined = [graph for x in views for graph in neighbour_affinities(x, 4)]
    groups = independent_groups(*joined)
    assert sorted(torch.cat(groups).tolist()) == list(range(N))
    assert 1 < len(groups) < N
    for items in groups:
        for matrix in joined:
            assert not matrix.to_dense()[items][:, items].any()


def test_neighbours_by_loops(views):
    image = views[0].double()
    for farthest in (False, True):
        joined = [[0.0] * N for _ in range(N)]
        for i in range(N):
            likeness = {j: torch.cosine_similarity(image[i], image[j], dim=0).item() for j in range(N) if j != i}
            for j in sorted(likeness, key=likeness.get, reverse=not farthest)[:4]:
                joined[i][j] += 0.5
                joined[j][i] += 0.5
        degrees = [sum(row) for row in joined]
        slow = [[joined[i][j] / math.sqrt(degrees[i] * degrees[j]) for j in range(N)] for i in range(N)]
        found = neighbour_affinities(image, 4)[farthest].to_dense().double()
        torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.double), atol=1e-6, rtol=1e-5)
        assert torch.linalg.eigvalsh(found).abs().max() <= 1 + 1e-6


def test_few_items_have_fewer_neighbours():
    assert neighbour_affinities(torch.randn(3, 2), 10)[0].to_dense().count_nonzero() == 6


def test_constant_features_give_finite_codes():
    factors, _ = make_factors((torch.ones(N, 3), torch.ones(N, 2)))
    factors.update([])
    assert set(factors.codes.unique().tolist()) <= {-1.0, 1.0}
    assert torch.isfinite(factors.objective([]))


def test_rows_are_scaled_as_codes_are(views):
    rows = centred_rows(views[0], BITS)
    assert rows.mean(dim=0).abs().max() < 1e-5
    assert rows.square().sum(dim=1).mean().item() == pytest.approx(BITS, rel=1e-4)


def make_model(**settings):
    torch.manual_seed(1)
    return UDCMHModel(
        UDCMHConfig(image_dim=7, text_dim=5, embed_dim=BITS, hidden_dim=9, neighbours=4, **settings)
    ).train()


def begin(model, views, step=0):
    """What the Trainer does before the first step, and a callback as it then is."""
    loader = SimpleNamespace(dataset=Pairs(image_features=views[0], text_features=views[1]))
    state = SimpleNamespace(global_step=step)
    callbacks = model.training_callbacks()
    for callback in callbacks:
        callback.on_train_begin(None, state, None, model=model, train_dataloader=loader)
    return next(callback for callback in callbacks if isinstance(callback, SolveCodes))


def test_the_loss_is_the_distance_to_the_rows_codes(views):
    model = make_model()
    begin(model, views)
    rows = torch.tensor([5, 0, 11])
    output = model(views[0][rows], views[1][rows], rows=rows)
    image, text = model.get_image_features(views[0][rows]), model.get_text_features(views[1][rows])
    for name, embeds in (("image_regression", image), ("text_regression", text)):
        errors = [
            (embeds[i, k].item() - model.codes[row, k].item()) ** 2
            for i, row in enumerate(rows.tolist())
            for k in range(BITS)
        ]
        assert output.loss_terms[name].item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    torch.testing.assert_close(output.loss, sum(output.loss_terms.values()))


def test_items_without_a_code_are_held_against_the_nearest(views):
    model = make_model()
    begin(model, views)
    model.eval()
    output = model(*views, rows=torch.arange(N))
    slow = 0.0
    embeds = model.embed(image_features=views[0], text_features=views[1])
    for image, text in zip(embeds.image_embeds.tolist(), embeds.text_embeds.tolist(), strict=True):
        slow += sum(min((u - b) ** 2 + (v - b) ** 2 for b in (-1, 1)) for u, v in zip(image, text, strict=True))
    assert output.loss.item() == pytest.approx(slow / N / BITS, rel=1e-4)


def test_codes_follow_the_networks_from_the_second_epoch(views):
    model = make_model(network_weight=1e3, laplacian_weight=0.0)
    solver = begin(model, views)
    first = model.codes.clone()
    solver.on_epoch_begin(None, SimpleNamespace(global_step=0), None, model=model)
    assert torch.equal(model.codes, first)
    solver.on_epoch_begin(None, SimpleNamespace(global_step=2), None, model=model)
    assert_signs(model.codes, sum(model.outputs(*views)))


def test_a_resumed_training_starts_from_the_networks_codes(views):
    model = make_model(laplacian_weight=0.0)
    solver = begin(model, views, step=7)
    assert_signs(solver.factors.codes, sum(model.outputs(*views)))


def test_codes_of_the_training_items_are_not_saved(views, tmp_path):
    model = make_model()
    begin(model, views)
    model.save_pretrained(tmp_path)
    loaded = UDCMHModel.from_pretrained(tmp_path)
    assert "codes" not in model.state_dict()
    assert loaded.codes.shape == (0, BITS)
    assert torch.isfinite(loaded.train()(*views).loss)


def test_gradients_reach_every_weight(views):
    model = make_model()
    begin(model, views)
    model(*views, rows=torch.arange(N)).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_one_side_alone_needs_no_other(views):
    model = make_model()
    both = model(*views)
    torch.testing.assert_close(model(image_features=views[0]).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=views[1]).text_embeds, both.text_embeds)
    assert model(text_features=views[1]).loss is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbours": 0}, "neighbours must be at least 1, and is 0"),
        ({"laplacian_weight": -1.0}, "laplacian_weight must not be negative, and is -1.0"),
        ({"ridge": 0.0}, "ridge must be above 0, and is 0.0"),
        ({"side_power": 1.0}, "side_power must be above 1, and is 1.0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        UDCMHConfig(**settings)
