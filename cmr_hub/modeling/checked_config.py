"""Configurations that are read from a file that anybody may have written."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from typing import Any, Self

from transformers import PreTrainedConfig

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.files import check_may_be_folder
from cmr_hub.utils.hub import bundled_checkpoint

MAX_SIZE = 1 << 24  # the largest that a number may be: no layer is wider, and an image of 224 x 224 has 150,528 values
MAX_LABELS = 100_000  # classes; each has a name in memory
# Fields that make transformers fetch kernels, read other files or replace layers.
_REFUSED = frozenset(
    {
        *("attn_implementation", "experts_implementation", "auto_map", "configuration_files", "transformers_weights"),
        *("quantization_config", "fusion_config", "kernel_config", "per_layer_config", "distributed_config"),
    }
)
_ATTRIBUTES = frozenset(
    {"model_type", "num_labels", "name_or_path", "_name_or_path", "output_attentions", "_commit_hash"}
)


class CheckedConfig(PreTrainedConfig):
    """A `PreTrainedConfig` that raises a `CheckpointError` for values that no checkpoint of cmr_hub has."""

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As `PreTrainedConfig.get_config_dict`, with a bundled `cmr/<name>` found first."""
        name = os.fspath(pretrained_model_name_or_path)
        is_pinned = kwargs.get("revision") not in (None, "main")  # which transformers asks for by default
        bundled = None if is_pinned or kwargs.get("force_download") else bundled_checkpoint(name)
        return super().get_config_dict(bundled or name, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> None:
        """As `PreTrainedConfig.save_pretrained`.

        Raises:
            UnwritableError: `save_directory` is a file, or no name of a folder.
        """
        check_may_be_folder(save_directory)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """As `PreTrainedConfig.from_dict`, for the content of a `config.json`.

        Refused are the configuration of another method, numbers that are not finite or above 2**24, more than
        100,000 classes, fields that make transformers fetch or read something else, and fields of another type.

        Raises:
            CheckpointError: names the field and its value.
        """
        file = f"config.json of {kwargs.get('name_or_path') or f'this {cls.model_type} checkpoint'}"
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise CheckpointError(
                f"{file} is of the method {found!r:.100}, not {cls.model_type!r}. "
                "cmr_hub.from_pretrained and transformers' AutoModel pick the right class by themselves."
            )
        for name, value in config_dict.items():
            if problem := cls._problem(name, value):
                raise CheckpointError(f"{file} has {name!r:.80}: {problem}.")
        try:
            return super().from_dict(config_dict, **kwargs)
        except CheckpointError:
            raise
        except Exception as error:  # which of many kinds depends on the field
            reason = " ".join(str(error).split()).rstrip(".")  # strict validation breaks lines
            raise CheckpointError(f"{file} cannot be used: {reason}. Fetch the checkpoint again.") from error

    @classmethod
    def _problem(cls, name: str, value: Any) -> str | None:
        """What is wrong with a field, if anything."""
        is_own = name in _ATTRIBUTES or name in {field.name for field in fields(cls)}
        if value is not None and not is_own and (name in _REFUSED or name.startswith("_") or hasattr(cls, name)):
            return "no checkpoint of cmr_hub has this field"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value} is no finite number"
        most = MAX_LABELS if name == "num_labels" else MAX_SIZE
        if isinstance(value, int) and abs(value) > most:
            return f"{_shortened(value)} is more than {most:,}"
        if name in ("id2label", "label2id") and isinstance(value, dict) and len(value) > MAX_LABELS:
            return f"{len(value):,} classes are more than {MAX_LABELS:,}"
        return None


def _shortened(value: int) -> str:
    return f"{value:,}" if abs(value) < 10**18 else f"a number of {value.bit_length()} bits"
