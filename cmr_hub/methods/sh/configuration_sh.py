"""Spectral hashing configuration."""

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_canonical import CanonicalHashConfig


@strict
class SHConfig(CanonicalHashConfig):
    r"""Configuration of [`SHModel`].

    Any code length is possible: a direction of the common space carries as many bits as its range deserves.

    Example:
    ```python
    >>> from cmr_hub import SHConfig, SHModel
    >>> model = SHModel(SHConfig(image_dim=128, text_dim=10, embed_dim=64))
    ```
    """

    model_type = "sh"
