"""Unified configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_parts import TwoPartConfig


@strict
class UnifiedConfig(TwoPartConfig):
    r"""Configuration of [`UnifiedModel`]; see [`TwoPartConfig`] for the other fields.

    The class part has one number per class, and the item part the rest of `embed_dim`.

    Args:
        classifier_dim (`int`, defaults to 256):
            Width of what the class towers give to the classifier.
        class_temperature (`float`, defaults to 1.0):
            What class logits are divided by for the probabilities that are compared; below 1 they are sharper.

    Example:
    ```python
    >>> from cmr_hub import UnifiedConfig, UnifiedModel
    >>> model = UnifiedModel(UnifiedConfig(image_dim=128, text_dim=10, embed_dim=512, num_labels=10))
    >>> model.config.class_dim, model.config.item_dim
    (10, 502)
    ```
    """

    model_type = "unified"

    classifier_dim: int = 256
    class_temperature: float = 1.0

    @property
    def class_dim(self) -> int:
        """Width of the class part, which comes first; 0 where there is none."""
        return self.num_labels if self.has_class_part and self.separate_parts else 0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.classifier_dim < 1:
            raise ValueError(f"classifier_dim must be at least 1, and is {self.classifier_dim}.")
        if self.class_temperature <= 0:
            raise ValueError(f"class_temperature must be above 0, and is {self.class_temperature}.")
        if self.item_dim < 0:
            raise ValueError(
                f"embed_dim is {self.embed_dim}, and the class part alone takes {self.class_dim}, one per class: give "
                "more, or has_class_part=False."
            )
