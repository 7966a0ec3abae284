"""What computes a frozen network: torch, or OpenVINO or ONNX Runtime, which a CPU runs faster in.

A network is converted once. The conversion is stored in the cache under a key that changes with the weights and with
the versions of what converted it, and a later process reads it without building the torch network.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from cmr_hub.errors import CheckpointError, InputError, UnknownNameError
from cmr_hub.utils.checksums import checked, write_checksums
from cmr_hub.utils.damaged import set_aside
from cmr_hub.utils.extras import require
from cmr_hub.utils.files import atomic_folder, cache_folder

logger = logging.getLogger(__name__)

AUTO, TORCH = "auto", "torch"
F32, BF16 = "f32", "bf16"
PRECISIONS = (F32, BF16)
# What encoders follow that were not told otherwise.
BACKEND_VARIABLE, PRECISION_VARIABLE = "CMR_HUB_BACKEND", "CMR_HUB_PRECISION"
# Fewer inputs are computed before a conversion is done, which takes seconds.
MIN_INPUTS = 32
# How far a conversion's outputs may be from torch's, as a share of the largest: rounding is about 1e-6.
TOLERANCE = 1e-3

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Compute:
    """What computes a network, from its inputs to its output.

    Attributes:
        function: computes one batch.
        workers: how many threads should call it at once.
    """

    function: Callable[..., torch.Tensor]
    workers: int = 1

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)

    def batch_size(self, count: int, largest: int) -> int:
        """How many of `count` inputs make a batch, so that every worker has two: they differ in length.

        Example:
        ```python
        >>> Compute(torch.sin, workers=2).batch_size(20, largest=16)
        5
        ```
        """
        return max(1, min(largest, -(-count // (2 * self.workers))))


class ConversionError(Exception):
    """A network that a backend cannot compute; torch does."""


class ConvertedNetwork(ABC):
    """A network that was converted, loaded from a folder; call it with what the torch network takes.

    A batch is computed in one thread, and several threads may call it at once: on a CPU that takes a quarter less than
    all threads on one batch, as they never wait for each other within a layer.

    Args:
        folder: what [`convert`] wrote.
        precision: "f32" or "bf16".

    Attributes:
        extra: the extra of `cmr-hub` that installs `packages`, which converting and computing need.
        precisions: in which it can compute.
        file: name of the file in the folder that is opened.
        shapes: of each input, None where a size varies.
    """

    extra: ClassVar[str]
    packages: ClassVar[Sequence[str]]
    precisions: ClassVar[Sequence[str]]
    file: ClassVar[str]
    shapes: list[tuple[int | None, ...]]

    @abstractmethod
    def __init__(self, folder: Path, precision: str = F32): ...

    @staticmethod
    @abstractmethod
    def convert(network: nn.Module, example: Inputs, varying: int, folder: Path) -> None:
        """Write a network into a folder.

        Args:
            network: gives one tensor.
            example: what it takes; no varying size is 1.
            varying: how many of the first sizes of each input vary.
            folder: receives the files.
        """

    @abstractmethod
    def _compute(self, *inputs: np.ndarray) -> np.ndarray:
        """The network's output."""

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._compute(*(given.contiguous().numpy() for given in inputs)))

    def takes(self, *inputs: torch.Tensor) -> bool:
        """Whether these are of the sizes that it was converted for."""
        return all(
            len(shape) == given.ndim
            and all(size in (None, found) for size, found in zip(shape, given.shape, strict=True))
            for shape, given in zip(self.shapes, inputs, strict=True)
        )


