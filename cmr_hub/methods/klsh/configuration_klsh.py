"""KLSH configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_canonical import CanonicalHashConfig


@strict
class KLSHConfig(CanonicalHashConfig):
    r"""Configuration of [`KLSHModel`].

    Args:
        anchors (`int`, defaults to 300):
            Training points that the kernel is evaluated against, p in the paper; drawn from both sides together.
        sampled (`int`, defaults to 30):
            Anchors whose mean makes one hash function, t in the paper.
        bandwidth (`float`, defaults to 1.0):
            The kernel is exp(-d² / (2 σ²)), and this is σ² as a share of the mean d² between two anchors.

    Any code length is possible.

    Example:
    ```python
    >>> from cmr_hub import KLSHConfig, KLSHModel
    >>> model = KLSHModel(KLSHConfig(image_dim=128, text_dim=10, embed_dim=64))
    ```
    """

    model_type = "klsh"

    anchors: int = 300
    sampled: int = 30
    bandwidth: float = 1.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if not 1 <= self.sampled < self.anchors:
            raise ValueError(
                f"A hash function is made of some of the anchors: sampled must be from 1 to {self.anchors - 1}, and "
                f"is {self.sampled}."
            )
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth must be above 0, and is {self.bandwidth}.")
