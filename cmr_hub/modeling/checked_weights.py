"""Checks of a checkpoint's weights: before they are loaded that they fit the model, and afterwards their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from cmr_hub.errors import CheckpointError
from cmr_hub.utils.checkpoint_files import inner_path, open_tensors, read_json
from cmr_hub.utils.messages import name_some


class _Tensor(NamedTuple):
    """What a tensor must have in common with its parameter or buffer."""

    shape: tuple[int, ...]
    kind: str  # float, bool or int: half precision fits a parameter of float32, numbers of classes do not

    def __str__(self) -> str:
        return f"{self.kind} {list(self.shape)}"


def check_shapes(model_class: type[PreTrainedModel], config: PreTrainedConfig, folder: Path) -> None:
    """Compare the headers of the weights' files with the model that a configuration describes.

    Neither weights are read nor memory is taken: the model is built on the meta device.

    Raises:
        CheckpointError: weights are missing, unexpected, or of another shape or kind of number; a file is corrupt; or
            no such model can be built.
    """
    try:
        with torch.device("meta"), no_init_weights():
            model = model_class(config)
    except Exception as error:  # of whatever the configuration's numbers break
        raise CheckpointError(
            f"No {model_class.__name__} can be built as {folder / 'config.json'} describes it: {error}"
        ) from error
    wanted = {name: _Tensor(tuple(value.shape), _kind(value.dtype)) for name, value in model.state_dict().items()}
    found = {name: tensor for path in _weights_files(folder) for name, tensor in _header(path).items()}
    raise_if_wrong(
        model_class,
        folder,
        {
            "missing keys": wanted.keys() - found.keys(),
            "unexpected keys": found.keys() - wanted.keys(),
            "mismatched keys": [
                f"{name} ({found[name]} instead of {wanted[name]})"
                for name in wanted.keys() & found.keys()
                if wanted[name] != found[name]
            ],
        },
    )


def raise_if_wrong(model_class: type[PreTrainedModel], folder: Path, wrong: Mapping[str, Iterable[object]]) -> None:
    """Refuse weights that do not fit.

    Args:
        model_class: that they are loaded into.
        folder: of the checkpoint.
        wrong: kind of problem -> names of weights; none where there is no problem.

    Raises:
        CheckpointError: there is a problem.
    """
    problems = [f"{kind}: {name_some(sorted(map(str, names)), 10)}" for kind, names in wrong.items() if names]
    if problems:
        raise CheckpointError(
            f"The weights in {folder} do not fit {model_class.__name__} with this config.json "
            f"({'; '.join(problems)}). Nothing was initialised at random; fetch the checkpoint again or use the "
            "class that saved it."
        )


def check_values(model: nn.Module, folder: Path) -> None:
    """Refuse weights that cannot be those of a trained model; each is read once.

    Checked are all parameters and buffers for NaN and infinity, and the matrices of each modality: with nothing but
    zeros in all of them, every input would have the same embedding. A single tensor may be zero (a bias, a centre, a
    classifier before training), and so may the projections of a closed form that is not fitted yet.

    Raises:
        CheckpointError: names the tensor and its first bad row, or the modality.
    """
    is_zero: dict[str, bool] = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point() or value.numel() == 0:
            continue
        low, high = value.aminmax()  # both NaN where there is one
        if not (low.isfinite() and high.isfinite()):
            rows = (~value.reshape(value.shape[0] if value.ndim else 1, -1).isfinite()).any(dim=1).nonzero()
            raise CheckpointError(
                f"The weights in {folder} hold NaN or infinity in {name}, row {rows[0].item()} ({len(rows)} such "
                "rows). Fetch the checkpoint again, or train it again with a smaller learning rate."
            )
        if value.ndim >= 2:
            modality = next((each for each in ("image", "text") if each in name), "shared")
            is_zero[modality] = is_zero.get(modality, True) and not (low or high)
    is_fitted = bool(getattr(model, "is_fitted", True))
    dead = [modality for modality in ("image", "text") if is_zero.get(modality)]
    if is_fitted and (dead or (is_zero and all(is_zero.values()))):
        raise CheckpointError(
            f"All {' and '.join(dead) or 'projection'} weights in {folder} are zero: every input would have the same "
            "embedding. Fetch the checkpoint again, or train it again."
        )


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "float"
    return "bool" if dtype == torch.bool else "int"


def _weights_files(folder: Path) -> list[Path]:
    """The files of weights, of which there are several where an index lists them."""
    single, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    if single.exists() or not index.exists():
        return [single]
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict):
        raise CheckpointError(f"{index} has no weight_map. Fetch the checkpoint again.")
    return [inner_path(folder, name) for name in sorted({str(part) for part in parts.values()})]


# As safetensors names them. Floats of 8 bits and complex numbers fit nothing.
_KINDS = dict.fromkeys(("F64", "F32", "F16", "BF16"), "float") | {"BOOL": "bool"}
_KINDS |= dict.fromkeys(("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"), "int")


def _header(path: Path) -> dict[str, _Tensor]:
    with open_tensors(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        return {
            name: _Tensor(tuple(part.get_shape()), _KINDS.get(part.get_dtype(), part.get_dtype()))
            for name, part in slices.items()
        }
