"""Unified-Hash: its losses on signs against loops, and codes of two blocks."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import UnifiedHashConfig, UnifiedHashModel
from cmr_hub.modeling.codes import unpack
from cmr_hub.modeling.parts import focus_scale

N, BITS, CLASSES = 6, 16, 3


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"image_dim": 7, "text_dim": 4, "embed_dim": BITS, "class_hidden_dim": 9, "item_hidden_dim": 9}
    dropout = {"class_dropout": 0.0, "item_dropout": 0.0}
    return UnifiedHashModel(UnifiedHashConfig(num_labels=CLASSES, **{**sizes, **dropout, **settings}))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[torch.tensor([0, 1, 2, 0, 1, 0])]
    return {"image_features": torch.randn(N, 7), "text_features": torch.randn(N, 4), "labels": labels}


def sign(rows):
    return [[1 if value > 0 else -1 for value in row] for row in rows.tolist()]


def test_the_item_bits_are_compared_by_their_signs(batch):
    output = make_model(initial_temperature=0.2)(**batch)
    image, text = (sign(embeds[:, BITS // 2 :]) for embeds in output.embeds)
    total = 0.0
    for i in range(N):
        logits = [5 * sum(a * b for a, b in zip(image[i], other, strict=True)) / (BITS // 2) for other in text]
        total -= logits[i] - math.log(sum(math.exp(logit) for logit in logits))
    assert output.loss_terms["image_to_text"].item() == pytest.approx(total / N, rel=1e-4)


def test_the_classifier_sees_class_bits(batch):
    model = make_model(class_scale=2.0)
    output = model(**batch)
    weight, bias = model.classifier.weight.tolist(), model.classifier.bias.tolist()
    for bits, logits in zip(sign(output.text_embeds[:, : BITS // 2]), output.text_logits.tolist(), strict=True):
        slow = [
            2 * (sum(a * b for a, b in zip(bits, row, strict=True)) + b0) for row, b0 in zip(weight, bias, strict=True)
        ]
        assert logits == pytest.approx(slow, abs=1e-4)


def test_the_likelihood_is_of_class_values(batch):
    model = make_model(similarity_scale=4.0, similarity_margin=0.1, likelihood_weight=2.0, class_weight=3.0)
    output = model(**batch)
    embeds = model.embed(image_features=batch["image_features"], text_features=batch["text_features"]).embeds
    image, text = (rows[:, : BITS // 2].tolist() for rows in embeds)
    classes, total = batch["labels"].argmax(dim=1).tolist(), 0.0
    for rows, others in ((image, text), (image, image), (text, text)):
        for i in range(N):
            for j in range(N):
                mean = sum(a * b for a, b in zip(rows[i], others[j], strict=True)) / (BITS // 2)
                theta = 4 * (mean - 0.1)
                total += math.log1p(math.exp(theta)) - theta * (classes[i] == classes[j])
    assert output.loss_terms["likelihood"].item() == pytest.approx(total / N**2, rel=1e-4)
    terms = {name: term.item() for name, term in output.loss_terms.items()}
    items = (terms["image_to_text"] + terms["text_to_image"]) / 2
    assert output.loss.item() == pytest.approx(3 * terms["class"] + 6 * terms["likelihood"] + items, rel=1e-4)
    assert "likelihood" not in make_model(likelihood_weight=0.0)(**batch).loss_terms


def test_every_tower_learns_through_the_signs(batch):
    model = make_model()
    model(**batch).loss.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize("focus", [0.0, 0.3, 1.0])
def test_scores_are_of_the_two_blocks(focus):
    model = make_model()
    images = model.get_image_features(torch.randn(5, 7)).detach()
    queries = gallery = model.as_embeddings(images)
    assert gallery.shape == (5, BITS // 8)
    assert gallery.dtype == np.uint8
    found = focus_scale(focus) * model.with_focus(queries, focus) @ unpack(gallery).T / math.sqrt(BITS)
    signs, half = np.array(sign(images)), BITS // 2
    blocks = [signs[:, part] @ signs[:, part].T / half for part in (slice(0, half), slice(half, None))]
    assert found == pytest.approx((1 - focus) * blocks[0] + focus * blocks[1], abs=1e-5)


def test_without_classes_all_bits_are_of_the_item(batch):
    model = make_model(has_class_part=False)
    assert (model.config.class_dim, model.config.item_dim) == (0, BITS)
    assert sorted(model(**batch).loss_terms) == ["image_to_text", "text_to_image"]
    assert not model.accepts_focus


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 12}, "multiple of 8 bits"),
        ({"class_scale": 0.0}, "class_scale must be above 0"),
        ({"similarity_scale": -1.0}, "similarity_scale must be above 0"),
        ({"likelihood_weight": -1.0}, "likelihood_weight must not be negative"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_model(**settings)
