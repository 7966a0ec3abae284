"""CM-GANs against loops over single items, and the game's turns against the weights that they move."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import TrainerCallback, TrainingArguments

from cmr_hub import CMGANsConfig, CMGANsModel
from cmr_hub.evaluation import get_protocol
from cmr_hub.methods.cm_gans.modeling_cm_gans import fake_loss, mismatch_loss, real_loss, reconstruction_loss
from cmr_hub.training.datasets import make_pairs, make_processor
from cmr_hub.training.trainer import CMRTrainer
from toys import feature_dataset

N, IMAGE, TEXT, DIM, CLASSES = 6, 7, 4, 5, 3
DISCRIMINATORS = ("intra_discriminators.", "inter_discriminators.")


@pytest.fixture
def labels():
    labels = torch.eye(CLASSES)[torch.tensor([0, 1, 2, 0, 1, 0])]
    labels[1, 2] = 1  # one item of two classes, one of which the next item has
    return labels


@pytest.fixture
def batch(labels):
    torch.manual_seed(0)
    return torch.randn(N, IMAGE), torch.randn(N, TEXT), labels


def make_model(**settings):
    torch.manual_seed(1)
    sizes = {"hidden_dim": 9, "discriminator_dim": 8, "embed_dim": DIM, **settings}
    return CMGANsModel(CMGANsConfig(image_dim=IMAGE, text_dim=TEXT, num_labels=CLASSES, **sizes))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def shares(row):
    return [value / max(1, sum(row)) for value in row]


def slow_mismatch(logits, labels):
    losses = [
        -math.log(1 - sigmoid(logits[i].item()))
        for i in range(N)
        if not any(x and y for x, y in zip(labels[i].tolist(), labels[(i + 1) % N].tolist(), strict=True))
    ]
    return sum(losses) / max(1, len(losses))


def slow_discriminator(network, *parts):
    """-> the log-odds of each item, through the network's own layers but one item at a time."""
    return torch.stack([network(torch.cat([part[i] for part in parts])).squeeze() for i in range(N)])


def test_reconstruction_loss():
    original, reconstructed = torch.randn(2, N, IMAGE)
    slow = sum((original[i, j].item() - reconstructed[i, j].item()) ** 2 for i in range(N) for j in range(IMAGE)) / (
        N * IMAGE
    )
    assert reconstruction_loss(original, reconstructed).item() == pytest.approx(slow, abs=1e-5)


def test_adversarial_losses_are_log_likelihoods():
    logits = torch.randn(N)
    odds = [sigmoid(x) for x in logits.tolist()]
    assert real_loss(logits).item() == pytest.approx(-sum(math.log(p) for p in odds) / N, abs=1e-6)
    assert fake_loss(logits).item() == pytest.approx(-sum(math.log(1 - p) for p in odds) / N, abs=1e-6)


def test_adversarial_losses_do_not_overflow():
    assert real_loss(torch.tensor([-1e4])).item() == pytest.approx(1e4)
    assert fake_loss(torch.tensor([1e4])).item() == pytest.approx(1e4)


def test_mismatches_are_neighbours_that_share_no_class(labels):
    logits = torch.randn(N)
    assert mismatch_loss(logits, labels).item() == pytest.approx(slow_mismatch(logits, labels), abs=1e-6)
    assert mismatch_loss(logits, torch.ones(N, CLASSES)).item() == 0


@pytest.mark.parametrize("loss", [real_loss, fake_loss])
def test_gradients_of_adversarial_losses(loss):
    assert torch.autograd.gradcheck(loss, torch.randn(N, dtype=torch.float64, requires_grad=True))


def test_gradients_of_the_other_losses(labels):
    labels = labels.double()
    logits = torch.randn(2, N, CLASSES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda both: reconstruction_loss(*both), logits)
    odds = torch.randn(N, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mismatch_loss(x, labels), odds)


def test_the_generators_objective(batch):
    model = make_model(reconstruction_weight=0.2, intra_weight=0.3, inter_weight=0.5)
    image, text, labels = batch
    output = model(image, text, labels)
    terms, share = output.loss_terms, torch.tensor([shares(row) for row in labels.tolist()])
    decoded = {
        "image": model.decoders["image"](model.get_image_features(image)),
        "text": model.decoders["text"](model.get_text_features(text)),
    }
    intra = sum(
        real_loss(slow_discriminator(model.intra_discriminators[modality], decoded[modality]))
        for modality in ("image", "text")
    )
    embeds = model.embed(image_features=image, text_features=text)
    inter = real_loss(slow_discriminator(model.inter_discriminators["image"], embeds.text_embeds, share))
    inter = inter + real_loss(slow_discriminator(model.inter_discriminators["text"], embeds.image_embeds, share))
    torch.testing.assert_close(terms["intra_generator"], intra)
    torch.testing.assert_close(terms["inter_generator"], inter)
    squared = ((decoded["image"] - image) ** 2).mean() + ((decoded["text"] - text) ** 2).mean()
    torch.testing.assert_close(terms["reconstruction"], squared)
    expected = terms["classification"] + 0.2 * terms["reconstruction"] + 0.3 * intra + 0.5 * inter
    torch.testing.assert_close(output.loss, expected)


