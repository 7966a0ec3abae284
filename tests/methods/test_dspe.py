"""Each term of DSPE against loops over triplets, straight from the objective."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional as F

from cmr_hub import DSPEConfig, DSPEModel
from cmr_hub.methods.dspe.modeling_dspe import description, distances, margin_cost, numbered, structure_cost
from cmr_hub.modeling.standardizer import FitStandardizers

DIM = 5
# Image 0 has texts 0, 1 and 2, image 1 has 3 and 1, image 2 has 4, image 3 has 5 and 6.
# Text 1 stands under two images.
IMAGE = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
TEXT = torch.tensor([0, 1, 2, 3, 1, 4, 5, 6])
IMAGES, TEXTS = 4, 7
TEXTS_OF = {i: set(TEXT[i == IMAGE].tolist()) for i in range(IMAGES)}
IMAGES_OF = {j: set(IMAGE[j == TEXT].tolist()) for j in range(TEXTS)}
TERMS = ["image_to_text", "text_to_image", "image_structure", "text_structure"]


@pytest.fixture
def embeds():
    torch.manual_seed(0)
    return (
        F.normalize(torch.randn(IMAGES, DIM, dtype=torch.float64)),
        F.normalize(torch.randn(TEXTS, DIM, dtype=torch.float64)),
    )


@pytest.fixture
def batch():
    torch.manual_seed(2)
    return torch.randn(IMAGES, 7)[IMAGE], torch.randn(TEXTS, 4)[TEXT]


def make_model(**settings):
    torch.manual_seed(1)
    config = {"embed_dim": DIM, "hidden_dim": 9, "dropout": 0.0, "margin": 0.7, "image_structure_weight": 0.3}
    return DSPEModel(DSPEConfig(image_dim=7, text_dim=4, **{**config, **settings}))


def euclidean(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def slow_cost(anchors, answers, belonging, wrong, margin, violations):
    """The mean over (i, j) of the largest few max(0, m + d(i, j) - d(i, k)) over k."""
    per_pair = []
    for i, anchor in enumerate(anchors):
        for j in belonging[i]:
            costs = [margin + euclidean(anchor, answers[j]) - euclidean(anchor, answers[k]) for k in wrong[i]]
            per_pair.append(sum(sorted((max(0, cost) for cost in costs), reverse=True)[:violations]))
    return sum(per_pair) / max(1, len(per_pair))


def slow_terms(images, texts, margin, violations):
    every_image, every_text = set(range(IMAGES)), set(range(TEXTS))
    near_images = {i: {a for j in TEXTS_OF[i] for a in IMAGES_OF[j]} for i in every_image}
    near_texts = {j: {b for i in IMAGES_OF[j] for b in TEXTS_OF[i]} for j in every_text}
    compared = {
        "image_to_text": (images, texts, TEXTS_OF, {i: every_text - TEXTS_OF[i] for i in every_image}),
        "text_to_image": (texts, images, IMAGES_OF, {j: every_image - IMAGES_OF[j] for j in every_text}),
        "image_structure": (
            images,
            images,
            {i: near_images[i] - {i} for i in every_image},
            {i: every_image - near_images[i] for i in every_image},
        ),
        "text_structure": (
            texts,
            texts,
            {j: near_texts[j] - {j} for j in every_text},
            {j: every_text - near_texts[j] for j in every_text},
        ),
    }
    return {name: slow_cost(*ranked, margin, violations) for name, ranked in compared.items()}


def terms_of(images, texts, margin, violations):
    describes = description(IMAGE, TEXT)
    across = distances(images, texts)
    return {
        "image_to_text": margin_cost(across, describes, ~describes, margin, violations),
        "text_to_image": margin_cost(across.T, describes.T, ~describes.T, margin, violations),
        "image_structure": structure_cost(images, describes, margin, violations),
        "text_structure": structure_cost(texts, describes.T, margin, violations),
    }


@pytest.mark.parametrize("violations", [1, 2, 100])
@pytest.mark.parametrize("margin", [0.1, 0.9])
def test_every_term_is_the_sum_over_its_triplets(embeds, margin, violations):
    terms, slow = terms_of(*embeds, margin, violations), slow_terms(*embeds, margin, violations)
    assert any(value > 0 for value in slow.values())
    for name, value in terms.items():
        assert value.item() == pytest.approx(slow[name], abs=1e-12), name


@pytest.mark.parametrize("term", TERMS)
def test_gradients_agree_with_finite_differences(embeds, term):
    images, texts = (rows.requires_grad_() for rows in embeds)

    def cost(images, texts):
        return terms_of(F.normalize(images), F.normalize(texts), 0.9, 2)[term]

    assert torch.autograd.gradcheck(cost, (images, texts))


def test_distances_of_equal_rows_have_a_finite_gradient():
    rows = F.normalize(torch.ones(3, DIM)).requires_grad_()
    distance = distances(rows, rows)
    distance.sum().backward()
    assert distance.max().item() == pytest.approx(1e-3)
    assert torch.isfinite(rows.grad).all()


def test_texts_equal_number_for_number_are_one():
    number, first = numbered(torch.tensor([[2.0, 1.0], [0.0, 1.0], [2.0, 1.0], [0.0, 1.0]]))
    assert number.tolist() == [1, 0, 1, 0]
    assert first.tolist() == [1, 0]


@pytest.mark.parametrize("violations", [2, 100])
def test_the_objective_is_the_weighted_sum_of_the_terms(batch, violations):
    model = make_model(violations=violations, text_to_image_weight=2.0, text_structure_weight=0.4).eval()
    output = model(*batch, items=IMAGE)
    first_image, first_text = (
        [places.index(i) for i in range(max(places) + 1)] for places in (IMAGE.tolist(), TEXT.tolist())
    )
    slow = slow_terms(output.image_embeds[first_image], output.text_embeds[first_text], 0.7, violations)
    for name, value in output.loss_terms.items():
        assert value.item() == pytest.approx(slow[name], abs=1e-5), name
    weights = dict(zip(TERMS, (1, 2.0, 0.3, 0.4), strict=True))
    assert output.loss.item() == pytest.approx(sum(weights[name] * slow[name] for name in TERMS), abs=1e-5)


def test_the_order_of_the_batch_does_not_matter(batch):
    model, order = make_model().train(), torch.tensor([5, 2, 7, 0, 4, 1, 6, 3])
    straight, shuffled = (
        model(*batch, items=IMAGE),
        model(*(rows[order] for rows in batch), items=IMAGE[order]),
    )
    for name, value in straight.loss_terms.items():
        torch.testing.assert_close(shuffled.loss_terms[name], value)
    torch.testing.assert_close(shuffled.image_embeds, straight.image_embeds[order])
    torch.testing.assert_close(shuffled.text_embeds, straight.text_embeds[order])


def test_the_numbers_of_items_are_only_names(batch):
    model = make_model().eval()
    renamed = model(*batch, items=torch.tensor([90, 4, 17, 8])[IMAGE])
    torch.testing.assert_close(renamed.loss, model(*batch, items=IMAGE).loss)


def test_without_items_every_row_is_an_image_of_its_own():
    model = make_model().eval()
    image, text = torch.randn(6, 7), torch.randn(6, 4)
    output = model(image, text)
    torch.testing.assert_close(output.loss, model(image, text, items=torch.arange(6)).loss)
    assert output.loss_terms["image_structure"] == output.loss_terms["text_structure"] == 0


def test_images_of_one_text_are_neighbours(batch):
    """As in the paper, images have none where no text is shared, and so no cost."""
    model = make_model(margin=2.0).eval()
    image, text = batch
    assert model(image, text, items=IMAGE).loss_terms["image_structure"] > 0
    apart = text + torch.arange(len(text))[:, None]
    assert model(image, apart, items=IMAGE).loss_terms["image_structure"] == 0


def test_what_a_text_says_of_two_images_is_wrong_for_neither():
    model = make_model(margin=2.0).eval()
    image, text = torch.randn(2, 7), torch.randn(1, 4).expand(2, 4)
    output = model(image, text)
    assert output.loss == 0
    torch.testing.assert_close(output.text_embeds[0], output.text_embeds[1])


@pytest.mark.parametrize("term", TERMS)
def test_gradients_reach_every_weight_of_the_sides_a_term_compares(batch, term):
    model = make_model(margin=2.0)
    model(*batch, items=IMAGE).loss_terms[term].backward()
    for modality in ("image", "text"):
        compared = term != f"{'text' if modality == 'image' else 'image'}_structure"
        for name, parameter in getattr(model, f"{modality}_branch").named_parameters():
            # The bias before the batch norm is taken out again by it.
            reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            assert reached == compared or name == "3.bias", (modality, name)


def test_a_single_image_trains_by_the_running_statistics(batch):
    image, text = batch
    model = make_model().train()
    loss = model(image[:3], text[:3], items=IMAGE[:3]).loss
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_embeddings_have_unit_length_and_one_side_needs_no_other(batch):
    model = make_model().eval()
    image, text = batch
    both = model(image, text, items=IMAGE)
    torch.testing.assert_close(both.image_embeds.norm(dim=1), torch.ones(len(image)))
    torch.testing.assert_close(model(image_features=image).image_embeds, both.image_embeds)
    torch.testing.assert_close(model(text_features=text).text_embeds, both.text_embeds)
    assert model(text_features=text).loss is None


def test_features_are_scaled_as_a_whole_before_the_branches(batch):
    model, (image, _) = make_model().eval(), batch
    before = model.get_image_features((image - image.mean(0)) / (image - image.mean(0)).square().mean().sqrt())
    assert any(isinstance(callback, FitStandardizers) for callback in model.training_callbacks())
    model.image_standardizer.fit(image)
    torch.testing.assert_close(model.get_image_features(image), before)


def test_classes_change_nothing(batch):
    model = make_model().eval()
    with_classes = model(*batch, torch.eye(len(IMAGE)), items=IMAGE)
    torch.testing.assert_close(with_classes.loss, model(*batch, items=IMAGE).loss)


def test_the_trainer_keeps_the_texts_of_an_image_together():
    assert DSPEModel.groups_texts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be at least 1"),
        ({"violations": 0}, "violations must be at least 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"margin": -0.1}, "margin must not be negative"),
        ({"text_to_image_weight": -1.0}, "text_to_image_weight must not be negative"),
        ({"text_structure_weight": -1.0}, "text_structure_weight must not be negative"),
        ({"embed_dim": "wide"}, "embed_dim"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        DSPEConfig(**settings)
