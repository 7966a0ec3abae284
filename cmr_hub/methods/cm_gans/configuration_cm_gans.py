"""CM-GANs configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig


@strict
class CMGANsConfig(CMRConfig):
    r"""Configuration of [`CMGANsModel`].

    Args:
        hidden_dim (`int`, defaults to 1024):
            Width of every hidden layer of the generator: each side's own, the shared one and the decoder's.
        embed_dim (`int`, defaults to 256):
            Width of the common space.
        discriminator_dim (`int`, defaults to 256):
            Width of every discriminator's hidden layer.
        discriminator_steps (`int`, defaults to 1):
            Steps of the discriminators before each step of the generator.
        reconstruction_weight (`float`, defaults to 1.0):
            Weight of the autoencoders' squared error in the generator's objective.
        intra_weight (`float`, defaults to 0.1):
            Weight of the intra-modality adversary in the generator's objective.
        inter_weight (`float`, defaults to 0.1):
            Weight of the inter-modality adversary in the generator's objective.

    Example:
    ```python
    >>> from cmr_hub import CMGANsConfig, CMGANsModel
    >>> config = CMGANsConfig(image_dim=128, text_dim=10, num_labels=10)
    >>> model = CMGANsModel(config)
    ```
    """

    model_type = "cm_gans"

    embed_dim: int = 256
    hidden_dim: int = 1024
    discriminator_dim: int = 256
    discriminator_steps: int = 1
    reconstruction_weight: float = 1.0
    intra_weight: float = 0.1
    inter_weight: float = 0.1

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("hidden_dim", "discriminator_dim", "discriminator_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        for name in ("reconstruction_weight", "intra_weight", "inter_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
