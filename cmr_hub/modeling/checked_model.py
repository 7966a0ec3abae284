"""Models whose checkpoints are whole or refused."""

from __future__ import annotations

import os
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checksums import checked, saved
from cmr_hub.utils.hub import resolve

# What one save writes of them takes the place of all that an earlier one wrote.
WEIGHT_FILES = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")


class CheckedModel(PreTrainedModel):
    """A `PreTrainedModel` that starts as torch's layers do, loads only what fits exactly, and saves atomically."""

    def _init_weights(self, module: nn.Module) -> None:
        # The papers assume torch's own initialisation, not the N(0, 0.02) of transformers.
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()

    @classmethod
    def from_pretrained(  # type: ignore[override]  # transformers lists the options that are handed on to it
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *model_args: Any, **kwargs: Any
    ) -> Self:
        """As in transformers, with a bundled `cmr/<name>` found first and no weight ever left to chance.

        Weights load as float32 unless `dtype` says otherwise: half precision is for the disk, not for the arithmetic.
        `verify=False` loads files whatever their digests in `checksums.json`.

        Raises:
            CheckpointNotFoundError: nothing of this id is bundled, cached or on the Hub.
            CheckpointError: files that differ from their digests; weights that are corrupt, missing, unexpected or of
                another shape, or another method's.

        Example:
        ```python
        >>> from cmr_hub import DSCMRModel
        >>> model = DSCMRModel.from_pretrained("cmr/dscmr-wiki")
        >>> model.config.image_dim, model.config.text_dim
        (128, 10)
        ```
        """
        location = {name: kwargs.pop(name) for name in ("revision", "force_download", "token") if name in kwargs}
        folder = resolve(str(pretrained_model_name_or_path), **location)
        with_info, verify = kwargs.pop("output_loading_info", False), kwargs.pop("verify", True)
        kwargs.setdefault("dtype", torch.float32)
        try:
            with checked(folder, verify):
                loaded: Any = super().from_pretrained(
                    folder,
                    *model_args,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # reported below with the rest
                    output_loading_info=True,
                    **kwargs,
                )
        except CheckpointError:
            raise
        except (SafetensorError, OSError, RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint in {folder} cannot be read: {error} Fetch it again or save it anew."
            ) from error
        wrong = {
            kind: names
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
            if (names := loaded[1].get(kind))
        }
        if wrong:
            listed = "; ".join(
                f"{kind.replace('_', ' ')}: {', '.join(map(str, names))}" for kind, names in wrong.items()
            )
            raise CheckpointError(
                f"The weights in {folder} do not fit {cls.__name__} with this config.json ({listed}). "
                "Nothing was initialised at random; fetch the checkpoint again or use the class that saved it."
            )
        return loaded if with_info else loaded[0]

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As in transformers, but an earlier checkpoint in `save_directory` survives a full disk or an interrupt."""
        with saved(save_directory, replaces=WEIGHT_FILES) as scratch:
            super().save_pretrained(scratch, *args, **kwargs)
