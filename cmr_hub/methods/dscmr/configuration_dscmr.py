"""DSCMR configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class DSCMRConfig(CMRConfig):
    r"""Configuration of [`DSCMRModel`].

    Args:
        hidden_dim (`int`, defaults to 2048):
            Width of each side's own layer, below the shared one.
        loss_lambda (`float`, defaults to 1e-3):
            Weight of J2, the discrimination loss in the common space.
        loss_eta (`float`, defaults to 1e-1):
            Weight of J3, the modality invariance loss.
        residual_norm (`str`, defaults to `"frobenius"`):
            How J1 and J3 measure a residual matrix of n rows: `"frobenius"` is (1/n)||R||_F, as printed in the paper;
            `"rowwise"` is the mean of the rows' norms, as the authors' released code computes it.

    Example:
    ```python
    >>> from cmr_hub import DSCMRConfig, DSCMRModel
    >>> config = DSCMRConfig(image_dim=128, text_dim=10, num_labels=10)
    >>> model = DSCMRModel(config)
    ```
    """

    model_type = "dscmr"

    hidden_dim: int = 2048
    loss_lambda: float = 1e-3
    loss_eta: float = 1e-1
    residual_norm: Literal["frobenius", "rowwise"] = "frobenius"
