"""ACMR against loops over single items, straight from the definitions."""

import math
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub.methods.acmr import ACMRConfig, ACMRModel
from cmr_hub.methods.acmr.modeling_acmr import (
    BANDWIDTHS,
    GradientReversal,
    ReversalSchedule,
    adversarial_loss,
    batch_sum_loss,
    coral_loss,
    correlation_loss,
    mmd_loss,
    reversal_schedule,
    triplet_loss,
)

N, DIM, CLASSES = 7, 5, 3


@pytest.fixture
def batch():
    torch.manual_seed(0)
    labels = torch.eye(CLASSES, dtype=torch.float64)[torch.tensor([0, 1, 2, 0, 1, 0, 2])]
    labels[1, 2] = 1  # one item of two classes
    labels[6] = 0  # and one of none
    return torch.randn(N, DIM, dtype=torch.float64), torch.randn(N, DIM, dtype=torch.float64), labels


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"image_hidden_dim": 9, "text_hidden_dim": 8, "modality_hidden_dim": 6, "embed_dim": DIM}
    return ACMRModel(ACMRConfig(image_dim=7, text_dim=4, num_labels=CLASSES, **sizes, **settings))


def some_batch():
    torch.manual_seed(2)
    return torch.randn(N, 7), torch.randn(N, 4), torch.eye(CLASSES)[torch.arange(N) % CLASSES]


def distance(a, b):
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def slow_triplets(anchors, others, labels, margin):
    anchors, others, labels = anchors.tolist(), others.tolist(), labels.tolist()
    share = [[any(x and y for x, y in zip(a, b, strict=True)) for b in labels] for a in labels]
    losses = [
        max(0.0, margin + distance(anchors[a], others[p]) - distance(anchors[a], others[n]))
        for a in range(N)
        for p in range(N)
        for n in range(N)
        if share[a][p] and not share[a][n]
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_triplet_loss_is_the_mean_over_all_triplets(batch, margin):
    image, text, labels = batch
    assert triplet_loss(image, text, labels, margin).item() == pytest.approx(
        slow_triplets(image, text, labels, margin)
    )
    assert triplet_loss(text, image, labels, margin).item() == pytest.approx(
        slow_triplets(text, image, labels, margin)
    )


def test_triplet_loss_counts_ties_once(batch):
    image, text, labels = batch
    text = text[torch.zeros(N, dtype=torch.long)]  # all negatives lie where the positives do
    assert triplet_loss(image, text, labels, 0.5).item() == pytest.approx(0.5)


@pytest.mark.parametrize("classes", [[0] * N, list(range(N))], ids=["no negatives", "only the own pair is positive"])
def test_triplet_loss_of_batches_without_negatives_or_further_positives(batch, classes):
    image, text, _ = batch
    image = image.requires_grad_()
    loss = triplet_loss(image, text, torch.eye(N, dtype=torch.float64)[classes], 0.5)
    loss.backward()
    assert image.grad.isfinite().all()
    assert (loss == 0) == (len(set(classes)) == 1)


def sums_to_loss(positive, image_negative, text_negative, margin=0.1, weight=5.0):
    """Loss 2 of the slides' log, from its sums over a batch."""
    return sum(max(0.0, margin + weight * positive - negative) for negative in (image_negative, text_negative))


def test_the_sums_in_the_slides_log_give_its_losses():
    rows = [  # label, triplet and embedding loss; pairs, negatives of images, negatives of texts
        (4.94052410, 2573.63745117, 3067.68994141, 322.92285156, 323.04046631, 332.75079346),
        (5.00961522, 1882.69555664, 2383.67700195, 236.04240417, 236.48657227, 241.44207764),
        (5.06490755, 1043.90417480, 1550.39489746, 131.53250122, 135.37445068, 136.24621582),
    ]
    for label, triplet, whole, *sums in rows:
        assert sums_to_loss(*sums) == pytest.approx(triplet, rel=1e-5)
        assert 100 * label + triplet == pytest.approx(whole, rel=1e-4)  # the log's digits are read off slides


def slow_sums(anchors, others, features, labels):
    """Half squared distances of each anchor to its own other half, and to that of the most similar item of no class
    of its own, added up."""

    def cosine(a, b):
        return 1 - distance(a, b)

    anchors, others, features, labels = (rows.tolist() for rows in (anchors, others, features, labels))
    positive = negative = 0.0
    for i, anchor in enumerate(anchors):
        positive += math.dist(anchor, others[i]) ** 2 / 2
        strangers = [
            j for j in range(N) if j != i and not any(x and y for x, y in zip(labels[i], labels[j], strict=True))
        ]
        if strangers:
            hardest = max(strangers, key=lambda j: cosine(features[i], features[j]))
            negative += math.dist(anchor, others[hardest]) ** 2 / 2
    return positive, negative


@pytest.mark.parametrize(("margin", "weight"), [(0.1, 5.0), (0.1, 1.0), (400.0, 0.0), (0.0, 0.2)])
def test_batch_sum_loss_one_item_at_a_time(batch, margin, weight):
    image, text, labels = batch
    labels[0] = 1  # an item that shares a class with all but the one that has none
    features = torch.randn(N, 9, dtype=torch.float64), torch.randn(N, 4, dtype=torch.float64)
    positive, image_negative = slow_sums(image, text, features[0], labels)
    _, text_negative = slow_sums(text, image, features[1], labels)
    slow = sums_to_loss(positive, image_negative, text_negative, margin, weight)
    assert batch_sum_loss(image, text, *features, labels, margin, weight).item() == pytest.approx(slow)


def test_batch_sum_loss_without_a_negative_and_by_finite_differences(batch):
    image, text, labels = batch
    everyone = torch.ones_like(labels)
    alone = batch_sum_loss(image, text, image, text, everyone, 0.1, 5.0)
    assert alone.item() == pytest.approx(2 * (0.1 + 5 * (image - text).square().sum().item() / 2))
    features = torch.randn(2, N, 9, dtype=torch.float64)
    image, text = image.requires_grad_(), text.requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: batch_sum_loss(u, v, *features, labels, 0.1, 5.0), (image, text))


