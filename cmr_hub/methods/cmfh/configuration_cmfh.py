"""CMFH configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class CMFHConfig(HashingConfig):
    r"""Configuration of [`CMFHModel`].

    Args:
        image_share (`float`, defaults to 0.5):
            Weight of the images' factorisation (lambda), between 0 and 1; the texts' is 1 - lambda.
        mu (`float`, defaults to 100.0):
            Weight of the hash functions' residuals.
        gamma (`float`, defaults to 0.01):
            Weight of the squared norms of all factors.
        ridge (`str`, defaults to `"objective"`):
            Ridge of the systems for the factors: `"objective"` is what minimises the objective, gamma / lambda and
            gamma / mu; `"gamma"` is gamma for all, as the authors' solver has it.
        tolerance (`float`, defaults to 1e-4):
            Iterations end when the objective falls by less than this share of itself.
        max_iterations (`int`, defaults to 200):
            They end here at the latest.

    Example:
    ```python
    >>> from cmr_hub import CMFHConfig, CMFHModel
    >>> model = CMFHModel(CMFHConfig(image_dim=128, text_dim=10, embed_dim=64))
    ```
    """

    model_type = "cmfh"

    image_share: float = 0.5
    mu: float = 100.0
    gamma: float = 0.01
    ridge: Literal["objective", "gamma"] = "objective"
    tolerance: float = 1e-4
    max_iterations: int = 200

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if not 0 < self.image_share < 1:
            raise ValueError(f"image_share must lie between 0 and 1, and is {self.image_share}.")
        for name in ("mu", "gamma", "tolerance"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}.")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, and is {self.max_iterations}.")
