"""SePH's objective against loops over items, its gradient against autograd and differences, its regressions' parts."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from closeness import assert_alike
from cmr_hub.errors import InputError, NotFittedError
from cmr_hub.methods.seph import SePHConfig, SePHModel
from cmr_hub.methods.seph.modeling_seph import (
    code_objective,
    k_means,
    label_sets,
    minimise,
    pair_counts,
    rbf,
    semantic_distribution,
)

N, CLASSES, BITS = 60, 3, 8
DIMS = {"image_dim": 6, "text_dim": 4}


@pytest.fixture(scope="module")
def pairs():
    """Three classes that both sides tell apart; some items of two classes, and one of none."""
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[torch.arange(N) % CLASSES]
    image = labels @ torch.randn(CLASSES, 6) + 0.2 * torch.randn(N, 6)
    text = labels @ torch.randn(CLASSES, 4) + 0.2 * torch.randn(N, 4)
    labels[::7, 2] = 1
    labels[5] = 0
    return image, text, labels


@pytest.fixture
def problem(pairs):
    """P and M of the sets, in float64, and relaxed codes."""
    sets, counts, _ = label_sets(pairs[2].double(), most=100)
    count = pair_counts(counts.double())
    return torch.randn(len(sets), BITS, dtype=torch.float64), semantic_distribution(sets, count), count


def make_model(**settings):
    toy = {**DIMS, "embed_dim": BITS, "num_labels": CLASSES, "anchors": 20, "regularization": 1e-2}
    return SePHModel(SePHConfig(**{**toy, **settings}))


def fitted(pairs, seed=0, **settings):
    torch.manual_seed(seed)
    return make_model(**settings).fit(*pairs)


@pytest.fixture(scope="module")
def model(pairs):
    return fitted(pairs)


def slow_objective(codes, labels, alpha):
    """From the equations, over all ordered pairs of items, each with a code of its own."""
    n, bits = codes.shape
    others = [(i, j) for i in range(n) for j in range(n) if i != j]
    affinity = {(i, j): float(labels[i] @ labels[j] / labels[i].norm() / labels[j].norm()) for i, j in others}
    close = {(i, j): 1 / (1 + float((codes[i] - codes[j]).square().sum()) / 4) for i, j in others}
    value = 0.0
    for pair in others:
        p, q = affinity[pair] / sum(affinity.values()), close[pair] / sum(close.values())
        value += p * math.log(p / q) if p else 0.0
    return value + alpha / (n * bits) * sum((abs(float(h)) - 1) ** 2 for h in codes.flatten())


def test_label_sets_are_counted_and_those_of_no_class_left_out(pairs):
    labels = pairs[2]
    sets, counts, member = label_sets(labels, most=100)
    assert not (sets == 0).all(dim=1).any()
    assert len({tuple(row) for row in sets.tolist()}) == len(sets)
    assert (counts[1:] <= counts[:-1]).all()
    assert [i for i in range(N) if member[i] < 0] == [5]
    for i in set(range(N)) - {5}:
        assert torch.equal(sets[member[i]], labels[i])
    assert counts.tolist() == [(member == u).sum() for u in range(len(sets))]


def test_of_too_many_label_sets_the_commonest_stay(pairs):
    sets, counts, _ = label_sets(pairs[2], most=100)
    fewer, fewer_counts, member = label_sets(pairs[2], most=2)
    assert torch.equal(fewer, sets[:2])
    assert torch.equal(fewer_counts, counts[:2])
    assert (member >= 0).sum() == counts[:2].sum()


def test_the_objective_over_sets_is_that_over_all_pairs_of_items(pairs, problem):
    codes, semantic, count = problem
    _, _, member = label_sets(pairs[2].double(), most=100)
    of_a_class = member >= 0
    slow = slow_objective(codes[member[of_a_class]], pairs[2].double()[of_a_class], alpha=0.3)
    assert code_objective(codes, semantic, count, 0.3)[0].item() == pytest.approx(slow, rel=1e-10)


def test_with_one_item_a_set_it_is_the_papers():
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.float64)
    codes = torch.randn(4, BITS, dtype=torch.float64)
    count = pair_counts(torch.ones(4, dtype=torch.float64))
    assert torch.equal(count, 1 - torch.eye(4, dtype=torch.float64))
    found = code_objective(codes, semantic_distribution(labels, count), count, 0.0)[0].item()
    assert found == pytest.approx(slow_objective(codes, labels, 0.0), rel=1e-10)


def test_the_gradient_is_autograds(problem):
    codes, semantic, count = problem
    codes.requires_grad_()
    value, gradient = code_objective(codes, semantic, count, 0.3)
    torch.testing.assert_close(gradient, torch.autograd.grad(value, codes)[0], rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences(problem):
    codes, semantic, count = problem
    gradient, step = code_objective(codes, semantic, count, 0.3)[1], 1e-6
    for u in range(len(codes)):
        for bit in range(BITS):
            ends = []
            for sign in (1, -1):
                moved = codes.clone()
                moved[u, bit] += sign * step
                ends.append(code_objective(moved, semantic, count, 0.3)[0].item())
            assert gradient[u, bit].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


def test_the_divergence_is_never_negative_and_zero_where_distances_say_all(problem):
    codes, _, count = problem
    same = torch.eye(len(codes), dtype=torch.float64)
    semantic = semantic_distribution(same, count)
    assert code_objective(codes, semantic, count, 0.0)[0] > 0
    far = 1e6 * torch.eye(len(codes), BITS, dtype=torch.float64)
    assert code_objective(far, semantic, count, 0.0)[0].item() == pytest.approx(0, abs=1e-9)


def test_each_step_lowers_the_objective(problem):
    codes, semantic, count = problem
    values = [
        code_objective(
            minimise(lambda h: code_objective(h, semantic, count, 0.01), codes, steps), semantic, count, 0.01
        )[0].item()
        for steps in range(12)
    ]
    assert all(after < before for before, after in pairwise(values))


def test_the_search_ends_where_the_gradient_vanishes(problem):
    codes, semantic, count = problem
    found = minimise(lambda h: code_objective(h, semantic, count, 0.1), codes, 1000)
    assert code_objective(found, semantic, count, 0.1)[1].abs().max() < 1e-4


def test_items_of_like_classes_get_like_codes():
    torch.manual_seed(0)
    sets = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    signs = make_model(embed_dim=64)._codes(sets, torch.full((4,), 25)).sign()
    distance = (64 - signs @ signs.T) / 2
    assert distance[0, 1] < distance[0, 2]
    assert distance[0, 1] < distance[1, 3]
    assert distance[2, 3] > 24


def test_kernel_features_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    x, anchors, bandwidth = torch.randn(40, 5).double(), torch.randn(7, 5).double(), torch.tensor(1.7)
    theirs = metrics.pairwise.rbf_kernel(x, anchors, gamma=1 / (2 * 1.7**2))
    np.testing.assert_allclose(rbf(x, anchors, bandwidth), theirs, rtol=1e-6)


def test_k_means_is_scikit_learns():
    cluster = pytest.importorskip("sklearn.cluster")
    torch.manual_seed(0)
    data = torch.randn(200, 3).double()
    theirs = cluster.KMeans(6, init=data[:6].numpy(), n_init=1, max_iter=300, tol=0).fit(data.numpy())
    np.testing.assert_allclose(k_means(data, data[:6], 300), theirs.cluster_centers_, rtol=1e-9)


def test_a_centre_without_items_stays():
    data = torch.tensor([[0.0], [1.0]])
    assert k_means(data, torch.tensor([[0.2], [0.9], [50.0]]), 3).tolist() == [[0.0], [1.0], [50.0]]


@pytest.mark.parametrize("anchor_choice", ["random", "k_means"])
def test_each_side_alone_predicts_the_codes(pairs, anchor_choice):
    model = fitted(pairs, anchor_choice=anchor_choice)
    of_one_class = pairs[2].sum(dim=1) == 1
    labels = pairs[2][of_one_class]
    for embed, features in ((model.get_image_features, pairs[0]), (model.get_text_features, pairs[1])):
        bits = embed(features[of_one_class]) > 0
        # The code of most items of a class is the code of that class.
        usual = torch.stack([bits[labels[:, c] > 0].float().mean(dim=0) > 0.5 for c in range(CLASSES)])
        assert (bits == usual[labels.argmax(dim=1)]).float().mean() > 0.9
        assert len(usual.unique(dim=0)) == CLASSES


def test_the_two_sides_predict_one_code(pairs, model):
    agree = (model.get_image_features(pairs[0]) > 0) == (model.get_text_features(pairs[1]) > 0)
    assert agree.float().mean() > 0.9


def test_the_code_of_both_sides_is_that_of_the_product_of_their_probabilities(pairs, model):
    embeds = model.embed(image_features=pairs[0], text_features=pairs[1])
    image, text = (f.double().sigmoid() for f in embeds.to_tuple())
    joint = image * text / (image * text + (1 - image) * (1 - text))
    unified = model.get_pair_features(*pairs[:2])
    torch.testing.assert_close(unified.double().sigmoid(), joint, rtol=1e-4, atol=1e-6)
    assert unified.shape == (N, BITS)


def test_buffers_have_the_sizes_of_the_config_whatever_the_data(pairs):
    sizes = {name: buffer.shape for name, buffer in make_model(anchors=70).named_buffers()}
    for choice in ("random", "k_means"):
        model = fitted(pairs, anchors=70, anchor_choice=choice)  # of 60 items
        assert {name: buffer.shape for name, buffer in model.named_buffers()} == sizes
        assert torch.isfinite(model.get_image_features(pairs[0])).all()


def test_random_anchors_are_training_items(pairs, model):
    anchors = model.image_anchors
    distances = (anchors[:, None] - pairs[0]).norm(dim=2)  # cdist cancels digits
    assert (distances.min(dim=1).values < 1e-5).all()
    assert len(anchors.unique(dim=0)) == 20  # none twice where there are enough


def test_an_item_without_a_class_takes_no_part(pairs, model):
    kept = [i for i in range(N) if i != 5]
    without = fitted(tuple(tensor[kept] for tensor in pairs))
    torch.testing.assert_close(model.get_image_features(pairs[0]), without.get_image_features(pairs[0]))


def test_the_seed_decides(pairs, model):
    assert_alike(fitted(pairs).text_weight, model.text_weight)
    assert not torch.allclose(fitted(pairs, seed=1).text_weight, model.text_weight, atol=1e-3)


@pytest.mark.parametrize(
    "labels",
    [
        torch.ones(4, 3),
        torch.eye(3)[[0, 1, 2, 2]] * torch.tensor([[1.0], [1], [1], [0]]),  # no two share a class
        torch.eye(3)[[0, 0, 1, 1]],
    ],
    ids=["all share all", "none share any", "one class is absent"],
)
def test_degenerate_labels_give_finite_codes(labels):
    torch.manual_seed(0)
    model = make_model().fit(torch.randn(4, 6), torch.randn(4, 4), labels)
    assert torch.isfinite(model.get_pair_features(torch.randn(9, 6), torch.randn(9, 4))).all()


def test_features_that_are_constant_among_items_with_a_class_are_finite():
    image, text, labels = torch.ones(6, 6), torch.randn(6, 4), torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    image[0], labels[0] = 0.0, 0.0
    model = make_model().fit(image, text, labels)
    assert torch.isfinite(model.get_image_features(image)).all()


def test_one_item_with_a_class_is_not_enough():
    labels = torch.zeros(4, 3)
    labels[1, :2] = 1
    with pytest.raises(InputError, match="two at least must have a class, not 1"):
        make_model().fit(torch.randn(4, 6), torch.randn(4, 4), labels)


def test_unfitted_is_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        make_model().get_pair_features(torch.zeros(1, 6), torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 12}, "A code has a multiple of 8 bits"),
        ({"alpha": -1.0}, "alpha must be at least 0, and is -1.0"),
        ({"label_sets": 1}, "label_sets must be at least 2, and is 1"),
        ({"anchors": 0}, "anchors must be at least 1, and is 0"),
        ({"regularization": 0.0}, "regularization must be above 0, and is 0.0"),
        ({"anchor_choice": "grid"}, "anchor_choice"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_model(**settings)
