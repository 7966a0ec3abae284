"""Any classification network of torchvision as an image encoder: VGG's fc7, ResNet's pooled features …"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from PIL import Image
from torch import nn

from ..errors import CheckpointError, DownloadError, InputError, UnknownNameError
from .backbone import BackboneEncoder
from .base import checkpoint_file

WEIGHTS_FILE = "image_encoder.safetensors"


class TorchvisionEncoder(BackboneEncoder):
    """What a torchvision network's last linear layer would be given.

    That is fc7 after its ReLU (4096 wide) for "vgg16", "vgg19" and "alexnet", as cross-modal papers use them, and the
    pooled features for most others ("torchvision/resnet50": 2048). Pictures go through the transforms that torchvision
    publishes with the weights.

    Args:
        model: torchvision's name of the network.
        weights: "default", one of the network's weights by name ("IMAGENET1K_V1"), which torch.hub downloads once;
            "random" for initial weights; or the path of a state dict (.safetensors, or .pth without code in it), with
            or without the last layer. Weights from a path are saved with a checkpoint.
        seed: of the random weights.

    Raises:
        UnknownNameError: torchvision has no such classification network.
        InputError: the network does not end in a linear layer; or no such weights.

    Example:

    ```python
    >>> encoder = TorchvisionEncoder("alexnet", weights="random")
    >>> encoder.encode([Image.new("RGB", (300, 200), "red")]).shape
    torch.Size([1, 4096])
    ```
    """

    def __init__(self, model: str, weights: str | os.PathLike = "default", seed: int = 0):
        from torchvision import models

        known = models.list_models(module=models)
        if model not in known:
            raise UnknownNameError("torchvision classification model", model, known)
        self.model, self.seed = model, seed
        self.name = f"torchvision/{model}"
        self.min_side = 2 * self._published("DEFAULT").transforms().resize_size[0]
        published = models.get_model_weights(model)
        self.weights = published.DEFAULT.name if weights == "default" else os.fspath(weights)
        self._file = None if self.weights in (*published.__members__, "random") else Path(self.weights)
        if self._file and not self._file.is_file():
            raise InputError(
                f"{model} has no weights {self.weights!r}, and there is no such file. Known: "
                f"{', '.join(published.__members__)}, default, random."
            )

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Self:
        return cls(name.removeprefix("torchvision/"), **options)

    @cached_property
    def dim(self) -> int:
        from torchvision import models

        with torch.device("meta"):
            network = models.get_model(self.model)
        return network.get_submodule(last_linear(network)).in_features

    def _published(self, weights: str) -> Any:
        from torchvision import models

        return getattr(models.get_model_weights(self.model), weights)

    @cached_property
    def _transforms(self) -> Any:
        return self._published("DEFAULT" if self._file or self.weights == "random" else self.weights).transforms()

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        return torch.stack([self._transforms(image) for image in images])

    def _build_network(self) -> nn.Module:
        from torchvision import models

        if self._file is None and self.weights != "random":
            network = self._download()
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                network = models.get_model(self.model)
        last = last_linear(network)
        network.set_submodule(last, nn.Identity())
        if self._file is not None:
            weights = read_weights(self._file)
            weights = {name: value for name, value in weights.items() if not name.startswith(f"{last}.")}
            try:
                network.load_state_dict(weights)
            except RuntimeError as error:
                raise CheckpointError(f"The weights in {self._file} are not those of {self.model}: {error}") from error
        return network

    def _download(self) -> nn.Module:
        from torchvision import models

        weights = self._published(self.weights)
        try:
            return models.get_model(self.model, weights=weights)
        except (OSError, RuntimeError) as error:
            raise DownloadError(
                f"The weights of {self.model} could not be fetched ({error}). Fetch {weights.url} on a machine with "
                f"network and put it into {Path(torch.hub.get_dir()) / 'checkpoints'}, or give its path as `weights`."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        weights = "file" if self._file else self.weights
        return {"name": self.name, "modality": self.modality, "weights": weights, "seed": self.seed}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        weights = config["weights"]
        if weights == "file":
            weights = checkpoint_file(folder, WEIGHTS_FILE, config["name"])
        return cls.from_name(config["name"], "image", weights=weights, seed=config["seed"])

    def save_files(self, folder: Path) -> None:
        if self._file:
            safetensors.torch.save_file(self._state(), Path(folder) / WEIGHTS_FILE)

    def _fitted_parts(self) -> Iterable[bytes | memoryview]:
        if self._file:
            yield safetensors.torch.save(self._state())

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}


def last_linear(network: nn.Module) -> str:
    """The name of a classifier's last layer."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise InputError(f"{type(network).__name__} does not end in a linear layer. Choose another network.")
    return names[-1]


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict of tensors alone; a file with anything else in it is refused."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not a file of weights alone ({error}). Save it as safetensors.") from error
