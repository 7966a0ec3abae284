"""What the configuration of every hashing method shares."""

from huggingface_hub.dataclasses import strict

from .configuration_cmr import CMRConfig

CODE_LENGTHS = range(8, 257, 8)  # whole bytes


@strict
class HashingConfig(CMRConfig):
    r"""Base configuration of every hashing method.

    Args:
        embed_dim (`int`, defaults to 64):
            Code length in bits, a multiple of 8 from 8 to 256.
    """

    embed_dim: int = 64

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if self.embed_dim not in CODE_LENGTHS:
            near = min(CODE_LENGTHS, key=lambda bits: abs(bits - self.embed_dim))
            raise ValueError(
                f"A code has a multiple of 8 bits (it is kept in whole bytes), from 8 to 256; embed_dim is "
                f"{self.embed_dim}. The nearest is {near}."
            )
