"""Configuration of the hashing method SCM (semantic correlation maximisation)."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class SCMConfig(HashingConfig):
    r"""Configuration of [`SCMModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits; `"orthogonal"` has at most min(image_dim, text_dim) of them.
        variant (`str`, defaults to `"sequential"`):
            `"sequential"` learns one bit after the other, each on what those before it leave unexplained;
            `"orthogonal"` learns all at once, under the constraint that bits are uncorrelated.
        regularization (`float`, defaults to 1e-2):
            Ridge added to each covariance, as a share of its mean variance.

    Example:
    ```python
    >>> from cmr_hub import SCMConfig, SCMModel
    >>> model = SCMModel(SCMConfig(image_dim=128, text_dim=50, embed_dim=32, variant="orthogonal"))
    ```
    """

    model_type = "scm"

    variant: Literal["sequential", "orthogonal"] = "sequential"
    regularization: float = 1e-2

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        most = min(self.image_dim, self.text_dim)
        if self.variant == "orthogonal" and self.embed_dim > most:
            raise ValueError(
                f"The orthogonal variant has at most min(image_dim, text_dim) = {most} bits; embed_dim is "
                f"{self.embed_dim}. The sequential variant has no such limit."
            )
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
