"""GMA's scatters against loops over items, and its eigenvectors against other solvers."""

import numpy as np
import pytest
import scipy.linalg
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.errors import NotFittedError
from cmr_hub.methods.gma import GMAConfig, GMAModel
from cmr_hub.methods.gma.modeling_gma import (
    class_means,
    class_scatter,
    marginal_scatter,
    nearest_neighbor_graph,
    trace_ratio,
)

N, CLASSES = 60, 3


@pytest.fixture
def pairs():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[torch.arange(N) % CLASSES]
    image = labels @ torch.randn(CLASSES, 6) + torch.randn(N, 6) + 2
    return image, labels @ torch.randn(CLASSES, 4) + torch.randn(N, 4), labels


@pytest.fixture
def multi_hot(pairs):
    image, _, labels = pairs
    labels = labels.clone()
    labels[::7, 2] = 1  # some of two classes
    labels[5] = 0  # and one of none
    return image.double(), labels.double()


def make_model(**settings):
    return GMAModel(GMAConfig(**{"image_dim": 6, "text_dim": 4, "embed_dim": 2, "num_labels": CLASSES, **settings}))


def centred(pairs):
    image, text, labels = (tensor.double() for tensor in pairs)
    return image - image.mean(0), text - text.mean(0), labels


def test_class_scatter_counts_an_item_in_each_of_its_classes(multi_hot):
    x, labels = multi_hot
    members = [[x[i].numpy() for i in range(N) if labels[i, c]] for c in range(CLASSES)]
    count = sum(map(len, members))
    centre = sum(sum(rows) for rows in members) / count
    means = [sum(rows) / len(rows) for rows in members]
    between = sum(len(r) * np.outer(m - centre, m - centre) for r, m in zip(members, means, strict=True)) / count
    within = sum(np.outer(v - m, v - m) for r, m in zip(members, means, strict=True) for v in r) / count
    a, b = class_scatter(x, labels)
    np.testing.assert_allclose(a, between, atol=1e-12)
    np.testing.assert_allclose(b, within, atol=1e-12)


def test_a_class_without_items_has_no_mean(pairs):
    image, _, labels = pairs
    means, counts = class_means(image, torch.cat([labels, torch.zeros(N, 1)], dim=1))
    assert means.shape == (CLASSES, 6)
    assert counts.tolist() == [20, 20, 20]


def slow_graph(x, labels, k, same):
    graph = np.zeros((N, N))
    for i in range(N):
        allowed = [j for j in range(N) if j != i and bool((labels[i] * labels[j]).any()) == same]
        for j in sorted(allowed, key=lambda j: np.linalg.norm(x[i] - x[j]))[:k]:
            graph[i, j] = graph[j, i] = 1
    return graph


def test_graphs_join_each_item_to_its_nearest(multi_hot):
    x, labels = multi_hot
    for k, same in ((3, True), (4, False), (1000, True)):
        graph = nearest_neighbor_graph(x, labels, k, same)
        np.testing.assert_array_equal(graph.toarray(), slow_graph(x.numpy(), labels.numpy(), k, same))


def test_marginal_scatter_sums_differences_along_edges(multi_hot):
    x, labels = multi_hot
    for found, k, same in zip(marginal_scatter(x, labels, 3, 4), (4, 3), (False, True), strict=True):
        graph, slow = slow_graph(x.numpy(), labels.numpy(), k, same), np.zeros((6, 6))
        for i, j in np.argwhere(graph):
            slow += np.outer(x[i] - x[j], x[i] - x[j]) / 2
        np.testing.assert_allclose(found, slow / graph.sum(), atol=1e-12)


