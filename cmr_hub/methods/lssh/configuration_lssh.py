"""LSSH configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_hashing import HashingConfig

MAX_STEPS = 10_000


@strict
class LSSHConfig(HashingConfig):
    r"""Configuration of [`LSSHModel`].

    Args:
        image_components (`int`, defaults to 64):
            Principal components of the images that are sparsely coded; image_dim where that is less.
        dictionary_size (`int`, defaults to 512):
            Atoms of the images' dictionary.
        sparsity (`float`, defaults to 0.2):
            Weight of the L1 norm of the images' sparse codes.
        mu (`float`, defaults to 0.5):
            Weight of the texts' factorisation.
        gamma (`float`, defaults to 1.0):
            Weight of the map from the images' sparse codes to the texts' factors.
        iterations (`int`, defaults to 20):
            Rounds of alternation in training.
        sparse_steps (`int`, defaults to 30):
            Steps of each sparse coding, in training and of new images.

    Example:
    ```python
    >>> from cmr_hub import LSSHConfig, LSSHModel
    >>> model = LSSHModel(LSSHConfig(image_dim=128, text_dim=10, embed_dim=32, dictionary_size=256))
    ```
    """

    model_type = "lssh"

    image_components: int = 64
    dictionary_size: int = 512
    sparsity: float = 0.2
    mu: float = 0.5
    gamma: float = 1.0
    iterations: int = 20
    sparse_steps: int = 30

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("image_components", "dictionary_size", "iterations", "sparse_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        if self.sparse_steps > MAX_STEPS:
            raise ValueError(f"sparse_steps must be at most {MAX_STEPS}, and is {self.sparse_steps}.")
        for name in ("sparsity", "mu", "gamma"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, and is {getattr(self, name)}.")
