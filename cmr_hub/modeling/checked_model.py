"""Models whose checkpoints are whole or refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import check_folder, inner_path, read_json
from cmr_hub.utils.checksums import checked, saved
from cmr_hub.utils.hub import resolve

from .checked_weights import check_shapes, check_values, raise_if_wrong

# What one save writes of them takes the place of all that an earlier one wrote.
WEIGHT_FILES = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
HUB_OPTIONS = ("repo_id", "commit_message", "private", "token", "create_pr")


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
                another shape, hold NaN or nothing but zeros (see
                [`~cmr_hub.modeling.checked_weights.check_values`]), or are another method's.

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
        if subfolder := kwargs.pop("subfolder", ""):
            folder = inner_path(folder, subfolder)
        with_info, verify = kwargs.pop("output_loading_info", False), kwargs.pop("verify", True)
        kwargs.setdefault("dtype", torch.float32)
        try:
            with checked(folder, verify):
                check_folder(folder)
                config = kwargs.pop("config", None)
                if not isinstance(config, PreTrainedConfig):
                    config, kwargs = cls._load_config(folder, kwargs)
                check_shapes(cls, config, folder)
                loaded: Any = super().from_pretrained(
                    folder,
                    *model_args,
                    config=config,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # reported below with the rest
                    output_loading_info=True,
                    **kwargs,
                )
        except CheckpointError:
            raise
        except Exception as error:  # of safetensors, torch or transformers, by what is broken
            raise CheckpointError(
                f"The checkpoint in {folder} cannot be read: {error} Fetch it again or save it anew."
            ) from error
        kinds = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        raise_if_wrong(cls, folder, {kind.replace("_", " "): loaded[1].get(kind) or () for kind in kinds})
        check_values(loaded[0], folder)
        return loaded if with_info else loaded[0]

    @classmethod
    def _load_config(cls, folder: Path, options: dict[str, Any]) -> tuple[PreTrainedConfig, dict[str, Any]]:
        """The configuration, changed by the options that name its fields, and the other options."""
        read_json(folder / "config.json")  # transformers reads it again, without looking at what it is first
        changes = {name: value for name, value in options.items() if name != "dtype"}
        config_class: Any = cls.config_class
        config, unused = config_class.from_pretrained(
            folder, return_unused_kwargs=True, **{**changes, "name_or_path": str(folder)}
        )
        return config, {**unused, "dtype": options["dtype"]}

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As in transformers, but an earlier checkpoint in `save_directory` survives a full disk or an interrupt."""
        pushes, to_hub = kwargs.pop("push_to_hub", False), {}
        if pushes:  # with the digests, which are there when all is saved
            to_hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        with saved(save_directory, replaces=WEIGHT_FILES) as scratch:
            super().save_pretrained(scratch, *args, **kwargs)
        if pushes:
            self.push_to_hub(**{"repo_id": Path(save_directory).name, **to_hub})
