"""Any classification network of torchvision as an image encoder: VGG's fc7, ResNet's pooled features or regions."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from PIL import Image
from torch import nn

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import DownloadError, InputError, UnknownNameError

from .own_weights import OWN, OwnWeightsEncoder
from .squares import squeeze
from .torchvision_regions import fit_regions, region_network


@register_encoder("image", "alexnet", "vgg16", "vgg19", "torchvision/")
class TorchvisionEncoder(OwnWeightsEncoder):
    """What a torchvision network's last linear layer would be given; or a grid of regions.

    The vector is fc7 after its ReLU (4096 wide) for "vgg16", "vgg19" and "alexnet", as cross-modal papers use them
    (with `layer="fc6"` the one before it), and the pooled features for most others ("torchvision/resnet50": 2048).
    Images go through the transforms that torchvision publishes with the weights.

    A grid's features are the map before the network's last average pool ("vgg19": 512 channels) of the whole image,
    squeezed to a square of 32 pixels a region. Networks whose map would then be of another size (AlexNet, SqueezeNet,
    Inception) are given the smallest square whose map fits.

    Args:
        model: torchvision's name of the network.
        weights: "default", one of the network's weights by name ("IMAGENET1K_V1"), which torch.hub downloads once;
            "random" for initial weights; or the path of a state dict (.safetensors, or .pth without code in it), with
            or without the last layer. Weights from a path are saved with a checkpoint.
        seed: of the random weights.
        grid: None for one vector; otherwise how many regions each row and column of an image has.
        transforms: the published weights whose transforms images go through, where the weights are not published
            ones themselves.
        layer: of the networks that end in fc6, fc7 and fc8 (VGG, AlexNet), "fc6" for the one before the usual.

    Raises:
        UnknownNameError: torchvision has no such classification network.
        InputError: no such weights or transforms; or `grid` is no whole number from 1 to 32, or the network has no
            such layer. When the encoder is first used: the network does not end in a linear layer; with a grid, it
            has no average pool, or no image gives that grid.

    Example:
    ```python
    >>> encoder = TorchvisionEncoder("alexnet", weights="random")
    >>> encoder.encode([Image.new("RGB", (300, 200), "red")]).shape
    torch.Size([1, 4096])
    >>> TorchvisionEncoder("resnet18", weights="random", grid=7).dim
    512
    ```
    """

    credit = (
        "A network of [torchvision](https://github.com/pytorch/vision) with weights trained on ImageNet, BSD-3-Clause"
    )

    def __init__(
        self,
        model: str,
        weights: str | os.PathLike = "default",
        seed: int = 0,
        grid: int | None = None,
        transforms: str = "DEFAULT",
        layer: Literal["fc6"] | None = None,
    ):
        published = _published_weights(model)
        self.model, self.seed = model, seed
        self.name = f"torchvision/{model}"
        self.min_side = 2 * self._published("DEFAULT").transforms().resize_size[0]
        self._use_grid(grid)
        self._use_layer(layer)
        self.weights = published.DEFAULT.name if weights == "default" else os.fspath(weights)
        names = ", ".join(published.__members__)
        if self.weights not in (*published.__members__, "random"):
            if not Path(self.weights).is_file():
                raise InputError(
                    f"{model} has no weights {self.weights!r}, and there is no such file. Known: {names}, default, "
                    "random."
                )
            self._use_weights_file(Path(self.weights))
        if transforms not in (*published.__members__, "DEFAULT"):
            raise InputError(f"{model} has no published weights {transforms!r} to take transforms of. Known: {names}.")
        self._transforms_of = self.weights if self.weights in published.__members__ else transforms

    def _use_layer(self, layer: str | None) -> None:
        """Have the features of this layer from now on; None for those before the last one.

        Raises:
            InputError: the network has no such layer, or a grid is asked for, which ends before it.
        """
        self.layer = layer
        if layer is None:
            return
        if layer != "fc6" or self.grid is not None or len(linears(self._without_weights())) != 3:
            raise InputError(
                f"{self.model} gives no layer {layer!r}{' in a grid' if self.grid else ''}. Networks that end in fc6, "
                "fc7 and fc8 (vgg16, vgg19, alexnet) give 'fc6' on request, and fc7 otherwise."
            )

    @classmethod
    def from_name(cls, name: str, modality: str, **options: Any) -> Self:
        return cls(name.removeprefix("torchvision/"), **options)

    @cached_property
    def dim(self) -> int:
        if self.grid is not None:
            return self._side_and_dim[1]
        network = self._without_weights()
        return cast(nn.Linear, network.get_submodule(self._first_unused(network))).in_features

    def _first_unused(self, network: nn.Module) -> str:
        """The name of the linear layer that would take the features."""
        found = linears(network)
        if not found:
            raise InputError(f"{self.model} does not end in a linear layer. Choose another network.")
        return found[-1 if self.layer is None else -2]

    @cached_property
    def _side_and_dim(self) -> tuple[int, int]:
        """With a grid: how wide the images are that the network is given, and how many channels its map has."""
        assert self.grid is not None
        return fit_regions(region_network(self._without_weights()), self.grid, self.model)

    def _without_weights(self) -> nn.Module:
        """The network as shapes alone, on the meta device."""
        from accelerate import init_empty_weights
        from torchvision import models

        # Not `torch.device("meta")`: RegNets compute their widths with tensors.
        with init_empty_weights():
            return models.get_model(self.model).to("meta")

    def _published(self, weights: str) -> Any:
        from torchvision import models

        return getattr(models.get_model_weights(self.model), weights)

    @cached_property
    def _transforms(self) -> Any:
        return self._published(self._transforms_of).transforms()

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        from torchvision.transforms.functional import normalize

        if self.grid is None:
            return torch.stack([self._transforms(image) for image in images])
        pixels = torch.from_numpy(squeeze(images, self._side_and_dim[0])).permute(0, 3, 1, 2) / 255
        return normalize(pixels, self._transforms.mean, self._transforms.std)

    def _build_network(self) -> nn.Module:
        from torchvision import models

        if self.weights_file is None and self.weights != "random":
            network = self._download()
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                network = models.get_model(self.model)
        whole = network.state_dict().keys()
        if self.grid is None:
            cut_off(network, self._first_unused(network))
        else:
            network = region_network(network)
        if self.weights_file is not None:
            self._read_own_weights(network, unused=whole - network.state_dict().keys())
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
        weights = OWN if self.has_own_weights else self.weights
        described = {"name": self.name, "modality": self.modality, "weights": weights, "seed": self.seed}
        # Published weights say for themselves whose transforms they want, and what is usual goes without saying.
        is_usual = self._published(self._transforms_of) is self._published("DEFAULT")
        transforms = {} if is_usual or weights == self._transforms_of else {"transforms": self._transforms_of}
        layer = {} if self.layer is None else {"layer": self.layer}
        return described | transforms | layer | self._grid_to_dict()

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        options = {name: config[name] for name in ("grid", "transforms", "layer") if name in config}
        model = config["name"].removeprefix("torchvision/")
        weights = cls._described_weights(config, folder, (*_published_weights(model).__members__, "random"))
        return cls(model, weights="default" if weights is None else weights, seed=config["seed"], **options)


def _published_weights(model: str) -> Any:
    """The enumeration of a network's published weights.

    Raises:
        UnknownNameError: torchvision has no such classification network.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise UnknownNameError("torchvision classification model", model, known)
    return models.get_model_weights(model)


def linears(network: nn.Module) -> list[str]:
    """The names of a network's linear layers, in order."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]


def cut_off(network: nn.Module, layer: str) -> None:
    """Let a network end before this layer: the layer passes on what it is given, and so do those behind it.

    Example:
    ```python
    >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    >>> cut_off(network, "2")
    >>> network(torch.ones(1, 2)).shape
    torch.Size([1, 3])
    ```
    """
    parent, _, name = layer.rpartition(".")
    behind = [child for child, _ in network.get_submodule(parent).named_children()]
    for child in behind[behind.index(name) :]:
        network.get_submodule(parent).set_submodule(child, nn.Identity())
