"""CVH configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class CVHConfig(HashingConfig):
    r"""Configuration of [`CVHModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, at most image_dim + text_dim. Only the first min(image_dim, text_dim) bits correlate
            across the sides.
        regularization (`float`, defaults to 1e-4):
            Ridge added to each covariance, as a share of its mean variance.

    Example:
    ```python
    >>> from cmr_hub import CVHConfig, CVHModel
    >>> model = CVHModel(CVHConfig(image_dim=128, text_dim=10, embed_dim=16))
    ```
    """

    model_type = "cvh"

    regularization: float = 1e-4

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim > self.image_dim + self.text_dim:
            raise ValueError(
                f"CVH has image_dim + text_dim = {self.image_dim + self.text_dim} eigenvectors, one a bit; embed_dim "
                f"is {self.embed_dim}."
            )
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
