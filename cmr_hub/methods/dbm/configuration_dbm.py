"""Bimodal deep Boltzmann machine configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig

MAX_STEPS = 1000


@strict
class DBMConfig(CMRConfig):
    r"""Configuration of [`DBMModel`].

    Args:
        embed_dim (`int`, defaults to 256):
            Binary units of the joint layer.
        hidden_dim (`int`, defaults to 256):
            Binary units of each side's own hidden layer.
        gibbs_steps (`int`, defaults to 1):
            Steps from the data to the model's own states (the k of CD-k).
        mean_field_steps (`int`, defaults to 10):
            Rounds of updates that infer the layers that are not given.

    Example:
    ```python
    >>> from cmr_hub import DBMConfig, DBMModel
    >>> model = DBMModel(DBMConfig(image_dim=128, text_dim=10, gibbs_steps=5))
    ```
    """

    model_type = "dbm"

    embed_dim: int = 256
    hidden_dim: int = 256
    gibbs_steps: int = 1
    mean_field_steps: int = 10

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("hidden_dim", "gibbs_steps", "mean_field_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        for name in ("gibbs_steps", "mean_field_steps"):
            if getattr(self, name) > MAX_STEPS:
                raise ValueError(f"{name} must be at most {MAX_STEPS}, and is {getattr(self, name)}.")
