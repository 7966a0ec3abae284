"""Isotropic hashing configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_canonical import CanonicalHashConfig


@strict
class IsotropicConfig(CanonicalHashConfig):
    r"""Configuration of [`IsotropicModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256, at most the width of the common space.
        tolerance (`float`, defaults to 1e-4):
            The rotation is found when no variance differs from their mean by more than this share of it.
        max_iterations (`int`, defaults to 500):
            Steps of lift and projection after which the rotation is taken as it is.

    Example:
    ```python
    >>> from cmr_hub import IsotropicConfig, IsotropicModel
    >>> model = IsotropicModel(IsotropicConfig(image_dim=1280, text_dim=1686, embed_dim=64))
    ```
    """

    model_type = "isotropic"

    tolerance: float = 1e-4
    max_iterations: int = 500

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim > self.components:
            raise ValueError(
                f"Isotropic hashing has one bit a dimension of the common space, at most min(common_dim, image_dim, "
                f"text_dim) = {self.components}; embed_dim is {self.embed_dim}."
            )
        if self.tolerance <= 0 or self.max_iterations < 1:
            raise ValueError(
                f"tolerance must be above 0 and max_iterations at least 1; they are {self.tolerance} and "
                f"{self.max_iterations}."
            )
