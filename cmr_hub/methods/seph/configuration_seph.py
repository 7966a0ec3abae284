"""SePH configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig


@strict
class SePHConfig(HashingConfig):
    r"""Configuration of [`SePHModel`].

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256.
        alpha (`float`, defaults to 0.01):
            Weight of the quantisation: how close to -1 and +1 the relaxed codes are held while they are learned.
        label_sets (`int`, defaults to 2000):
            Most sets of classes that codes are learned for, the commonest first. Items of other sets take no part.
        anchors (`int`, defaults to 500):
            Centres of the RBF kernel, on each side.
        anchor_choice (`str`, defaults to `"random"`):
            `"random"`: the centres are training items (the paper's SePH_rnd); `"k_means"`: they are k-means centres of
            them (SePH_km).
        regularization (`float`, defaults to 1e-4):
            Ridge of the logistic regressions, as a share of the kernel features' mean variance.

    Example:
    ```python
    >>> from cmr_hub.methods.seph import SePHConfig, SePHModel
    >>> model = SePHModel(SePHConfig(image_dim=128, text_dim=10, embed_dim=16, num_labels=10))
    >>> model.image_weight.shape
    torch.Size([500, 16])
    ```
    """

    model_type = "seph"

    alpha: float = 0.01
    label_sets: int = 2000
    anchors: int = 500
    anchor_choice: Literal["random", "k_means"] = "random"
    regularization: float = 1e-4

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.alpha < 0:
            raise ValueError(f"alpha must be at least 0, and is {self.alpha}.")
        if self.label_sets < 2:
            raise ValueError(f"label_sets must be at least 2, and is {self.label_sets}.")
        if self.anchors < 1:
            raise ValueError(f"anchors must be at least 1, and is {self.anchors}.")
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
