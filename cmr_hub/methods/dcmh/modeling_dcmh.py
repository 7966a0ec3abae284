"""DCMH: deep cross-modal hashing (Jiang and Li, CVPR 2017). F, G, B, S and theta are the paper's names.

Each network learns against what the other one last said of all training items. These outputs, F and G, and the codes B
that bind them, are state of the training: buffers as long as the training data, which [`CodesOfAllItems`] sizes, and
which are not saved.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import label_similarity, pairwise_likelihood_loss
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.modeling_hashing import HashingMixin
from cmr_hub.modeling.standardizer import CommonScale, FitStandardizers

from .cnn_f import CNNF
from .configuration_dcmh import DCMHConfig

OF_ALL_ITEMS = ("all_image_outputs", "all_text_outputs", "all_codes", "all_labels")
CHUNK = 128  # items that go through the networks at a time while F and G are first filled


def unified_codes(image_outputs: torch.Tensor, text_outputs: torch.Tensor) -> torch.Tensor:
    """B of both sides' `(n, bits)` outputs: -1 and +1, what both quantisation terms together want most.

    gamma (||B - F||² + ||B - G||²) is least where tr(B^T gamma (F + G)) is most: at the signs of F + G, as gamma is
    not negative.
    """
    return torch.where(image_outputs + text_outputs > 0, 1.0, -1.0).to(image_outputs.dtype)


def network_terms(
    outputs: torch.Tensor, other: torch.Tensor, codes: torch.Tensor, similar: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What of J one network can change by b of the n items, divided by b n; all else is constant.

    The balance term's sum over all items is estimated from the batch, as n times its mean, so that the gradient is
    that of ||F1||² / b n.

    Args:
        outputs: `(b, bits)`, this network's.
        other: `(n, bits)`, the other network's last outputs of all items.
        codes: `(b, bits)`, of B.
        similar: `(b, n)`, of S.
    """
    return {
        "likelihood": pairwise_likelihood_loss(outputs @ other.T / 2, similar),
        "quantisation": (codes - outputs).square().sum() / similar.numel(),
        "balance": outputs.mean(dim=0).square().sum(),
    }


def perceptron(input_dim: int, hidden_dim: int, bits: int) -> nn.Sequential:
    """A hidden layer with ReLU, and an output without: the paper's text network."""
    return nn.Sequential(nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, bits))


class CodesOfAllItems(TrainerCallback):
    """Fills F, G and B before the first step, solves B at the end of each epoch, and forgets all in the end.

    F and G are computed from the networks as they are, so that a resumed run goes on.
    """

    def on_train_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs):
        model.begin_codes(**train_dataloader.dataset[:])

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        model.solve_codes()

    def on_train_end(self, args, state, control, model=None, **kwargs):
        model.forget_codes()


@register_method("dcmh", display_order=160)
class DCMHModel(HashingMixin, CMRModel):
    """One network per modality; the signs of its outputs are the code.

    Attributes:
        all_image_outputs, all_text_outputs: F and G, `(n, bits)`: the networks' last outputs of all n training items.
        all_codes: B, `(n, bits)`, -1 and +1.
        all_labels: `(n, num_labels)`, whence S. All four are None but while the Trainer is at work.
    """

    title = "DCMH"
    paper = "Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017"
    supervision = "supervised"
    representation = "binary"
    config_class = DCMHConfig
    config: DCMHConfig
    all_image_outputs: torch.Tensor
    all_text_outputs: torch.Tensor
    all_codes: torch.Tensor
    all_labels: torch.Tensor

    def __init__(self, config: DCMHConfig):
        super().__init__(config)
        bits = config.embed_dim
        self.image_standardizer = CommonScale(config.image_dim)
        self.text_standardizer = CommonScale(config.text_dim)
        self.image_network: nn.Sequential
        if config.image_network == "cnn_f":
            self.image_network = CNNF(config.image_size, bits)
        else:
            self.image_network = perceptron(config.image_dim, config.image_hidden_dim, bits)
        self.text_network = perceptron(config.text_dim, config.text_hidden_dim, bits)
        for name in OF_ALL_ITEMS:
            self.register_buffer(name, None, persistent=False)
        self.post_init()

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers(), CodesOfAllItems()]

    @torch.no_grad()
    def begin_codes(
        self, image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor, **kwargs: Any
    ) -> None:
        """Fill F, G and B for all n training items, a row each."""
        device = self.device
        self.all_image_outputs, self.all_text_outputs = (
            torch.cat([embed(chunk.to(device)) for chunk in features.split(CHUNK)])
            for embed, features in (
                (self.get_image_features, image_features),
                (self.get_text_features, text_features),
            )
        )
        self.all_labels = labels.to(device, self.dtype)
        self.solve_codes()

    @torch.no_grad()
    def solve_codes(self) -> None:
        """The third step of Algorithm 1: B of F and G."""
        self.all_codes = unified_codes(self.all_image_outputs, self.all_text_outputs)

    def forget_codes(self) -> None:
        """Drop what is as long as the training data."""
        for name in OF_ALL_ITEMS:
            setattr(self, name, None)

    def get_image_features(
        self, image_features: torch.Tensor | None = None, pixel_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed images alone: `(n, image_dim)` features, or the same as `(n, 3, size, size)` pixels."""
        flat = image_features if pixel_values is None else pixel_values.flatten(1)
        return self.image_network(self.image_standardizer(flat))

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return self.text_network(self.text_standardizer(text_features))

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"quantisation": self.config.gamma, "balance": self.config.eta}

    def compute_loss(
        self, output: CMROutput, labels: torch.Tensor, rows: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The terms of J, of both networks.

        In training the batch is compared with all training items, and F and G are updated with it. Elsewhere the batch
        itself stands for all items.

        Args:
            output: of a batch of pairs.
            labels: `(n, num_labels)` multi-hot.
            rows: `(n,)` int64, which of the training items these are.
        """
        image, text = output.embeds
        if self.training and rows is not None and self.all_codes is not None:
            self.all_image_outputs[rows], self.all_text_outputs[rows] = image.detach(), text.detach()
            all_image, all_text, codes = self.all_image_outputs, self.all_text_outputs, self.all_codes[rows]
            similar = label_similarity(labels, self.all_labels)
        else:
            all_image, all_text = image.detach(), text.detach()
            codes, similar = unified_codes(all_image, all_text), label_similarity(labels)
        of_image = network_terms(image, all_text, codes, similar)
        of_text = network_terms(text, all_image, codes, similar)
        return {name: of_image[name] + of_text[name] for name in of_image}
