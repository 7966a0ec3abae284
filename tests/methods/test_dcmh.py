"""DCMH against loops over single pairs, straight from the paper's objective, and against all sign matrices."""

import itertools
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import TrainingArguments

from closeness import assert_alike, assert_signs
from cmr_hub import DCMHConfig, DCMHModel
from cmr_hub.evaluation import get_protocol
from cmr_hub.methods.dcmh.cnn_f import CNNF, LEAST_SIZE
from cmr_hub.methods.dcmh.modeling_dcmh import network_terms, unified_codes
from cmr_hub.training.datasets import Pairs
from cmr_hub.training.trainer import CMRTrainer

N, BITS, CLASSES = 6, 4, 3
GAMMA, ETA = 0.7, 1.3


@pytest.fixture
def labels():
    labels = torch.eye(CLASSES)[torch.tensor([0, 1, 2, 0, 1, 0])]
    labels[1, 2] = 1  # one item of two classes
    labels[5] = 0  # and one of none
    return labels


@pytest.fixture
def outputs():
    return torch.randn(2, N, BITS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def similarity(labels):
    return torch.tensor(
        [[float(any(x and y for x, y in zip(a, b, strict=True))) for b in labels] for a in labels], dtype=torch.float64
    )


def weighted(terms):
    return terms["likelihood"] + GAMMA * terms["quantisation"] + ETA * terms["balance"]


def slow_objective(image, text, codes, labels):
    """J of all items by the paper, item by item and bit by bit."""
    total, similar = 0.0, similarity(labels)
    for i in range(N):
        for j in range(N):
            theta = sum(image[i, k] * text[j, k] for k in range(BITS)) / 2
            total = total - (similar[i, j] * theta - torch.log(1 + torch.exp(theta)))
    for values in (image, text):
        for k in range(BITS):
            total = total + GAMMA * sum((codes[i, k] - values[i, k]) ** 2 for i in range(N))
            total = total + ETA * sum(values[i, k] for i in range(N)) ** 2
    return total


def test_both_networks_gradients_are_those_of_the_objective(outputs, labels):
    image, text = (values.clone().requires_grad_() for values in outputs)
    codes, similar = unified_codes(*outputs), similarity(labels)
    expected = torch.autograd.grad(slow_objective(image, text, codes, labels), (image, text))
    loss = weighted(network_terms(image, outputs[1], codes, similar))
    loss = loss + weighted(network_terms(text, outputs[0], codes, similar))
    found = torch.autograd.grad(loss, (image, text))
    for mine, slow in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, slow / N**2)


def test_the_terms_are_the_objectives(outputs, labels):
    image, text = outputs
    codes, similar = unified_codes(image, text), similarity(labels)
    of_image, of_text = network_terms(image, text, codes, similar), network_terms(text, image, codes, similar)
    # Who resembles whom is told by both networks together, and so is in the loss of each.
    torch.testing.assert_close(of_image["likelihood"], of_text["likelihood"])
    both = weighted(of_image) + weighted(of_text) - of_text["likelihood"]
    torch.testing.assert_close(both, slow_objective(image, text, codes, labels) / N**2)


def test_a_batch_is_held_against_all_items(outputs, labels):
    """The derivative for one item of a batch, whose sum over all items is estimated from the batch."""
    rows = torch.tensor([4, 0, 2])
    batch = outputs[0][rows].requires_grad_()
    codes, similar = unified_codes(*outputs), similarity(labels)
    loss = weighted(network_terms(batch, outputs[1], codes[rows], similar[rows]))
    (found,) = torch.autograd.grad(loss, batch)
    image, text = outputs
    for place, i in enumerate(rows.tolist()):
        for k in range(BITS):
            slow = 2 * GAMMA * (image[i, k] - codes[i, k]) + 2 * ETA * N * image[rows, k].mean()
            for j in range(N):
                theta = sum(image[i, bit] * text[j, bit] for bit in range(BITS)) / 2
                slow += (1 / (1 + math.exp(-theta)) - similar[i, j]) * text[j, k] / 2
            assert found[place, k].item() == pytest.approx(slow.item() / (len(rows) * N), abs=1e-12)


def test_gradients_against_finite_differences(outputs, labels):
    codes, similar = unified_codes(*outputs), similarity(labels)
    assert torch.autograd.gradcheck(
        lambda image: weighted(network_terms(image, outputs[1], codes, similar)), outputs[0].requires_grad_()
    )


