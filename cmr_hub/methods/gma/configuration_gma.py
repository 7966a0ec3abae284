"""GMA configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class GMAConfig(CMRConfig):
    r"""Configuration of [`GMAModel`].

    Args:
        embed_dim (`int`, defaults to 20):
            Number of eigenvectors kept, at most image_dim + text_dim.
        variant (`str`, defaults to `"lda"`):
            What A and B measure on each side: `"lda"` the scatter between and within classes (GMLDA); `"mfa"` the
            differences to near items of other classes and of one's own (GMMFA).
        coupling (`str`, defaults to `"pairs"`):
            What must agree across the sides: `"pairs"` each image with its text, `"class_means"` the means of each
            class.
        alpha (`float`, defaults to 10.0):
            Weight of the agreement across the sides.
        mu (`float`, *optional*):
            Weight of the texts' A; None: what gives both sides' A the same trace.
        gamma (`float`, *optional*):
            Weight of the texts' B; None: what gives both sides' B the same trace.
        regularization (`float`, defaults to 1e-1):
            Ridge added to each B, as a share of the features' mean variance.
        within_neighbors (`int`, defaults to 5):
            "mfa": nearest items of one's own class.
        between_neighbors (`int`, defaults to 20):
            "mfa": nearest items of other classes.

    Example:
    ```python
    >>> from cmr_hub import GMAConfig, GMAModel
    >>> model = GMAModel(GMAConfig(image_dim=128, text_dim=10, embed_dim=9, variant="mfa"))
    ```
    """

    model_type = "gma"

    embed_dim: int = 20
    variant: Literal["lda", "mfa"] = "lda"
    coupling: Literal["pairs", "class_means"] = "pairs"
    alpha: float = 10.0
    mu: float | None = None
    gamma: float | None = None
    regularization: float = 1e-1
    within_neighbors: int = 5
    between_neighbors: int = 20

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim > self.image_dim + self.text_dim:
            raise ValueError(
                f"GMA has image_dim + text_dim = {self.image_dim + self.text_dim} eigenvectors; embed_dim is "
                f"{self.embed_dim}."
            )
        if self.alpha < 0:
            raise ValueError(f"alpha must be at least 0, and is {self.alpha}.")
        for name in ("mu", "gamma", "regularization"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, and is {value}.")
        for name in ("within_neighbors", "between_neighbors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
