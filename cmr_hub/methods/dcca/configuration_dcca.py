"""Deep CCA configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig

MAX_LAYERS = 100


@strict
class DCCAConfig(CMRConfig):
    r"""Configuration of [`DCCAModel`].

    Args:
        embed_dim (`int`, defaults to 50):
            Number of canonical pairs kept, and whose correlations the loss sums; at most `output_dim`.
        output_dim (`int`, defaults to 50):
            Width of each network's output, before the linear CCA on top.
        hidden_dim (`int`, defaults to 1024):
            Width of each hidden layer.
        hidden_layers (`int`, defaults to 1):
            Hidden layers per modality.
        dropout (`float`, defaults to 0.0):
            Share of the inputs and hidden units dropped in training.
        regularization (`float`, defaults to 1e-3):
            Ridge added to each covariance, in the loss and in the linear CCA, as a share of its mean variance.
        correlation_power (`float`, defaults to 0.0):
            Each canonical variate is scaled by its correlation to this power: 0 is plain CCA, larger values trust the
            well-correlated directions more (Gong et al., IJCV 2014).

    Example:
    ```python
    >>> from cmr_hub import DCCAConfig, DCCAModel
    >>> model = DCCAModel(DCCAConfig(image_dim=128, text_dim=10, output_dim=9, embed_dim=9))
    ```
    """

    model_type = "dcca"

    embed_dim: int = 50
    output_dim: int = 50
    hidden_dim: int = 1024
    hidden_layers: int = 1
    dropout: float = 0.0
    regularization: float = 1e-3
    correlation_power: float = 0.0

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("output_dim", "hidden_dim", "hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        if self.hidden_layers > MAX_LAYERS:
            raise ValueError(f"hidden_layers must be at most {MAX_LAYERS}, and is {self.hidden_layers}.")
        if self.embed_dim > self.output_dim:
            raise ValueError(
                f"The networks' outputs have at most output_dim = {self.output_dim} canonical pairs; embed_dim is "
                f"{self.embed_dim}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), and is {self.dropout}.")
        if self.regularization <= 0:
            raise ValueError(f"regularization must be above 0, and is {self.regularization}.")