def test_unified_codes_are_the_best_of_all_sign_matrices():
    image, text = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1))

    def cost(codes):
        return ((codes - image).square().sum() + (codes - text).square().sum()).item()

    every = (torch.tensor(signs).reshape(3, 3) for signs in itertools.product((-1.0, 1.0), repeat=9))
    best = min(every, key=cost)
    assert torch.equal(unified_codes(image, text), best)


def test_codes_have_no_third_value():
    assert unified_codes(torch.zeros(1, 2), torch.zeros(1, 2)).abs().tolist() == [[1, 1]]


def make_model(**settings):
    torch.manual_seed(1)
    settings = {"image_dim": 12, "text_dim": 5, "image_hidden_dim": 7, "text_hidden_dim": 9, **settings}
    return DCMHModel(DCMHConfig(embed_dim=8, num_labels=CLASSES, gamma=GAMMA, eta=ETA, **settings))


@pytest.fixture
def batch(labels):
    torch.manual_seed(2)
    return {"image_features": torch.randn(N, 12), "text_features": torch.randn(N, 5), "labels": labels}


def test_training_brings_the_buffers_up_to_date_and_learns_against_them(batch):
    model = make_model().train()
    model.begin_codes(**batch)
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if name.startswith("all_")}
    rows = torch.tensor([5, 1])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    output = model(**{name: tensor[rows] for name, tensor in batch.items()}, rows=rows)
    image, text = before["all_image_outputs"].clone(), before["all_text_outputs"].clone()
    embeds = model.embed(**{name: batch[name][rows] for name in ("image_features", "text_features")})
    image[rows], text[rows] = embeds.image_embeds.detach(), embeds.text_embeds.detach()
    torch.testing.assert_close(model.all_image_outputs, image)
    torch.testing.assert_close(model.all_text_outputs, text)
    assert torch.equal(model.all_codes, before["all_codes"])
    similar, codes = similarity(batch["labels"])[rows].float(), before["all_codes"][rows]
    expected = weighted(network_terms(embeds.image_embeds, text, codes, similar))
    expected = expected + weighted(network_terms(embeds.text_embeds, image, codes, similar))
    torch.testing.assert_close(output.loss, expected)
    model.solve_codes()
    assert_signs(model.all_codes, image + text)


def test_elsewhere_the_batch_stands_for_all_items(batch):
    model = make_model().eval()
    alone = model(**batch)
    embeds = model.embed(image_features=batch["image_features"], text_features=batch["text_features"])
    image, text = embeds.image_embeds.detach().double(), embeds.text_embeds.detach().double()
    codes, similar = unified_codes(image, text), similarity(batch["labels"])
    expected = weighted(network_terms(image, text, codes, similar)) + weighted(
        network_terms(text, image, codes, similar)
    )
    assert alone.loss.item() == pytest.approx(expected.item(), abs=1e-5)
    # Rows of another split mean nothing to the buffers.
    model.begin_codes(**{name: tensor + 1 for name, tensor in batch.items()})
    torch.testing.assert_close(model(**batch, rows=torch.arange(N)).loss, alone.loss)


def test_state_of_the_training_is_let_go_and_never_saved(batch, tmp_path):
    model, pairs = make_model(), Pairs(**batch)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=4, use_cpu=True, report_to="none",
        save_strategy="no", label_names=["labels"], remove_unused_columns=False,
    )  # fmt: skip
    trainer = CMRTrainer(model, arguments, pairs, pairs, get_protocol("dscmr"))
    solved = []
    solve = model.solve_codes
    model.solve_codes = lambda: solve() or solved.append(model.all_codes.shape)
    trainer.train()
    assert solved == [(N, 8)] * 3  # before the first epoch, and after each
    assert model.all_codes is None
    assert model.all_image_outputs is None
    assert not [name for name in model.state_dict() if name.startswith("all_")]


