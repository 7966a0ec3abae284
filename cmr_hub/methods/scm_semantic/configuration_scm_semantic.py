"""Semantic correlation matching configuration."""

from typing import Any

from huggingface_hub.dataclasses import strict

from ..semantic_matching import SemanticMatchingConfig


@strict
class SCMSemanticConfig(SemanticMatchingConfig):
    r"""Configuration of [`SCMSemanticModel`].

    Args:
        components (`int`, *optional*):
            Number of canonical pairs that the classifiers see, at most min(image_dim, text_dim), which is the default.
        correlation_regularization (`float`, defaults to 1e-4):
            Ridge added to each covariance, as a share of its mean variance.

    Further fields: [`SemanticMatchingConfig`].

    Example:
    ```python
    >>> from cmr_hub import SCMSemanticConfig
    >>> SCMSemanticConfig(image_dim=128, text_dim=10, num_labels=10, components=9).embed_dim
    10
    ```
    """

    model_type = "scm_semantic"

    components: int | None = None
    correlation_regularization: float = 1e-4

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.components is None:
            self.components = min(self.image_dim, self.text_dim)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        most = min(self.image_dim, self.text_dim)
        if self.components is None or not 1 <= self.components <= most:
            raise ValueError(
                f"There are min(image_dim, text_dim) = {most} canonical pairs at most; components: {self.components}."
            )
        if self.correlation_regularization <= 0:
            raise ValueError(f"correlation_regularization must be above 0, and is {self.correlation_regularization}.")
