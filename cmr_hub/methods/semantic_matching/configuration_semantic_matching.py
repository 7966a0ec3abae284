"""Semantic matching configuration."""

from typing import Any

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class SemanticMatchingConfig(CMRConfig):
    r"""Configuration of [`SemanticMatchingModel`].

    Args:
        embed_dim (`int`, *optional*):
            The common space is that of the classes: this is their number, whether given or not.
        regularization (`float`, defaults to 1e-2):
            Weight of half the squared norm of the classifiers' weights, for features of unit mean variance.
        center (`bool`, defaults to `False`):
            Whether the mean posterior of the training items is taken off each posterior before they are compared.

    Example:
    ```python
    >>> from cmr_hub import SemanticMatchingConfig
    >>> SemanticMatchingConfig(image_dim=128, text_dim=10, num_labels=10).embed_dim
    10
    ```
    """

    model_type = "semantic_matching"

    embed_dim: int | None = None  # type: ignore[assignment]  # __post_init__ sets it
    regularization: float = 1e-2
    center: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.embed_dim is None:
            self.embed_dim = self.num_labels

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim != self.num_labels:
            raise ValueError(
                f"The common space is that of the {self.num_labels} classes; embed_dim cannot be {self.embed_dim}."
            )
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