@pytest.mark.parametrize("variant", ["lda", "mfa"])
@pytest.mark.parametrize("coupling", ["pairs", "class_means"])
def test_projections_solve_the_joint_problem(pairs, variant, coupling):
    settings = {"alpha": 3.0, "mu": 0.7, "gamma": 2.0, "regularization": 0.2}
    model = make_model(variant=variant, coupling=coupling, **settings).fit(*pairs)
    x, y, labels = centred(pairs)
    measure = class_scatter if variant == "lda" else lambda z, labels: marginal_scatter(z, labels, 5, 20)
    (a1, b1), (a2, b2) = measure(x, labels), measure(y, labels)
    if coupling == "class_means":  # every item replaced by the mean of its class
        z1, z2 = (labels @ class_means(z, labels)[0] for z in (x, y))
    else:
        z1, z2 = x, y
    cross = 3.0 * z1.T @ z2 / N
    left = np.block([[a1.numpy(), cross.numpy()], [cross.T.numpy(), 0.7 * a2.numpy()]])
    b1 = b1 + 0.2 * x.var(0, correction=0).mean() * torch.eye(6)
    b2 = b2 + 0.2 * y.var(0, correction=0).mean() * torch.eye(4)
    right = scipy.linalg.block_diag(b1.numpy(), 2.0 * b2.numpy())
    # A general solver on B^-1 A, which knows nothing of symmetry.
    values = np.sort(scipy.linalg.eigvals(np.linalg.solve(right, left)).real)[::-1]
    np.testing.assert_allclose(model.eigenvalues, values[:2], rtol=1e-5)
    v = torch.cat([model.image_projection, model.text_projection]).double().numpy()
    np.testing.assert_allclose(left @ v, right @ v * model.eigenvalues.numpy(), atol=1e-4 * values[0])
    np.testing.assert_allclose(v.T @ right @ v, np.eye(2), atol=1e-5)


def test_no_direction_does_better_than_the_first(pairs):
    model = make_model().fit(*pairs)
    left, right = model._problem(*centred(pairs))
    v = torch.randn(10, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([v], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = -(v @ left @ v) / (v @ right @ v)
        loss.backward()
        return loss

    assert -optimiser.step(closure) <= model.eigenvalues[0].item() + 1e-5
    assert -closure().item() == pytest.approx(model.eigenvalues[0].item(), rel=1e-4)


def test_a_view_and_its_copy_give_the_subspace_of_linear_discriminant_analysis(pairs):
    discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis")
    image, _, labels = pairs
    model = make_model(text_dim=6, regularization=1e-9).fit(image, image, labels)
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen").fit(
        image.double().numpy(), labels.argmax(1).numpy()
    )
    torch.testing.assert_close(model.image_projection, model.text_projection, atol=1e-5, rtol=1e-4)
    angles = scipy.linalg.subspace_angles(model.image_projection.double().numpy(), theirs.scalings_[:, :2])
    assert angles.max() < 1e-4


def test_by_default_both_sides_weigh_the_same(pairs):
    image, text, labels = pairs
    left, right = make_model()._problem(*centred((image, 100 * text, labels)))
    assert left[:6, :6].trace().item() == pytest.approx(left[6:, 6:].trace().item())
    assert right[:6, :6].trace().item() == pytest.approx(right[6:, 6:].trace().item())


def test_the_ratio_of_traces_can_weigh_zeros():
    ratio = trace_ratio(torch.eye(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
    assert torch.isfinite(ratio)


def test_classes_that_all_items_share_are_solved(pairs):
    model = make_model(variant="mfa").fit(*pairs[:2], torch.ones(N, CLASSES))
    assert torch.isfinite(model.get_image_features(pairs[0])).all()


def test_a_constant_feature_does_no_harm(pairs):
    image, text, labels = pairs
    image[:, 2] = 7.0
    assert torch.isfinite(make_model().fit(image, text, labels).image_projection).all()


def test_unfitted_is_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        make_model().get_text_features(torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 11}, r"image_dim \+ text_dim = 10 eigenvectors; embed_dim is 11"),
        ({"alpha": -1.0}, "alpha must be at least 0, and is -1.0"),
        ({"gamma": 0.0}, "gamma must be above 0, and is 0.0"),
        ({"within_neighbors": 0}, "within_neighbors must be at least 1, and is 0"),
        ({"variant": "pca"}, "variant"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_model(**settings)
