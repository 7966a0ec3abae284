"""The catalyser and its losses, against loops over single vectors."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from cmr_hub import METHODS, SpreadingVectorsConfig, SpreadingVectorsModel
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.indexes.quantizers.spreading_vectors.modeling_spreading_vectors import koleo_loss, rank_loss


def make_model(**settings):
    torch.manual_seed(0)
    sizes = {"input_dim": 7, "hidden_dim": 9, "output_dim": 4}
    return SpreadingVectorsModel(SpreadingVectorsConfig(**{**sizes, **settings}))


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def test_rank_loss_one_triplet_at_a_time():
    x, near, far = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0))
    slow = sum(max(0, distance(x[i], near[i]) - distance(x[i], far[i])) for i in range(20)) / 20
    assert rank_loss(x, near, far).item() == pytest.approx(slow, rel=1e-5)


def test_koleo_one_point_at_a_time():
    points = F.normalize(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)))
    slow = -sum(math.log(min(distance(points[i], points[j]) for j in range(20) if j != i)) for i in range(20)) / 20
    assert koleo_loss(points).item() == pytest.approx(slow, rel=1e-5)


def test_copies_leave_the_losses_finite():
    points = F.normalize(torch.randn(6, 5)).repeat(2, 1).requires_grad_()
    loss = koleo_loss(points) + rank_loss(points, points.detach(), points)
    loss.backward()
    assert loss.isfinite()
    assert points.grad.isfinite().all()


def test_koleo_falls_as_points_spread():
    bunched = F.normalize(torch.randn(64, 3) * 0.1 + 1)
    even = F.normalize(torch.randn(64, 3))
    assert koleo_loss(even) < koleo_loss(bunched)


def test_objective_weighs_its_terms():
    model = make_model(koleo=0.3)
    output = model(*torch.randn(3, 8, 7))
    torch.testing.assert_close(output.loss, output.loss_terms["rank"] + 0.3 * output.loss_terms["koleo"])
    output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_anchors_positives_and_negatives_are_normalised_apart():
    model = make_model().train()
    groups = torch.randn(3, 8, 7)
    groups[2] += 5  # hard negatives that lie elsewhere
    first, norm1, _, second, norm2, _, last = model.layers

    def normalised(rows, norm):
        return (rows - rows.mean(dim=0)) / (rows.var(dim=0, correction=0) + norm.eps).sqrt()

    def spread(rows):
        hidden = F.relu(normalised(second(F.relu(normalised(first(rows), norm1))), norm2))
        return F.normalize(last(hidden))

    x, near, far = (spread(rows) for rows in groups)
    output = model(*groups)
    torch.testing.assert_close(output.outputs, x)
    torch.testing.assert_close(output.loss_terms["rank"], rank_loss(x, near, far))


def test_outputs_are_the_layers_of_the_paper():
    model = make_model().eval()
    x = torch.randn(8, 7)
    first, norm1, _, second, norm2, _, last = model.layers
    hidden = F.relu(norm2(second(F.relu(norm1(first(x))))))
    torch.testing.assert_close(model(x).outputs, F.normalize(last(hidden)))


def test_spheres_have_equal_parts():
    outputs = make_model(output_dim=6, spheres=3)(torch.randn(8, 7)).outputs
    torch.testing.assert_close(outputs.reshape(8, 3, 2).norm(dim=2), torch.full((8, 3), 3**-0.5))


def test_arrays_are_spread_as_tensors_are():
    model = make_model().train()
    x = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    outputs = model.catalyse(x)
    assert model.training
    np.testing.assert_allclose(outputs, model.eval()(torch.from_numpy(x)).outputs.detach(), atol=1e-6)
    assert model.catalyse(x[:0]).shape == (0, 4)
    with pytest.raises(InputError, match="width 7"):
        model.catalyse(x[:, :5])


def test_saved_and_loaded_by_the_auto_classes(tmp_path):
    model = make_model()
    model(*torch.randn(3, 8, 7))  # moves the batch norms' statistics
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), SpreadingVectorsConfig)
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, SpreadingVectorsModel)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_missing_weights_are_an_error(tmp_path):
    make_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["layers.1.running_mean"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="running_mean"):
        SpreadingVectorsModel.from_pretrained(tmp_path, verify=False)


def test_it_is_no_method():
    assert "spreading_vectors" not in METHODS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_dim": 25, "spheres": 2}, "25.*2 spheres"),
        ({"koleo": -0.1}, "koleo"),
        ({"hidden_dim": 0}, "hidden_dim"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(StrictDataclassError) as error:
        SpreadingVectorsConfig(**settings)
    assert error.match(message) or pytest.fail(str(error.value))
