"""DSCMR-Hash configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig

WEIGHTS = ("label", "likelihood", "invariance", "quantisation", "balance", "decorrelation")


@strict
class DSCMRHashConfig(HashingConfig):
    r"""Configuration of [`DSCMRHashModel`].

    Args:
        hidden_dim (`int`, defaults to 1024):
            Width of each side's own layer, below the shared one.
        dropout (`float`, defaults to 0.3):
            Share of each hidden layer that is left out in a training step.
        input_dropout (`float`, defaults to 0.0):
            Likewise of the scaled features.
        label_loss (`str`, defaults to `"softmax"`):
            J1: `"softmax"` is the shared classifier's cross-entropy, `"frobenius"` its distance to the labels,
            DSCMR's.
        straight_through (`bool`, defaults to `True`):
            Whether J1 classifies the codes themselves, with the gradient of tanh; if not, the values of tanh.
        class_scale (`float`, defaults to 4.0):
            What the classifier's outputs are multiplied by, so that a short code can be as sure of its class as a
            long.
        similarity_scale (`float`, defaults to 10.0), similarity_margin (`float`, defaults to 0.3):
            J2 takes scale * (cosine - margin) for the log-odds that two items share a class. DSCMR has 0.5 and 0.
        label_weight, likelihood_weight, invariance_weight (`float`, default to 1.0, 1.0 and 0.1):
            Weights of J1, J2 and J3. A weight of zero leaves a term out, here and below.
        quantisation_weight, balance_weight, decorrelation_weight (`float`, default to 0.1):
            Weights of the three terms that ask for codes: values near their signs, bits that are as often set as not,
            and bits that say different things.
        final_alpha (`float`, defaults to 3.0):
            The values are tanh(alpha x), and alpha grows from 1 to this in the course of training; at 1 it stays.

    Example:
    ```python
    >>> from cmr_hub.methods.dscmr_hash import DSCMRHashConfig, DSCMRHashModel
    >>> config = DSCMRHashConfig(image_dim=128, text_dim=10, num_labels=10, embed_dim=16)
    >>> model = DSCMRHashModel(config)
    ```
    """

    model_type = "dscmr_hash"

    hidden_dim: int = 1024
    dropout: float = 0.3
    input_dropout: float = 0.0
    label_loss: Literal["softmax", "frobenius"] = "softmax"
    straight_through: bool = True
    class_scale: float = 4.0
    similarity_scale: float = 10.0
    similarity_margin: float = 0.3
    label_weight: float = 1.0
    likelihood_weight: float = 1.0
    invariance_weight: float = 0.1
    quantisation_weight: float = 0.1
    balance_weight: float = 0.1
    decorrelation_weight: float = 0.1
    final_alpha: float = 3.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, and is {self.hidden_dim}.")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, and is {getattr(self, name)}.")
        for name in ("class_scale", "similarity_scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}.")
        weights = {f"{term}_weight": getattr(self, f"{term}_weight") for term in WEIGHTS}
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name} must not be negative, and is {weight}.")
        if not any(weights.values()):
            raise ValueError(f"{', '.join(weights)} are all 0: there is nothing to learn from.")
        if self.final_alpha < 1:
            raise ValueError(f"alpha grows from 1, so that final_alpha must be at least 1, and is {self.final_alpha}.")
