"""CM-GANs: cross-modal generative adversarial networks (Peng and Qi, TOMM 2019).

A generator (two autoencoders that share their upper layers, and a classifier) plays against four discriminators. The
Trainer has one optimiser and takes one loss a step: [`AlternatingTurns`] says at each step whose turn it is, and
`compute_loss` computes that player's objective.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import add, class_shares, classification_loss, label_similarity
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput

from .configuration_cm_gans import CMGANsConfig

Player = Literal["generator", "discriminator"]


def reconstruction_loss(original: torch.Tensor, reconstructed: torch.Tensor) -> torch.Tensor:
    """Mean squared error of one side's reconstruction representation."""
    return F.mse_loss(reconstructed, original)


def real_loss(logits: torch.Tensor) -> torch.Tensor:
    """-log D, the mean over the items: what a discriminator pays for real ones, and the generator for its fakes."""
    return F.softplus(-logits).mean()


def fake_loss(logits: torch.Tensor) -> torch.Tensor:
    """-log(1 - D), the mean over the items: what a discriminator pays for fakes."""
    return F.softplus(logits).mean()


def mismatch_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log(1 - D) for representations under the category of the batch's next item.

    Args:
        logits: `(n,)`, of representation i with the category of item i + 1 (of the first, for the last).
        labels: `(n, classes)` multi-hot; pairs that share a class are no mismatch and do not count.

    Returns:
        The mean over what does count, 0 where nothing does.
    """
    here = torch.arange(len(labels), device=labels.device)
    mismatched = 1 - label_similarity(labels)[here, here.roll(-1)]
    return (F.softplus(logits) * mismatched).sum() / mismatched.sum().clamp(min=1)


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for inward, outward in pairwise(widths):
        layers += [nn.Linear(inward, outward), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class AlternatingTurns(TrainerCallback):
    """Gives the discriminators so many steps, then the generator one, and so on.

    The turn follows from the number of steps done, so that a resumed run goes on where it stopped.

    Args:
        discriminator_steps: steps of the discriminators before each step of the generator.
    """

    def __init__(self, discriminator_steps: int):
        self.discriminator_steps = discriminator_steps

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        round_length = self.discriminator_steps + 1
        model.take_turn(
            "generator" if state.global_step % round_length == self.discriminator_steps else "discriminator"
        )

    def on_train_end(self, args, state, control, model=None, **kwargs):
        model.take_turn(None)


@register_method("cm_gans", display_order=40)
class CMGANsModel(CMRModel):
    """Autoencoders with shared upper layers, a shared softmax layer, and discriminators within and between the sides.

    Attributes:
        turn: whose objective `compute_loss` computes in training mode; None stands for the generator's.
    """

    title = "CM-GANs"
    paper = (
        "Peng and Qi, CM-GANs: Cross-modal Generative Adversarial Networks for Common Representation Learning, "
        "TOMM 2019"
    )
    supervision = "supervised"
    representation = "real-valued"
    config_class = CMGANsConfig
    config: CMGANsConfig

    def __init__(self, config: CMGANsConfig):
        super().__init__(config)
        hidden, dims = config.hidden_dim, {"image": config.image_dim, "text": config.text_dim}
        self.encoders = nn.ModuleDict({modality: nn.Linear(dim, hidden) for modality, dim in dims.items()})
        self.shared = perceptron(hidden, hidden, config.embed_dim)
        self.classifier = nn.Linear(config.embed_dim, config.num_labels)
        self.decoders = nn.ModuleDict(
            {modality: perceptron(config.embed_dim, hidden, dim) for modality, dim in dims.items()}
        )
        self.intra_discriminators = nn.ModuleDict(
            {modality: perceptron(dim, config.discriminator_dim, 1) for modality, dim in dims.items()}
        )
        self.inter_discriminators = nn.ModuleDict(
            {
                modality: perceptron(config.embed_dim + config.num_labels, config.discriminator_dim, 1)
                for modality in dims
            }
        )
        self.turn: Player | None = None
        self.post_init()

    def take_turn(self, player: Player | None) -> None:
        """Let one player learn and hold the other still; None lets both learn, as before the game."""
        discriminators = {*self.intra_discriminators.parameters(), *self.inter_discriminators.parameters()}
        for parameter in self.parameters():
            owner = "discriminator" if parameter in discriminators else "generator"
            parameter.requires_grad_(player in (None, owner))
        self.turn = player

    def training_callbacks(self) -> list[TrainerCallback]:
        return [AlternatingTurns(self.config.discriminator_steps)]

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return self.shared(F.relu(self.encoders["image"](image_features)))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.shared(F.relu(self.encoders["text"](text_features)))

    def discriminate_within(self, modality: str, features: torch.Tensor) -> torch.Tensor:
        """`(n,)` log-odds that features of one side are original, not reconstructed."""
        return self.intra_discriminators[modality](features).squeeze(1)

    def discriminate_between(self, modality: str, embeds: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """`(n,)` log-odds that common representations came from `modality` and belong to these categories."""
        return self.inter_discriminators[modality](torch.cat([embeds, class_shares(labels)], dim=1)).squeeze(1)

    def classify(self, embeds: torch.Tensor) -> torch.Tensor:
        return self.classifier(embeds)

    @property
    def loss_weights(self) -> dict[str, float]:
        return {
            "reconstruction": self.config.reconstruction_weight,
            "intra_generator": self.config.intra_weight,
            "inter_generator": self.config.inter_weight,
        }

    def compute_loss(
        self,
        output: CMROutput,
        labels: torch.Tensor,
        image_features: torch.Tensor,
        text_features: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The objective of the player whose turn it is."""
        features = {"image": image_features, "text": text_features}
        if self.training and self.turn == "discriminator":
            return self._discriminator_terms(features, output, labels)
        return self._generator_terms(features, output, labels)

    def _generator_terms(
        self, features: dict[str, torch.Tensor], output: CMROutput, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        image, text = output.embeds
        decoded = {"image": self.decoders["image"](image), "text": self.decoders["text"](text)}
        return {
            "classification": classification_loss(*output.logits, labels),
            "reconstruction": add(reconstruction_loss(features[modality], decoded[modality]) for modality in features),
            "intra_generator": add(
                real_loss(self.discriminate_within(modality, decoded[modality])) for modality in features
            ),
            # Each side tries to pass for the other.
            "inter_generator": real_loss(self.discriminate_between("image", text, labels))
            + real_loss(self.discriminate_between("text", image, labels)),
        }

    def _discriminator_terms(
        self, features: dict[str, torch.Tensor], output: CMROutput, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        image, text = output.embeds
        embeds, others = {"image": image, "text": text}, {"image": text, "text": image}
        within = between = image.new_zeros(())
        for modality in features:
            within = within + real_loss(self.discriminate_within(modality, features[modality]))
            within = within + fake_loss(self.discriminate_within(modality, self.decoders[modality](embeds[modality])))
            between = between + real_loss(self.discriminate_between(modality, embeds[modality], labels))
            # Two kinds of fakes, half the weight each: the pair's other side, and this side under a wrong category.
            between = between + fake_loss(self.discriminate_between(modality, others[modality], labels)) / 2
            between = between + (
                mismatch_loss(self.discriminate_between(modality, embeds[modality], labels.roll(-1, 0)), labels) / 2
            )
        return {"intra_discriminator": within, "inter_discriminator": between}