def test_the_objective_of_the_log():
    settings = {"triplet": "batch_sum", "margin": 0.1, "label_weight": 100.0, "alignment": "adversarial"}
    model, (image, text, labels) = make_model(**settings), some_batch()
    output = model(image, text, labels)
    embeds = model.get_image_features(image), model.get_text_features(text)
    positive, image_negative = slow_sums(*embeds, image, labels)
    _, text_negative = slow_sums(*reversed(embeds), text, labels)
    terms = output.loss_terms
    assert terms["triplet"].item() == pytest.approx(sums_to_loss(positive, image_negative, text_negative), rel=1e-5)
    torch.testing.assert_close(output.loss, 100 * terms["label"] + terms["triplet"] + terms["alignment"])


def test_adversarial_loss():
    image, text = torch.randn(2, N, 1, dtype=torch.float64)
    slow = sum(math.log(1 + math.exp(-x)) for x in image.flatten().tolist()) / N / 2
    slow += sum(math.log(1 + math.exp(x)) for x in text.flatten().tolist()) / N / 2
    assert adversarial_loss(image, text).item() == pytest.approx(slow)


def test_mmd_loss(batch):
    image, text = batch[0].tolist(), batch[1].tolist()
    both = image + text
    scale = sum(math.dist(a, b) ** 2 for a in both for b in both) / len(both) ** 2

    def kernel(one, other):
        values = [math.exp(-(math.dist(a, b) ** 2) / (w * scale)) for a in one for b in other for w in BANDWIDTHS]
        return sum(values) / len(values)

    slow = kernel(image, image) + kernel(text, text) - 2 * kernel(image, text)
    assert mmd_loss(*batch[:2]).item() == pytest.approx(slow)


def test_coral_loss(batch):
    def covariance(rows):
        means = [sum(column) / N for column in zip(*rows, strict=True)]
        return [
            [sum((r[i] - means[i]) * (r[j] - means[j]) for r in rows) / (N - 1) for j in range(DIM)]
            for i in range(DIM)
        ]

    u, v = covariance(batch[0].tolist()), covariance(batch[1].tolist())
    slow = sum((u[i][j] - v[i][j]) ** 2 for i in range(DIM) for j in range(DIM)) / (4 * DIM**2)
    assert coral_loss(*batch[:2]).item() == pytest.approx(slow)


def test_correlation_loss(batch):
    image, text, _ = batch
    text[:, 2] = 1.5  # a constant dimension correlates with nothing
    slow = 0.0
    for d in (0, 1, 3, 4):
        x, y = image[:, d].tolist(), text[:, d].tolist()
        x, y = [a - sum(x) / N for a in x], [b - sum(y) / N for b in y]
        slow += sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
    assert correlation_loss(image, text).item() == pytest.approx(1 - slow / DIM)


@pytest.mark.parametrize("loss", [mmd_loss, coral_loss, correlation_loss])
def test_alignments_of_one_pair_and_of_constant_sides(loss):
    for rows in (1, 4):
        image, text = torch.ones(rows, DIM, requires_grad=True), torch.ones(rows, DIM)
        value = loss(image, text)
        value.backward()
        assert value.item() == (1 if loss is correlation_loss else 0)
        assert image.grad.isfinite().all()


@pytest.mark.parametrize("loss", [mmd_loss, coral_loss, correlation_loss])
def test_alignments_vanish_where_the_sides_agree(batch, loss):
    assert loss(batch[0], batch[0].clone()).item() == pytest.approx(0, abs=1e-12)


def test_gradients_against_finite_differences(batch):
    image, text, labels = (x.requires_grad_(i < 2) for i, x in enumerate(batch))
    assert torch.autograd.gradcheck(lambda u, v: triplet_loss(u, v, labels, 0.5), (image, text))
    assert torch.autograd.gradcheck(adversarial_loss, (image[:, :1], text[:, :1]))
    assert torch.autograd.gradcheck(coral_loss, (image, text))
    assert torch.autograd.gradcheck(correlation_loss, (image, text))