@pytest.mark.parametrize("settings", [{}, {"image_network": "cnn_f", "image_dim": 3 * LEAST_SIZE**2}])
def test_gradients_reach_every_weight(settings, labels):
    model = make_model(**settings)
    model(torch.randn(N, model.config.image_dim), torch.randn(N, 5), labels).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_cnn_f_is_the_papers_table():
    with torch.device("meta"):
        network = CNNF(224, 48)
        shapes = {}
        for name, layer in network.named_children():
            layer.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        network(torch.empty(1, 3 * 224 * 224))
    assert shapes == {
        "pixels": (3, 224, 224),
        "conv1": (64, 27, 27),  # 54 before the pooling
        "conv2": (256, 13, 13),
        "conv3": (256, 13, 13),
        "conv4": (256, 13, 13),
        "conv5": (256, 6, 6),
        "full6": (4096,),
        "full7": (4096,),
        "full8": (48,),
    }
    weights = {name.split(".")[0]: tuple(value.shape) for name, value in network.named_parameters() if value.ndim > 1}
    assert weights == {
        "conv1": (64, 3, 11, 11),
        "conv2": (256, 64, 5, 5),
        "conv3": (256, 256, 3, 3),
        "conv4": (256, 256, 3, 3),
        "conv5": (256, 256, 3, 3),
        "full6": (4096, 256 * 6 * 6),
        "full7": (4096, 4096),
        "full8": (48, 4096),
    }
    kinds = [[type(part).__name__ for part in layer] for layer in network]
    assert [("LocalResponseNorm" in parts, "MaxPool2d" in parts) for parts in kinds[1:6]] == [
        (True, True), (True, True), (False, False), (False, False), (False, True)
    ]  # fmt: skip
    assert "ReLU" not in kinds[-1]


@pytest.mark.parametrize("size", [LEAST_SIZE, 64, 100, 227])
def test_cnn_f_takes_other_sizes(size):
    with torch.device("meta"):
        assert CNNF(size, 16)(torch.empty(2, 3 * size * size)).shape == (2, 16)


def test_cnn_f_tells_images_apart_from_the_start_and_survives_saving(tmp_path):
    model = make_model(image_network="cnn_f", image_dim=3 * LEAST_SIZE**2).eval()
    images = torch.randn(8, 3, LEAST_SIZE, LEAST_SIZE)
    with torch.no_grad():
        outputs = model.get_image_features(pixel_values=images)
        assert outputs.std(dim=0).mean() > 0.01  # with torch's own initialisation below 1e-4
        model.save_pretrained(tmp_path)
        again = DCMHModel.from_pretrained(tmp_path).eval()
        assert_alike(again.get_image_features(images.flatten(1)), outputs)


def test_of_smaller_images_nothing_is_left():
    size = LEAST_SIZE - 1
    with torch.device("meta"), pytest.warns(UserWarning, match="zero-element"), pytest.raises(RuntimeError):
        CNNF(size, 16)(torch.empty(1, 3 * size * size))


def test_pixels_come_flat_or_as_images():
    model, pixels, text = make_model(), torch.randn(2, 3, 2, 2), torch.randn(2, 5)
    flat = model(pixels.flatten(1), text)
    torch.testing.assert_close(model(pixel_values=pixels, text_features=text).image_embeds, flat.image_embeds)
    torch.testing.assert_close(
        model.get_image_features(pixel_values=pixels), model.get_image_features(pixels.flatten(1))
    )


def test_one_side_alone_needs_no_other(batch):
    model = make_model()
    image, text = batch["image_features"], batch["text_features"]
    both = model(image, text)
    assert both.loss is None
    torch.testing.assert_close(model(image_features=image).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=text).text_embeds, both.text_embeds)


@pytest.mark.parametrize("image_dim", [1280, 3 * (LEAST_SIZE - 1) ** 2, 3 * 224 * 224 + 1])
def test_what_are_no_pixels_for_cnn_f_is_refused(image_dim):
    with pytest.raises(StrictDataclassError) as error:
        DCMHConfig(image_network="cnn_f", image_dim=image_dim)
    assert f"{LEAST_SIZE} x {LEAST_SIZE} at least" in str(error.value.__cause__)
    assert f"is {image_dim}" in str(error.value.__cause__)


@pytest.mark.parametrize(
    "settings",
    [{"gamma": -1.0}, {"eta": -0.5}, {"text_hidden_dim": 0}, {"image_network": "resnet"}, {"embed_dim": 12}],
)
def test_settings_that_make_no_sense_are_refused(settings):
    (name,) = settings
    with pytest.raises(StrictDataclassError) as error:
        DCMHConfig(**settings)
    assert name in f"{error.value} {error.value.__cause__}"
