"""IDCMR configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class IDCMRConfig(CMRConfig):
    r"""Configuration of [`IDCMRModel`].

    Args:
        hidden_dim (`int`, defaults to 512):
            Width of each side's own layer, below the shared one.
        embed_dim (`int`, defaults to 128):
            Width of the common space; the classifier's closed form wants it no wider than a batch has items.
        activation (`str`, defaults to `"relu"`):
            After each side's own layer: `"relu"` or `"sigmoid"`, the two that the paper speaks of.
        loss_lambda (`float`, defaults to 1e-2):
            Weight of J2, the discrimination loss in the common space.
        loss_eta (`float`, defaults to 0.1):
            Weight of J3, the modality invariance loss.
        ridge (`float`, defaults to 1.0):
            r of the classifier's closed form (U^T U + r I)^-1 U^T S.
        combine (`str`, defaults to `"sum"`):
            What becomes of the two sides' solutions: their `"sum"`, as printed in Algorithm 1, or their `"mean"`.

    Example:
    ```python
    >>> from cmr_hub import IDCMRConfig, IDCMRModel
    >>> config = IDCMRConfig(image_dim=128, text_dim=10, num_labels=10)
    >>> model = IDCMRModel(config)
    ```
    """

    model_type = "idcmr"

    embed_dim: int = 128
    hidden_dim: int = 512
    activation: Literal["relu", "sigmoid"] = "relu"
    loss_lambda: float = 1e-2
    loss_eta: float = 0.1
    ridge: float = 1.0
    combine: Literal["sum", "mean"] = "sum"

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, and is {self.hidden_dim}.")
        if self.ridge <= 0:
            raise ValueError(f"ridge must be above 0, or a small batch has no solution, and is {self.ridge}.")
