"""Configuration of the catalyser of spreading vectors."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.checked_config import CheckedConfig


@strict
class SpreadingVectorsConfig(CheckedConfig):
    r"""Configuration of [`SpreadingVectorsModel`].

    Args:
        input_dim (`int`, defaults to 1024):
            Width of the embeddings that the catalyser eats.
        hidden_dim (`int`, defaults to 1024):
            Width of both hidden layers.
        output_dim (`int`, defaults to 24):
            Width of what it gives.
        spheres (`int`, defaults to 1):
            Into how many parts of equal length the output is cut, each on a sphere of its own. A lattice codes each
            part by itself: two spheres of 24 dimensions take twice the bits of one.
        koleo (`float`, defaults to 0.02):
            Weight of the KoLeo term, lambda in the paper.

    Example:
    ```python
    >>> from cmr_hub import SpreadingVectorsConfig, SpreadingVectorsModel
    >>> config = SpreadingVectorsConfig(input_dim=96)
    >>> model = SpreadingVectorsModel(config)
    ```
    """

    model_type = "spreading_vectors"

    input_dim: int = 1024
    hidden_dim: int = 1024
    output_dim: int = 24
    spheres: int = 1
    koleo: float = 0.02

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        for name in ("input_dim", "hidden_dim", "output_dim", "spheres"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        if self.output_dim % self.spheres:
            raise ValueError(
                f"An output_dim of {self.output_dim} cannot be cut into {self.spheres} spheres of one dimension: "
                "choose a multiple."
            )
        if self.koleo < 0:
            raise ValueError(f"koleo weighs a loss and is at least 0, not {self.koleo}.")