class OpenVINONetwork(ConvertedNetwork):
    """A network in OpenVINO, on the CPU."""

    extra, packages = "openvino", ("openvino",)
    precisions = PRECISIONS
    file = "network.xml"

    def __init__(self, folder: Path, precision: str = F32):
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": precision,  # its own choice is bf16 wherever the CPU has it
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": torch.get_num_threads(),
        }
        self._network = openvino.Core().compile_model(folder / self.file, "CPU", options)
        self.shapes = [
            tuple(None if size.is_dynamic else size.get_length() for size in given.partial_shape)
            for given in self._network.inputs
        ]
        self._own = threading.local()  # a request computes one batch at a time, so each thread has its own

    @staticmethod
    def convert(network: nn.Module, example: Inputs, varying: int, folder: Path) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        for module in network.modules():
            if hasattr(type(module), "loss_function"):  # a property of transformers, which warns when it is read
                module.loss_function = None  # type: ignore[assignment]
        # What `openvino.convert_model` does, which also reports its use to Intel.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(network, example_input=example)  # must outlive the conversion
        converted = frontend.convert(frontend.load(decoder))
        converted.reshape(
            {
                number: openvino.PartialShape([-1] * varying + list(given.shape[varying:]))
                for number, given in enumerate(example)
            }
        )
        openvino.save_model(converted, folder / OpenVINONetwork.file, compress_to_fp16=False)

    def _compute(self, *inputs: np.ndarray) -> np.ndarray:
        if not hasattr(self._own, "request"):
            self._own.request = self._network.create_infer_request()
        return self._own.request.infer(list(inputs), share_inputs=True)[0]


