"""Models whose checkpoints are whole or refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from cmr_hub.errors import CheckpointError, CMRError, InputError
from cmr_hub.utils.checkpoint_files import check_folder, read_json
from cmr_hub.utils.checksums import checked, saved
from cmr_hub.utils.hub import Location, pop_location, resolve
from cmr_hub.utils.loading_options import check_known, pop_device, pop_dtype, without_effect

from .checked_weights import check_shapes, check_values, raise_if_wrong

# What one save writes of them takes the place of all that an earlier one wrote.
WEIGHT_FILES = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
HUB_OPTIONS = ("repo_id", "commit_message", "private", "token", "create_pr")
LOADING_OPTIONS = (
    *Location.__annotations__,
    *("dtype", "device", "device_map", "config", "output_loading_info", "verify"),
)


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
        They are on one device, which `device` or `device_map` names; the CPU by default. `verify=False` loads files
        whatever their digests in `checksums.json`. Fields of the configuration may be given too. What else
        transformers takes is accepted where it would change nothing (`trust_remote_code`: no code of a repo is run),
        and is an error where it would.

        Raises:
            UnknownArgumentError: a TypeError; an option that is none of these.
            InputError: a device that this machine lacks, or several; a type that is no floating-point type; pickled
                weights, or weights that do not fit, are asked for.
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
        if kwargs.pop("use_safetensors", None) is False:
            raise InputError("use_safetensors=False asks for pickled weights, which are never read: leave it out.")
        if kwargs.pop("ignore_mismatched_sizes", False):
            raise InputError("ignore_mismatched_sizes=True would leave weights to chance: leave it out.")
        dtype, device = pop_dtype(kwargs) or torch.float32, pop_device(kwargs)
        with_info, verify = kwargs.pop("output_loading_info", False), kwargs.pop("verify", True)
        folder, kwargs = resolve(pretrained_model_name_or_path, **pop_location(kwargs)), without_effect(kwargs)
        try:
            with checked(folder, verify):
                check_folder(folder)
                config = kwargs.pop("config", None)
                if not isinstance(config, PreTrainedConfig):
                    config, kwargs = cls._load_config(folder, kwargs)
                check_known(cls.__name__, kwargs, (*LOADING_OPTIONS, *cls._own_fields()))
                check_shapes(cls, config, folder)
                loaded: Any = super().from_pretrained(
                    folder,
                    *model_args,
                    config=config,
                    dtype=dtype,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # reported below with the rest
                    output_loading_info=True,
                )
        except CMRError:
            raise
        except Exception as error:  # of safetensors, torch or transformers, by what is broken
            raise CheckpointError(
                f"The checkpoint in {folder} cannot be read: {error} Fetch it again or save it anew."
            ) from error
        kinds = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        raise_if_wrong(cls, folder, {kind.replace("_", " "): loaded[1].get(kind) or () for kind in kinds})
        check_values(loaded[0], folder)
        if device is not None:
            loaded[0].to(device)
        return loaded if with_info else loaded[0]

    @classmethod
    def _load_config(cls, folder: Path, options: dict[str, Any]) -> tuple[PreTrainedConfig, dict[str, Any]]:
        """The configuration, changed by the options that name its fields, and the other options."""
        read_json(folder / "config.json")  # transformers reads it again, without looking at what it is first
        config_class: Any = cls.config_class
        return config_class.from_pretrained(
            folder, return_unused_kwargs=True, **{**options, "name_or_path": str(folder)}
        )

    @classmethod
    def _own_fields(cls) -> Sequence[str]:
        """Fields of the configuration that are the method's own."""
        own_fields = getattr(cls.config_class, "own_fields", None)
        return () if own_fields is None else own_fields()

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As in transformers, but an earlier checkpoint in `save_directory` survives a full disk or an interrupt."""
        pushes, to_hub = kwargs.pop("push_to_hub", False), {}
        if pushes:  # with the digests, which are there when all is saved
            to_hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        with saved(save_directory, replaces=WEIGHT_FILES) as scratch:
            super().save_pretrained(scratch, *args, **kwargs)
        if pushes:
            self.push_to_hub(**{"repo_id": Path(save_directory).name, **to_hub})
