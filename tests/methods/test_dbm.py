"""The Boltzmann machine against loops, and against enumeration of one small enough to be known exactly."""

import itertools
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.dbm import DBMConfig, DBMModel
from cmr_hub.methods.dbm.modeling_dbm import FitCentres, States

IMAGE, TEXT, HIDDEN, JOINT = 3, 2, 2, 2


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = DBMModel(DBMConfig(image_dim=IMAGE, text_dim=TEXT, hidden_dim=HIDDEN, embed_dim=JOINT))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model.double().eval()


def rows(*tensors):
    return [tensor.double() for tensor in tensors]


def random_states(n):
    binary = [torch.randint(0, 2, (n, units)) for units in (HIDDEN, HIDDEN, JOINT)]
    return States(*rows(torch.randn(n, IMAGE), torch.randn(n, TEXT), *binary))


def slow_energy(model, image, text, image_hidden, text_hidden, joint):
    """Straight from the equation, unit by unit."""
    energy = -sum(model.joint_bias[m] * joint[m] for m in range(JOINT))
    for path, v, h in ((model.image_pathway, image, image_hidden), (model.text_pathway, text, text_hidden)):
        energy += sum((v[i] - path.visible_bias[i]) ** 2 / 2 for i in range(len(v)))
        energy -= sum(path.hidden_bias[k] * h[k] for k in range(HIDDEN))
        for k in range(HIDDEN):
            energy -= sum(v[i] * path.weight[i, k] * (h[k] - 0.5) for i in range(len(v)))
            energy -= sum((h[k] - 0.5) * path.joint_weight[k, m] * (joint[m] - 0.5) for m in range(JOINT))
    return energy.item()


def every_binary_state():
    """All states of both hidden layers and the joint layer, `(states, units)` each."""
    table = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2 * HIDDEN + JOINT)), dtype=torch.float64)
    return table.split([HIDDEN, HIDDEN, JOINT], dim=1)


def negative_energy_without_visible(model, image_hidden, text_hidden, joint):
    """log of the integral of exp(-E) over both visible layers, which are Gaussian, by its closed form."""
    total = joint @ model.joint_bias
    for path, h in ((model.image_pathway, image_hidden), (model.text_pathway, text_hidden)):
        pull = (h - 0.5) @ path.weight.T
        total = total + h @ path.hidden_bias + (((h - 0.5) @ path.joint_weight) * (joint - 0.5)).sum(1)
        total = (
            total + pull @ path.visible_bias + pull.square().sum(1) / 2 + len(path.weight) / 2 * math.log(2 * math.pi)
        )
    return total


def spread(model, image, text):
    """One row of visible units against all binary states."""
    hidden = every_binary_state()
    n = len(hidden[0])
    return States(image.expand(n, -1), text.expand(n, -1), *hidden)


def test_energy_against_a_loop(model):
    states = random_states(6)
    slow = [slow_energy(model, *(tensor[row] for tensor in states)) for row in range(6)]
    torch.testing.assert_close(model.energy(states), torch.tensor(slow, dtype=torch.float64))


def test_the_integral_over_visible_units_is_right(model):
    """The test's own closed form, against a sum over a fine grid of the one-dimensional case."""
    small = DBMModel(DBMConfig(image_dim=1, text_dim=1, hidden_dim=HIDDEN, embed_dim=JOINT)).double()
    for parameter in small.parameters():
        parameter.data.normal_()
    grid = torch.linspace(-12, 12, 601, dtype=torch.float64)
    image, text = (axis.reshape(-1, 1) for axis in torch.meshgrid(grid, grid, indexing="ij"))
    hidden = [layer[[13]] for layer in every_binary_state()]
    energies = small.energy(States(image, text, *(layer.expand(len(image), -1) for layer in hidden)))
    integral = torch.logsumexp(-energies, 0) + 2 * torch.log(grid[1] - grid[0])
    torch.testing.assert_close(negative_energy_without_visible(small, *hidden)[0], integral, atol=1e-6, rtol=1e-6)


def test_conditional_probabilities_against_enumeration(model):
    states = random_states(1)
    # P(h | v, j) and P(j | h): the shares of the states that agree with what is given.
    for given, units, mean in (
        ((2, 3), 4, model.joint_mean(states.image_hidden, states.text_hidden)),
        ((3, 4), 2, model.image_pathway.hidden_mean(states.image, states.joint)),
        ((2, 4), 3, model.text_pathway.hidden_mean(states.text, states.joint)),
    ):
        table = spread(model, states.image, states.text)
        agree = torch.stack([(table[layer] == states[layer]).all(1) for layer in given]).all(0)
        weights = torch.softmax(-model.energy(table), 0) * agree
        torch.testing.assert_close(mean[0], weights @ table[units] / weights.sum())


def test_visible_units_lie_where_the_energy_is_least(model):
    states = random_states(4)
    means = model.image_pathway.visible_mean(states.image_hidden), model.text_pathway.visible_mean(states.text_hidden)
    visible = [mean.detach().requires_grad_() for mean in means]
    energy = model.energy(States(*visible, *states[2:])).sum()
    for gradient in torch.autograd.grad(energy, visible):
        assert gradient.abs().max() < 1e-12


