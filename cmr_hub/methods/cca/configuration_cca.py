"""CCA configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class CCAConfig(CMRConfig):
    r"""Configuration of [`CCAModel`].

    Args:
        embed_dim (`int`, defaults to 50):
            Number of canonical pairs kept, at most min(image_dim, text_dim).
        regularization (`float`, defaults to 1e-4):
            Ridge added to each covariance, as a share of its mean variance.
        correlation_power (`float`, defaults to 0.0):
            Each canonical variate is scaled by its correlation to this power: 0 is plain CCA, larger values trust the
            well-correlated directions more (Gong et al., IJCV 2014, use 4).

    Example:
    ```python
    >>> from cmr_hub import CCAConfig, CCAModel
    >>> model = CCAModel(CCAConfig(image_dim=128, text_dim=10, embed_dim=9))
    ```
    """

    model_type = "cca"

    embed_dim: int = 50
    regularization: float = 1e-4
    correlation_power: float = 0.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim > min(self.image_dim, self.text_dim):
            raise ValueError(
                f"CCA has at most min(image_dim, text_dim) = {min(self.image_dim, self.text_dim)} canonical pairs; "
                f"embed_dim is {self.embed_dim}."
            )
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
