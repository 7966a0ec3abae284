"""What the configurations of methods that hash the canonical variates of both sides share."""

from huggingface_hub.dataclasses import strict

from .configuration_hashing import HashingConfig


@strict
class CanonicalHashConfig(HashingConfig):
    r"""Base configuration of hashing methods in the space of canonical variates.

    Args:
        common_dim (`int`, defaults to 256):
            Number of canonical pairs kept, at most; there are no more than min(image_dim, text_dim).
        regularization (`float`, defaults to 1.0):
            Ridge added to each covariance, as a share of its mean variance.
        correlation_power (`float`, defaults to 1.0):
            Each canonical variate is scaled by its correlation to this power: larger values trust the well-correlated
            directions more.
    """

    common_dim: int = 256
    regularization: float = 1.0
    correlation_power: float = 1.0

    @property
    def components(self) -> int:
        """Width of the common space, in which both sides are hashed."""
        return min(self.common_dim, self.image_dim, self.text_dim)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.common_dim < 1:
            raise ValueError(f"common_dim must be at least 1, and is {self.common_dim}.")
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
