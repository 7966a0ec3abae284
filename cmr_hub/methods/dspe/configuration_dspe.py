"""DSPE configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class DSPEConfig(CMRConfig):
    r"""Configuration of [`DSPEModel`].

    Args:
        embed_dim (`int`, defaults to 512):
            Width of the common space.
        hidden_dim (`int`, defaults to 2048):
            Width of each branch's hidden layer.
        dropout (`float`, defaults to 0.5):
            Share of hidden units that training leaves out at random.
        margin (`float`, defaults to 0.1):
            By how much what belongs to an image or a text must be nearer to it than what does not, in Euclidean
            distance.
        violations (`int`, defaults to 10):
            How many of what does not belong count for each pair that does: the nearest ones.
        text_to_image_weight (`float`, defaults to 2.0):
            λ1, the weight of ranking images for a text; that of ranking texts for an image is 1.
        image_structure_weight (`float`, defaults to 0.0):
            λ2, the weight of keeping images of one text together.
        text_structure_weight (`float`, defaults to 0.2):
            λ3, the weight of keeping texts of one image together.

    Example:
    ```python
    >>> from cmr_hub import DSPEConfig, DSPEModel
    >>> model = DSPEModel(DSPEConfig(image_dim=128, text_dim=10))
    >>> model.supervision
    'unsupervised'
    ```
    """

    model_type = "dspe"

    embed_dim: int = 512
    hidden_dim: int = 2048
    dropout: float = 0.5
    margin: float = 0.1
    violations: int = 10
    text_to_image_weight: float = 2.0
    image_structure_weight: float = 0.0
    text_structure_weight: float = 0.2

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("hidden_dim", "violations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, and is {self.dropout}.")
        for name in ("margin", "text_to_image_weight", "image_structure_weight", "text_structure_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
