"""STMH configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class STMHConfig(HashingConfig):
    r"""Configuration of [`STMHModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits: as many topics of texts, and concepts of images, are looked for.
        image_weight (`float`, defaults to 1.0):
            Weight of the images' robust factorisation.
        correlation_weight (`float`, defaults to 1.0):
            Weight of the agreement between a text's topics and its image's concepts.
        regularization (`float`, defaults to 1e-2):
            Ridge on all factors.
        hash_regularization (`float`, defaults to 1e-2):
            Ridge of the hash functions, as a share of the features' variance.
        iterations (`int`, defaults to 20):
            Rounds of alternation in training.

    Example:
    ```python
    >>> from cmr_hub import STMHConfig, STMHModel
    >>> model = STMHModel(STMHConfig(image_dim=128, text_dim=10, embed_dim=32))
    ```
    """

    model_type = "stmh"

    image_weight: float = 1.0
    correlation_weight: float = 1.0
    regularization: float = 1e-2
    hash_regularization: float = 1e-2
    iterations: int = 20

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, and is {self.iterations}.")
        for name in ("image_weight", "correlation_weight", "regularization", "hash_regularization"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}.")
