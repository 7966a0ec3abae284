"""Arguments that users of transformers give to `from_pretrained`, in addition to where the files are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from cmr_hub.errors import InputError, UnknownArgumentError

# What transformers hands on by itself, and what would change nothing: no code of a repo is run, and weights are small.
WITHOUT_EFFECT = frozenset(
    {
        *("_commit_hash", "_from_auto", "_from_pipeline", "adapter_kwargs", "attn_implementation", "code_revision"),
        *("low_cpu_mem_usage", "max_memory", "offload_buffers", "offload_folder", "offload_state_dict", "proxies"),
        *("resume_download", "trust_remote_code", "use_fast", "weights_only"),
    }
)
_AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")


def without_effect(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that mean something: neither those of [`WITHOUT_EFFECT`] nor those that are None.

    Example:
    ```python
    >>> without_effect({"trust_remote_code": True, "variant": None, "device": "cpu"})
    {'device': 'cpu'}
    ```
    """
    return {name: value for name, value in options.items() if value is not None and name not in WITHOUT_EFFECT}


def check_known(caller: str, options: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that no `from_pretrained` takes.

    Args:
        caller: who was called, for the error.
        options: names that nobody has taken.
        known: names that the error lists.

    Raises:
        UnknownArgumentError: there is one.
    """
    for name in options:
        raise UnknownArgumentError(f"{caller}.from_pretrained", name, known)


def pop_device(options: dict[str, Any]) -> torch.device | None:
    """Take `device` and `device_map` out of keyword arguments; see [`chosen_device`]."""
    return chosen_device(options.pop("device", None), options.pop("device_map", None))


def chosen_device(device: object = None, device_map: object = None) -> torch.device | None:
    """The one device that is asked for; None where none is.

    Args:
        device: name, number or `torch.device`.
        device_map: the same; "auto" for the accelerator where there is one; or a mapping of modules to one device.

    Raises:
        InputError: several devices are asked for, there is no such device, or this machine lacks it.

    Example:
    ```python
    >>> chosen_device(device_map={"": "cpu"}), chosen_device()
    (device(type='cpu'), None)
    ```
    """
    if device is not None and device_map is not None:
        raise InputError(f"device={device!r} and device_map={device_map!r} are both given: give one of them.")
    asked = device_map if device is None else device
    if isinstance(asked, Mapping):
        different = list(dict.fromkeys(asked.values()))
        if len(different) != 1:
            raise InputError(
                f"device_map={asked!r} has {len(different)} devices, and a checkpoint is on one: give one."
            )
        asked = different[0]
    if asked is None:
        return None
    if isinstance(asked, str) and asked in _AUTOMATIC:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return _usable(asked)


def _usable(asked: Any) -> torch.device:
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"There is no device {asked!r}: give 'cpu', 'cuda', 'cuda:1' or the like.") from error
    if device.type == "meta":
        raise InputError("The device 'meta' holds no values, and a checkpoint is loaded to be used: give another one.")
    try:
        torch.zeros(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise InputError(f"This machine cannot compute on {str(device)!r} ({reason}): give device='cpu'.") from error
    return device


def pop_dtype(options: dict[str, Any]) -> torch.dtype | str | None:
    """Take `dtype`, or `torch_dtype` as it was called before, out of keyword arguments.

    Returns:
        A floating-point type, "auto" (as the weights are stored), or None where none is asked for.

    Raises:
        InputError: it is no such type.

    Example:
    ```python
    >>> pop_dtype({"torch_dtype": "bfloat16"}), pop_dtype({})
    (torch.bfloat16, None)
    ```
    """
    earlier, asked = options.pop("torch_dtype", None), options.pop("dtype", None)
    asked = earlier if asked is None else asked
    if asked is None or asked == "auto":
        return asked
    dtype = getattr(torch, asked.removeprefix("torch."), None) if isinstance(asked, str) else asked
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point or dtype.itemsize < 2:
        raise InputError(f"dtype is {asked!r}: give 'float32', 'float16', 'bfloat16', 'float64' or 'auto'.")
    return dtype