def test_mmd_gradient_takes_the_bandwidth_for_given(batch):
    image, text = batch[0].requires_grad_(), batch[1]
    both = torch.cat([image, text]).detach()
    scale = torch.cdist(both, both).square().mean()
    (gradient,) = torch.autograd.grad(mmd_loss(image, text), image)

    def with_fixed_scale(u):
        def kernel(a, b):
            squared = (a[:, None] - b).square().sum(dim=2)
            return torch.stack([torch.exp(-squared / (w * scale)) for w in BANDWIDTHS]).mean()

        return kernel(u, u) + kernel(text, text) - 2 * kernel(u, text)

    torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(with_fixed_scale, image.detach()))


def test_reversal_negates_and_scales():
    x = torch.randn(4, 3, requires_grad=True)
    y = GradientReversal.apply(x, torch.tensor(0.3))
    assert torch.equal(x, y)
    (y * torch.arange(3.0)).sum().backward()
    torch.testing.assert_close(x.grad, -0.3 * torch.arange(3.0).expand(4, 3))


def test_one_backward_pass_trains_the_modality_classifier_and_reverses_for_the_projectors():
    image, text, labels = some_batch()
    model = make_model(label_weight=0.0, triplet_weight=0.0)
    model.reversal_strength.fill_(0.4)
    model(image, text, labels).loss.backward()
    reversed_gradients = {name: p.grad.clone() for name, p in model.named_parameters() if "label" not in name}
    model.zero_grad()
    embeds = (model.get_image_features(image), model.get_text_features(text))
    adversarial_loss(*map(model.modality_classifier, embeds)).backward()
    for name, parameter in model.named_parameters():
        if "label" not in name:
            factor = 1 if name.startswith("modality") else -0.4
            torch.testing.assert_close(reversed_gradients[name], factor * parameter.grad, msg=name)


def test_the_reversal_follows_its_schedule():
    assert [reversal_schedule(p) for p in (0, 0.3, 1)] == pytest.approx(
        [2 / (1 + math.exp(-10 * p)) - 1 for p in (0, 0.3, 1)]
    )
    model = make_model()
    (callback,) = model.training_callbacks()
    assert isinstance(callback, ReversalSchedule)
    callback.on_step_begin(None, SimpleNamespace(global_step=30, max_steps=100), None, model=model)
    assert model.state_dict()["reversal_strength"].item() == pytest.approx(reversal_schedule(0.3))


@pytest.mark.parametrize("losses", ["label", "label+triplet", "all"])
def test_objective_weighs_the_terms_that_are_chosen(losses):
    output = make_model(losses=losses, label_weight=0.3, triplet_weight=0.5, alignment_weight=0.7)(*some_batch())
    weights = {"label": 0.3, "triplet": 0.5, "alignment": 0.7}
    kept = {"label": 1, "label+triplet": 2, "all": 3}[losses]
    assert list(output.loss_terms) == list(weights)[:kept]
    torch.testing.assert_close(output.loss, sum(weights[name] * term for name, term in output.loss_terms.items()))


@pytest.mark.parametrize(
    ("alignment", "loss"), [("mmd", mmd_loss), ("coral", coral_loss), ("correlation", correlation_loss)]
)
def test_alignment_is_chosen_by_name(alignment, loss):
    model = make_model(alignment=alignment)
    image, text, labels = some_batch()
    expected = loss(model.get_image_features(image), model.get_text_features(text))
    torch.testing.assert_close(model(image, text, labels).loss_terms["alignment"], expected)
    assert not model.training_callbacks()
    assert not any("modality" in name for name in model.state_dict())


@pytest.mark.parametrize("alignment", ["adversarial", "mmd", "coral", "correlation"])
def test_gradients_reach_every_weight(alignment):
    model = make_model(alignment=alignment)
    model(*some_batch()).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_embeddings_are_two_tanh_layers_and_one_side_alone_suffices():
    model, (image, text, _) = make_model(dropout=0.5, input_scale=3.0).eval(), some_batch()
    first, last = model.image_projector[0], model.image_projector[3]
    embeds = model.get_image_features(image)
    scaled = 3 * image / image.square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(embeds, torch.tanh(last(torch.tanh(first(scaled)))))
    torch.testing.assert_close(model.get_image_features(10 * image), embeds)
    assert model(image_features=torch.zeros(1, 7)).image_embeds.isfinite().all()
    assert model(text_features=text).image_embeds is None
    assert model(image, text).loss is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("losses", "triplet"),
        ("alignment", "gan"),
        ("dropout", 1.0),
        ("margin", -0.1),
        ("positive_weight", -1.0),
        ("triplet", "sum"),
        ("input_scale", 0.0),
        ("image_hidden_dim", 0),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        ACMRConfig(**{field: value})
