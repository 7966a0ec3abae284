"""ACMR configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class ACMRConfig(CMRConfig):
    r"""Configuration of [`ACMRModel`].

    Args:
        embed_dim (`int`, defaults to 200):
            Width of the common space.
        image_hidden_dim (`int`, defaults to 2000):
            Width of the image projector's hidden layer.
        text_hidden_dim (`int`, defaults to 500):
            Width of the text projector's hidden layer.
        modality_hidden_dim (`int`, defaults to 50):
            Width of the modality classifier's hidden layer.
        input_scale (`float`, defaults to 1.0):
            Root mean square that each feature vector is brought to. The larger, the less linear the projectors are.
        dropout (`float`, defaults to 0.0):
            Share of each hidden layer that is left out in a training step.
        losses (`str`, defaults to `"all"`):
            The terms of the objective: `"label"` (loss 1), `"label+triplet"` (losses 1 and 2) or `"all"`.
        alignment (`str`, defaults to `"adversarial"`):
            Loss 3, which makes the modalities alike: `"adversarial"` (a modality classifier behind a gradient
            reversal), `"mmd"`, `"coral"` or `"correlation"`.
        triplet (`str`, defaults to `"mean"`):
            Loss 2: `"mean"` is the mean over all triplets of a batch, by cosine distance; `"batch_sum"` compares the
            batch's own pairs, weighted by `positive_weight`, with one hard negative of each, by half the squared
            distance, summed before the hinge, as the log in the slides does.
        margin (`float`, defaults to 0.5):
            By how much an item of another class must be further than one of the same class; 0.1 in the slides' log.
        positive_weight (`float`, defaults to 5.0):
            Of `"batch_sum"`, the weight of the distances of pairs against those of negatives.
        label_weight, triplet_weight, alignment_weight (`float`, default to 1.0):
            Weights of loss 1, 2 and 3.

    Example:
    ```python
    >>> from cmr_hub.methods.acmr import ACMRConfig, ACMRModel
    >>> config = ACMRConfig(image_dim=128, text_dim=10, num_labels=10, alignment="coral")
    >>> model = ACMRModel(config)
    ```
    """

    model_type = "acmr"

    embed_dim: int = 200
    image_hidden_dim: int = 2000
    text_hidden_dim: int = 500
    modality_hidden_dim: int = 50
    input_scale: float = 1.0
    dropout: float = 0.0
    losses: Literal["label", "label+triplet", "all"] = "all"
    alignment: Literal["adversarial", "mmd", "coral", "correlation"] = "adversarial"
    triplet: Literal["mean", "batch_sum"] = "mean"
    margin: float = 0.5
    positive_weight: float = 5.0
    label_weight: float = 1.0
    triplet_weight: float = 1.0
    alignment_weight: float = 1.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("image_hidden_dim", "text_hidden_dim", "modality_hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        if self.input_scale <= 0:
            raise ValueError(f"input_scale must be above 0, and is {self.input_scale}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, and is {self.dropout}.")
        for name in ("margin", "positive_weight", "label_weight", "triplet_weight", "alignment_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
