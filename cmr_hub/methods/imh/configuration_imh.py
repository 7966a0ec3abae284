"""IMH configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class IMHConfig(HashingConfig):
    r"""Configuration of [`IMHModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, at most image_dim + text_dim.
        neighbors (`int`, defaults to 5):
            Nearest items of each item, by the Euclidean distance of either side's features.
        intra_media (`float`, defaults to 1.0):
            Weight of neighbours having like codes, beside the hash functions' residuals.
        regularization (`float`, defaults to 0.1):
            Ridge of the hash functions, as a share of the features' mean variance.
        threshold (`str`, defaults to `"median"`):
            What a bit's value is compared with: its `"median"` over the training items, or its `"mean"`.

    Example:
    ```python
    >>> from cmr_hub import IMHConfig, IMHModel
    >>> model = IMHModel(IMHConfig(image_dim=128, text_dim=10, embed_dim=64, neighbors=10))
    ```
    """

    model_type = "imh"

    neighbors: int = 5
    intra_media: float = 1.0
    regularization: float = 0.1
    threshold: Literal["median", "mean"] = "median"

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim > self.image_dim + self.text_dim:
            raise ValueError(
                f"IMH learns at most image_dim + text_dim = {self.image_dim + self.text_dim} bits; embed_dim is "
                f"{self.embed_dim}."
            )
        if self.neighbors < 1:
            raise ValueError(f"neighbors must be at least 1, and is {self.neighbors}.")
        if self.intra_media < 0:
            raise ValueError(f"intra_media must be at least 0, and is {self.intra_media}.")
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
