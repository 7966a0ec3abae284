"""The map of an image's regions inside a torchvision network: what its last average pool is given."""

from __future__ import annotations

from bisect import bisect_left

import torch
from torch import nn

from cmr_hub.errors import InputError

from .backbone import REGION_SIDE

# How traced networks call a pool that is no module: MobileNetV2 and DenseNet; MNASNet and ShuffleNet.
POOLING_FUNCTIONS = ("adaptive_avg_pool2d", "mean")


def region_network(network: nn.Module) -> nn.Module:
    """The part of a network that ends before its last average pool, from `(n, 3, side, side)` to `(n, dim, h, w)`.

    Parameters keep their names; those behind the pool are gone.

    Raises:
        InputError: the network has no average pool; transformers have none.

    Example:
    ```python
    >>> from torchvision import models
    >>> region_network(models.resnet18())(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 512, 7, 7])
    ```
    """
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    network.eval()
    # Some networks have side branches in training alone; a warning would tell of them.
    _, nodes = get_graph_node_names(network, suppress_diff_warning=True)
    modules = dict(network.named_modules())
    pools = [
        place
        for place, node in enumerate(nodes)
        if isinstance(modules.get(node), nn.AdaptiveAvgPool2d) or node in POOLING_FUNCTIONS
    ]
    if not pools:
        raise InputError(
            f"{type(network).__name__} has no average pool, and so no map of regions. Choose a convolutional network, "
            "or leave `grid` out."
        )
    regions = create_feature_extractor(network, {nodes[pools[-1] - 1]: "map"}, suppress_diff_warning=True).eval()
    # The extractor gives a dict of maps. A module around it would rename the parameters.
    regions.register_forward_hook(lambda module, inputs, outputs: outputs["map"])
    return regions


def fit_regions(regions: nn.Module, grid: int, name: str) -> tuple[int, int]:
    """How large a square image must be so that its map is `grid` x `grid`.

    Args:
        regions: what `region_network` made of a network on the meta device.
        grid: how many regions each row and column has.
        name: what messages call the network.

    Returns:
        The side in pixels, which is 32 a region wherever that fits, and the map's channels.

    Raises:
        InputError: the network takes no such image, or none gives this grid.
    """

    def shape(side: int) -> torch.Size:
        return regions(torch.empty(1, 3, side, side, device="meta")).shape

    usual = REGION_SIDE * grid
    try:
        _, channels, rows, _ = shape(usual)
    except RuntimeError as error:
        raise InputError(
            f"{name} takes no images of {usual} x {usual} pixels, which a grid of {grid} x {grid} regions asks "
            f"for ({str(error).splitlines()[0]}). Choose another grid."
        ) from error
    if rows == grid:
        return usual, channels
    # Larger images have larger maps.
    sides = range(usual, 3 * usual) if rows < grid else range(usual // 2, usual)
    side = sides[bisect_left(sides, grid, hi=len(sides) - 1, key=lambda side: shape(side)[2])]
    if shape(side)[2] != grid:
        raise InputError(f"{name} has no {grid} x {grid} regions in images of any size. Choose another grid.")
    return side, channels