def test_the_discriminators_objective(batch):
    model = make_model().train()
    image, text, labels = batch
    model.take_turn("discriminator")
    output = model(image, text, labels)
    share = torch.tensor([shares(row) for row in labels.tolist()])
    features = {"image": image, "text": text}
    embeds = {"image": model.get_image_features(image), "text": model.get_text_features(text)}
    intra = inter = 0.0
    for modality, other in (("image", "text"), ("text", "image")):
        within, between = model.intra_discriminators[modality], model.inter_discriminators[modality]
        intra += real_loss(slow_discriminator(within, features[modality]))
        intra += fake_loss(slow_discriminator(within, model.decoders[modality](embeds[modality])))
        inter += real_loss(slow_discriminator(between, embeds[modality], share))
        inter += fake_loss(slow_discriminator(between, embeds[other], share)) / 2
        wrong = share[[*range(1, N), 0]]
        inter += slow_mismatch(slow_discriminator(between, embeds[modality], wrong), labels) / 2
    torch.testing.assert_close(output.loss_terms["intra_discriminator"], intra)
    torch.testing.assert_close(output.loss_terms["inter_discriminator"], inter)
    torch.testing.assert_close(output.loss, intra + inter)


def test_the_discriminators_turn_counts_in_training_alone(batch):
    model = make_model()
    model.take_turn("discriminator")
    assert set(model.train()(*batch).loss_terms) == {"intra_discriminator", "inter_discriminator"}
    assert "classification" in model.eval()(*batch).loss_terms


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_gradients_reach_every_weight_of_whose_turn_it_is_and_no_other(batch, player):
    model = make_model().train()
    model.take_turn(player)
    model(*batch).loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(DISCRIMINATORS) == (player == "discriminator"):
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


def test_upper_layers_and_classifier_are_one_module_for_both_sides(batch):
    model, image_first, text_first = make_model(), torch.randn(N, IMAGE), torch.randn(N, TEXT)
    before = model.embed(image_features=image_first, text_features=text_first)
    with torch.no_grad():
        model.shared[-1].bias += 1
    after = model.embed(image_features=image_first, text_features=text_first)
    torch.testing.assert_close(after.image_embeds, before.image_embeds + 1)
    torch.testing.assert_close(after.text_embeds, before.text_embeds + 1)
    assert sum(name.startswith("shared.0.weight") for name, _ in model.named_parameters()) == 1
    assert sum(name.startswith("classifier.weight") for name, _ in model.named_parameters()) == 1


class Watch(TrainerCallback):
    """Which parameters each step of a run moved."""

    def __init__(self):
        self.moved = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.moved.append({n for n, p in model.named_parameters() if not torch.equal(p, self.before[n])})


def train_steps(folder, model, steps, **settings):
    dataset = feature_dataset(48)
    pairs = make_pairs(dataset, make_processor({"image": "precomputed", "text": "precomputed"}, dataset))
    arguments = TrainingArguments(
        output_dir=str(folder),
        save_strategy="steps",
        save_steps=4,
        max_steps=steps,
        per_device_train_batch_size=16,
        lr_scheduler_type="constant",
        label_names=["labels"],
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
    )
    trainer = CMRTrainer(model, arguments, pairs, pairs, get_protocol("dscmr"))
    watch = Watch()
    trainer.add_callback(watch)
    trainer.train(**settings)
    return watch.moved


def toy_model():
    torch.manual_seed(1)
    sizes = {"hidden_dim": 9, "discriminator_dim": 8, "embed_dim": DIM, "discriminator_steps": 2}
    return CMGANsModel(CMGANsConfig(image_dim=6, text_dim=4, num_labels=3, **sizes))


def turns(moved):
    """Whose weights each step moved, as letters; a step that moved both or none is a question mark."""
    letters = {frozenset({True}): "d", frozenset({False}): "g"}
    return "".join(letters.get(frozenset(n.startswith(DISCRIMINATORS) for n in names), "?") for names in moved)


def test_each_step_moves_one_players_weights(tmp_path):
    model = toy_model()
    moved = train_steps(tmp_path, model, 6)
    assert turns(moved) == "ddgddg"
    everything = {name for name, _ in model.named_parameters()}
    assert set.union(*moved) == everything
    assert model.turn is None
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_resumed_run_goes_on_with_the_turn_where_it_stopped(tmp_path):
    assert turns(train_steps(tmp_path, toy_model(), 4)) == "ddgd"
    resumed = train_steps(tmp_path, toy_model(), 8, resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert turns(resumed) == "dgdd"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discriminator_steps": 0}, "discriminator_steps must be at least 1, and is 0"),
        ({"inter_weight": -1.0}, "inter_weight must not be negative, and is -1.0"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        CMGANsConfig(**settings)