def test_the_surrogates_gradient_is_that_of_the_likelihood_where_samples_are_exact(model):
    image, text = rows(torch.randn(1, IMAGE), torch.randn(1, TEXT))
    table, hidden = spread(model, image, text), every_binary_state()
    # The exact likelihood of one pair, through the enumerated partition function.
    log_z = torch.logsumexp(negative_energy_without_visible(model, *hidden), 0)
    loss = log_z - torch.logsumexp(-model.energy(table), 0)
    exact = torch.autograd.grad(loss, list(model.parameters()))
    # The surrogate: energy of the data's states less that of the model's, both weighted by their probabilities.
    with torch.no_grad():
        of_data = torch.softmax(-model.energy(table), 0)
        of_model = torch.softmax(negative_energy_without_visible(model, *hidden), 0)
        fantasies = States(
            model.image_pathway.visible_mean(hidden[0]), model.text_pathway.visible_mean(hidden[1]), *hidden
        )
    surrogate = of_data @ model.energy(table) - of_model @ model.energy(fantasies)
    for mine, theirs in zip(torch.autograd.grad(surrogate, list(model.parameters())), exact, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_long_chains_sample_the_models_distribution(model):
    torch.manual_seed(3)
    n, hidden = 20_000, every_binary_state()
    model.config.gibbs_steps = 30
    start = random_states(1)
    fantasies = model.train().fantasise(States(*(tensor.expand(n, -1) for tensor in start)))
    weights = torch.softmax(negative_energy_without_visible(model, *hidden), 0)
    torch.testing.assert_close(fantasies.joint.mean(0), weights @ hidden[2], atol=0.02, rtol=0)
    torch.testing.assert_close(fantasies.image_hidden.mean(0), weights @ hidden[0], atol=0.02, rtol=0)
    expected = weights @ model.text_pathway.visible_mean(hidden[1])
    torch.testing.assert_close(fantasies.text.mean(0), expected, atol=0.04, rtol=0)


def test_mean_field_is_exact_where_layers_do_not_interact(model):
    for path in (model.image_pathway, model.text_pathway):
        path.joint_weight.data.zero_()
    image, text = rows(torch.randn(1, IMAGE), torch.randn(1, TEXT))
    table = spread(model, image, text)
    posterior = torch.softmax(-model.energy(table), 0)
    for mean, layer in zip(model.infer(image, text)[2:], table[2:], strict=True):
        torch.testing.assert_close(mean[0], posterior @ layer)


@pytest.mark.parametrize("given", ["both", "image"])
def test_mean_field_settles_where_every_mean_is_what_the_others_make_of_it(model, given):
    model.config.mean_field_steps = 500
    for parameter in model.parameters():
        parameter.data *= 0.5
    image, text = rows(torch.randn(4, IMAGE), torch.randn(4, TEXT))
    states = model.infer(image, text if given == "both" else None)
    assert states.image is image
    torch.testing.assert_close(states.joint, model.joint_mean(states.image_hidden, states.text_hidden))
    torch.testing.assert_close(states.text_hidden, model.text_pathway.hidden_mean(states.text, states.joint))
    if given == "image":
        torch.testing.assert_close(states.text, model.text_pathway.visible_mean(states.text_hidden))


def test_chance_is_torchs_in_training_and_absent_in_evaluation(model):
    pairs = rows(torch.randn(5, IMAGE), torch.randn(5, TEXT))
    generator = torch.get_rng_state()
    torch.testing.assert_close(model(*pairs).loss, model(*pairs).loss)
    assert torch.equal(torch.get_rng_state(), generator)
    model.train()
    first, second = model(*pairs).loss, model(*pairs).loss
    torch.set_rng_state(generator)
    assert not torch.isclose(first, second)
    torch.testing.assert_close(model(*pairs).loss, first)


def test_the_loss_is_the_difference_of_energies_and_reaches_every_weight(model):
    torch.manual_seed(0)
    output = model.train()(*rows(torch.randn(8, IMAGE), torch.randn(8, TEXT)))
    terms = output.loss_terms
    torch.testing.assert_close(output.loss, terms["data_energy"] - terms["model_energy"])
    output.loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_embeddings_are_centred_on_the_training_items(model):
    pairs = rows(torch.randn(50, IMAGE), torch.randn(50, TEXT))
    loader = torch.utils.data.DataLoader(Both(*pairs), batch_size=7)
    for _ in range(2):  # a second time changes nothing
        FitCentres().on_epoch_end(None, None, None, model=model, train_dataloader=loader)
        assert model.get_image_features(pairs[0]).mean(0).abs().max() < 1e-12
        assert model.get_text_features(pairs[1]).mean(0).abs().max() < 1e-12
    torch.testing.assert_close(
        model.get_text_features(pairs[1]) + model.text_centre, model.infer(None, pairs[1]).joint
    )


class Both(torch.utils.data.Dataset):
    def __init__(self, image, text):
        self.tensors = {"image_features": image, "text_features": text}

    def __getitem__(self, index):
        return {name: tensor[index] for name, tensor in self.tensors.items()}

    def __len__(self):
        return len(self.tensors["image_features"])


def test_initial_weights_are_small_and_biases_zero():
    model = DBMModel(DBMConfig(image_dim=50, text_dim=40))
    assert 0.009 < model.image_pathway.weight.std() < 0.011
    assert not model.text_pathway.hidden_bias.any()


@pytest.mark.parametrize("name", ["hidden_dim", "gibbs_steps", "mean_field_steps"])
def test_settings_that_cannot_be(name):
    with pytest.raises(StrictDataclassError, match=f"{name} must be at least 1, and is 0"):
        DBMConfig(**{name: 0})
