"""Unified: its losses against loops over single items, its two parts, and what it is without one of them."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import UnifiedConfig, UnifiedModel
from cmr_hub.errors import InputError

N, CLASSES = 6, 3
# Texts 0 and 1 are of one image; text 4 stands word for word under the image of row 5 too.
MATCHING = torch.eye(N, dtype=torch.bool)
MATCHING[0, 1] = MATCHING[1, 0] = MATCHING[5, 4] = True


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"image_dim": 7, "text_dim": 4, "embed_dim": 8, "class_hidden_dim": 9, "item_hidden_dim": 9}
    dropout = {"class_dropout": 0.0, "item_dropout": 0.0, "classifier_dim": 5}
    return UnifiedModel(UnifiedConfig(num_labels=CLASSES, **{**sizes, **dropout, **settings}))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES)[torch.tensor([0, 1, 2, 0, 1, 0])]
    labels[1, 2] = 1  # one item of two classes
    labels[5] = 0  # and one of none
    return {"image_features": torch.randn(N, 7), "text_features": torch.randn(N, 4), "labels": labels}


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_class_loss(logits, labels):
    total = 0.0
    for row, wanted in zip(logits.tolist(), labels.tolist(), strict=True):
        logs = [value - math.log(sum(math.exp(other) for other in row)) for value in row]
        count = sum(wanted)
        total -= sum(log / count for log, is_of in zip(logs, wanted, strict=True) if is_of)
    return total / N


def slow_item_loss(queries, answers, matching, scale, hardness):
    total = 0.0
    for i in range(N):
        logits = [scale * cosine(queries[i], answer) for answer in answers]
        wrong = [j for j in range(N) if j != i and not matching[i][j]]
        hard = {j: math.exp(hardness * logits[j]) for j in wrong}
        others = sum(len(wrong) * hard[j] / sum(hard.values()) * math.exp(logits[j]) for j in wrong)
        total -= math.log(math.exp(logits[i]) / (math.exp(logits[i]) + others))
    return total / N


@pytest.mark.parametrize("hardness", [0.0, 0.5])
def test_every_term_is_what_the_loops_give(batch, hardness):
    model = make_model(hardness=hardness, class_weight=2.0, initial_temperature=0.2)
    output = model(**batch, matching=MATCHING)
    class_loss = slow_class_loss(output.image_logits, batch["labels"]) + slow_class_loss(
        output.text_logits, batch["labels"]
    )
    image, text = (embeds[:, CLASSES:].tolist() for embeds in output.embeds)
    there = slow_item_loss(image, text, MATCHING, 5.0, hardness)
    back = slow_item_loss(text, image, MATCHING.T, 5.0, hardness)
    expected = {"class": class_loss, "image_to_text": there, "text_to_image": back}
    assert {name: term.item() for name, term in output.loss_terms.items()} == pytest.approx(expected, rel=1e-4)
    assert output.loss.item() == pytest.approx(2 * class_loss + (there + back) / 2, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_class_part_holds_class_probabilities(batch, temperature):
    model = make_model(class_temperature=temperature)
    output = model.embed(image_features=batch["image_features"], text_features=batch["text_features"])
    probabilities = (output.image_logits / temperature).exp()
    for row, part in zip(probabilities.tolist(), output.image_embeds[:, :CLASSES].tolist(), strict=True):
        length = math.sqrt(sum(value * value for value in row))
        assert part == pytest.approx([value / length for value in row], abs=1e-5)


def test_both_parts_are_of_one_length_in_means_too():
    model, features = make_model(), torch.randn(N, 7)
    rows = model.get_image_features(features).detach()
    for embeds in (model.as_embeddings(rows), model.as_embeddings(rows[:4].reshape(2, 2, -1).mean(dim=1))):
        assert embeds.dtype == np.float32
        for part in (embeds[:, :CLASSES], embeds[:, CLASSES:]):
            assert np.linalg.norm(part, axis=1) == pytest.approx(math.sqrt(0.5), abs=1e-6)


def test_the_ends_of_the_focus_rank_as_each_part_by_itself():
    model = make_model()
    images = model.get_image_features(torch.randn(20, 7)).detach()
    texts = model.get_text_features(torch.randn(30, 4)).detach()
    queries, gallery = model.as_embeddings(images), model.as_embeddings(texts)
    for focus, part in ((0.0, slice(0, CLASSES)), (1.0, slice(CLASSES, None))):
        found = model.with_focus(queries, focus) @ gallery.T
        alone = [[cosine(image, text) for text in texts[:, part].tolist()] for image in images[:, part].tolist()]
        assert math.sqrt(2) * found == pytest.approx(np.array(alone), abs=1e-5)


def test_saving_keeps_focus_and_parts(tmp_path):
    model = make_model(focus=0.3).eval()
    model.save_pretrained(tmp_path)
    loaded = UnifiedModel.from_pretrained(tmp_path)
    features = torch.randn(N, 7)
    assert (loaded.config.focus, loaded.config.class_dim, loaded.config.item_dim) == (0.3, CLASSES, 5)
    assert torch.equal(loaded.get_image_features(features), model.get_image_features(features))


@pytest.mark.parametrize(
    ("settings", "terms", "width"),
    [
        ({"has_class_part": False}, ["image_to_text", "text_to_image"], 0),
        ({"embed_dim": CLASSES}, ["class"], CLASSES),
        ({"separate_parts": False}, ["class", "image_to_text", "text_to_image"], 0),
    ],
)
def test_one_part_alone_has_no_focus(batch, settings, terms, width):
    model = make_model(**settings)
    output = model(**batch)
    assert sorted(output.loss_terms) == terms
    assert model.config.class_dim == width
    embeds = model.as_embeddings(output.image_embeds.detach())
    assert np.linalg.norm(embeds, axis=1) == pytest.approx(1, abs=1e-6)
    assert not model.accepts_focus
    with pytest.raises(InputError, match="unified checkpoint has one part, and a focus weighs two"):
        model.with_focus(embeds, 0.5)


@pytest.mark.parametrize("embeds", [np.zeros((2, 3), np.float32), np.zeros(16, np.float32), [[1.0]], None])
def test_a_focus_weighs_embeddings_of_the_checkpoint_alone(embeds):
    with pytest.raises(InputError, match=r"embeds must be an array \(n, \d+\) of this checkpoint's embeddings"):
        make_model().with_focus(embeds, 0.5)


def test_the_item_part_learns_without_labels(batch):
    del batch["labels"]
    model = make_model(has_class_part=False)
    model.check_labels(None)
    model(**batch).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_class_part_needs_labels(batch):
    model = make_model()
    with pytest.raises(InputError, match="no label column: set has_class_part=False to train the item part alone"):
        model.check_labels(None)
    del batch["labels"]
    assert model(**batch).loss is None


def test_each_part_learns_by_its_own_loss_alone(batch):
    model = make_model(class_weight=0.0)
    model(**batch).loss.backward()
    learned = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad.abs().sum() > 0}
    assert learned == {"image_item_tower", "text_item_tower", "log_scale"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embed_dim": 2}, "the class part alone takes 3, one per class"),
        ({"focus": 1.5}, "focus must be from 0"),
        ({"focus": math.nan}, "focus must be a finite number, and is nan"),
        ({"initial_temperature": math.inf}, "initial_temperature must be a finite number, and is inf"),
        ({"item_hidden_dim": -1}, "item_hidden_dim must be 0"),
        ({"class_dropout": 1.0}, "class_dropout must be at least 0 and below 1"),
        ({"hardness": -0.1}, "hardness must not be negative"),
        ({"class_weight": -1.0}, "class_weight must not be negative"),
        ({"class_temperature": 0.0}, "class_temperature must be above 0"),
        ({"classifier_dim": 0}, "classifier_dim must be at least 1"),
        ({"initial_temperature": 0.001}, "initial_temperature must be at least 0.01"),
        ({"separate_parts": False, "has_class_part": False}, "has_class_part must be on"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_model(**settings)
