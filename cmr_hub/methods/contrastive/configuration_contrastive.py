"""Contrastive configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class ContrastiveConfig(CMRConfig):
    r"""Configuration of [`ContrastiveModel`].

    Args:
        embed_dim (`int`, defaults to 256):
            Width of the common space.
        hidden_dim (`int`, defaults to 512):
            Width of each tower's hidden layer; 0 makes each tower one linear projection.
        dropout (`float`, defaults to 0.7):
            Share of each tower's features (and hidden units) that training leaves out at random.
        initial_temperature (`float`, defaults to 0.07):
            What cosines are divided by at the start of training; it is learned from there.

    Example:
    ```python
    >>> from cmr_hub import ContrastiveConfig, ContrastiveModel
    >>> model = ContrastiveModel(ContrastiveConfig(image_dim=128, text_dim=10))
    >>> model.supervision
    'unsupervised'
    ```
    """

    model_type = "contrastive"

    embed_dim: int = 256
    hidden_dim: int = 512
    dropout: float = 0.7
    initial_temperature: float = 0.07

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.hidden_dim < 0:
            raise ValueError(f"hidden_dim must be 0 (linear towers) or more, and is {self.hidden_dim}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, and is {self.dropout}.")
        if self.initial_temperature < 0.01:
            raise ValueError(
                f"initial_temperature must be at least 0.01, which is as low as it may fall, and is "
                f"{self.initial_temperature}."
            )