class ONNXNetwork(ConvertedNetwork):
    """A network in ONNX Runtime, on the CPU."""

    extra, packages = "onnx", ("onnxruntime", "onnx", "onnxscript")
    precisions = (F32,)
    file = "network.onnx"

    def __init__(self, folder: Path, precision: str = F32):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(folder / self.file, options, providers=["CPUExecutionProvider"])
        given = self._session.get_inputs()
        self._names = [one.name for one in given]
        self.shapes = [tuple(size if isinstance(size, int) else None for size in one.shape) for one in given]

    @staticmethod
    def convert(network: nn.Module, example: Inputs, varying: int, folder: Path) -> None:
        for chatty in ("onnx_ir", "onnxscript"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        sizes = tuple(dict.fromkeys(range(varying), torch.export.Dim.AUTO) for _ in example)
        program = torch.onnx.export(network, example, dynamo=True, dynamic_shapes=sizes, verbose=False)
        assert program is not None
        program.save(folder / ONNXNetwork.file)

    def _compute(self, *inputs: np.ndarray) -> np.ndarray:
        return self._session.run(None, dict(zip(self._names, inputs, strict=True)))[0]


# In the order in which "auto" prefers them.
CONVERTERS: dict[str, type[ConvertedNetwork]] = {"openvino": OpenVINONetwork, "onnx": ONNXNetwork}
BACKENDS = (AUTO, TORCH, *CONVERTERS)


def check_backend(backend: str, precision: str) -> None:
    """Refuse a backend or precision that is none, or that this machine lacks.

    Raises:
        UnknownNameError: there is no such backend or precision.
        MissingExtraError: a package that the backend needs is not installed; names the extra.
        InputError: the backend does not compute in this precision.

    Example:
    ```python
    >>> check_backend("onnx", "bf16")
    Traceback (most recent call last):
    cmr_hub.errors.InputError: The backend 'onnx' computes in f32, not in bf16. Choose 'openvino' or 'torch'.
    ```
    """
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    if backend not in CONVERTERS:
        return
    kind = CONVERTERS[backend]
    if precision not in kind.precisions:
        raise InputError(
            f"The backend {backend!r} computes in {', '.join(kind.precisions)}, not in {precision}. Choose 'openvino' "
            "or 'torch'."
        )
    for package in kind.packages:
        require(package, kind.extra, f"The backend {backend!r}")


def chosen_backend(backend: str, precision: str, device: torch.device | str) -> str:
    """The backend that "auto" stands for: on a CPU the first that is installed, elsewhere torch.

    Raises:
        InputError: the backend does not compute on this device.

    Example:
    ```python
    >>> chosen_backend("auto", "f32", "cuda")
    'torch'
    ```
    """
    is_cpu = torch.device(device).type == "cpu"
    if backend in CONVERTERS and not is_cpu:
        raise InputError(
            f"The backend {backend!r} computes on the CPU, and the encoder is on {device}. Choose 'torch'."
        )
    if backend != AUTO:
        return backend
    if not is_cpu:
        return TORCH
    fitting = (name for name, kind in CONVERTERS.items() if precision in kind.precisions and _is_installed(kind))
    return next(fitting, TORCH)


def _is_installed(kind: type[ConvertedNetwork]) -> bool:
    return all(find_spec(package) is not None for package in kind.packages)


class Conversion:
    """The conversion of one network for one backend, stored in the cache.

    Args:
        backend: one of `CONVERTERS`.
        name: of the encoder, for the folder and for messages.
        fingerprint: of the network's weights and description.
    """

    def __init__(self, backend: str, name: str, fingerprint: str):
        self.kind, self.backend, self.name = CONVERTERS[backend], backend, name
        versions = " ".join(f"{package} {version(package)}" for package in ("torch", *self.kind.packages))
        key = sha256(f"{fingerprint} {versions}".encode()).hexdigest()[:16]
        self.folder = cache_folder("networks") / f"{name.replace('/', '-')}-{backend}-{key}"

    def load(self, precision: str) -> ConvertedNetwork | None:
        """The network as it is stored; None where it is not, or where the files are damaged, which are set aside.

        Raises:
            ConversionError: it cannot be loaded.
        """
        if not self.folder.is_dir():
            return None
        try:
            with checked(self.folder), self._naming_backend():
                return self.kind(self.folder, precision) if (self.folder / self.kind.file).is_file() else None
        except CheckpointError as error:
            set_aside(self.folder, f"is damaged ({error})")
            return None

    def make(self, network: nn.Module, examples: Sequence[Inputs], varying: int, precision: str) -> ConvertedNetwork:
        """Convert a network, compare its outputs with torch's, and store it.

        Args:
            network: on the CPU, and frozen.
            examples: two inputs of the network that differ in all sizes that vary.
            varying: how many of the first sizes of each input vary.
            precision: in which the network that is returned computes.

        Raises:
            ConversionError: it cannot be converted, loaded or stored, or gives other outputs.
        """
        logger.info("Converting %s for %s; this is done once.", self.name, self.backend)
        with self._naming_backend(), atomic_folder(self.folder) as scratch:
            with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
                warnings.simplefilter("ignore")
                self.kind.convert(network, examples[0], varying, scratch)
                _check_outputs(self.kind(scratch), network, examples)
            write_checksums(scratch, every_file=True)
        converted = self.load(precision)
        if converted is None:
            raise ConversionError(f"{self.folder} was removed")
        return converted

    @contextmanager
    def _naming_backend(self) -> Iterator[None]:
        try:
            yield
        except (CheckpointError, ConversionError):
            raise
        except Exception as error:  # of many kinds, by what converter and disk run into
            lines = str(error).strip().splitlines()
            raise ConversionError(f"{type(error).__name__}: {lines[0] if lines else ''}") from error


def _check_outputs(converted: ConvertedNetwork, network: nn.Module, examples: Sequence[Inputs]) -> None:
    if not all(converted.takes(*inputs) for inputs in examples):
        raise ConversionError(f"it takes inputs of one size alone: {converted.shapes}")
    for inputs in examples:
        expected, found = network(*inputs), converted(*inputs)
        if found.shape != expected.shape:
            raise ConversionError(f"it gives outputs of shape {tuple(found.shape)}, torch {tuple(expected.shape)}")
        difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
        if not difference <= TOLERANCE * largest:  # also true of NaN
            raise ConversionError(f"its outputs differ by {difference:.2g} from torch's, the largest is {largest:.2g}")


def default_backend() -> str:
    """The backend of encoders that were not told another: `$CMR_HUB_BACKEND`, or "auto"."""
    return os.environ.get(BACKEND_VARIABLE) or AUTO


def default_precision() -> str:
    """The precision of encoders that were not told another: `$CMR_HUB_PRECISION`, or "f32"."""
    return os.environ.get(PRECISION_VARIABLE) or F32
