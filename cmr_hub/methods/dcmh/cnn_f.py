"""CNN-F, the fast one of Chatfield et al. (Return of the Devil in the Details, BMVC 2014), with c outputs."""

from __future__ import annotations

from torch import nn

FULL = 4096
LEAST_SIZE = 39  # of an image from which something is left after the last pooling


def last_side(size: int) -> int:
    """Height and width of what the last pooling leaves of an image of `size` x `size` pixels.

    Example:
    ```python
    >>> last_side(224), last_side(39), last_side(38)
    (6, 1, 0)
    ```
    """
    return ((size - 11) // 4 + 1) // 8


def pooled() -> nn.MaxPool2d:
    """Halves height and width, rounded down: the table's "x2 pool", by windows of three."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def normalised() -> nn.LocalResponseNorm:
    """AlexNet's local response normalisation; torch divides alpha by the size."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def he_initialise(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw weights that keep the signal as loud from layer to layer (He et al., ICCV 2015); biases are zero.

    With torch's own the signal fades over eight layers, until all images look alike.
    """
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Conv(nn.Conv2d):
    """A convolution that starts as [`he_initialise`] has it."""

    def reset_parameters(self) -> None:
        """Draw the weights by [`he_initialise`]."""
        he_initialise(self)


class Full(nn.Linear):
    """A fully connected layer that starts as [`he_initialise`] has it."""

    def reset_parameters(self) -> None:
        he_initialise(self)


class CNNF(nn.Sequential):
    """The paper's table of the image network, conv1 to full8, layer by layer.

    Args:
        size: height and width of the images, `LEAST_SIZE` at least.
        bits: the code length, c.

    Takes `(n, 3 * size * size)` flat pixels, gives `(n, bits)`.
    """

    def __init__(self, size: int, bits: int):
        super().__init__()
        layers: dict[str, list[nn.Module]] = {
            "pixels": [nn.Unflatten(1, (3, size, size))],
            "conv1": [Conv(3, 64, 11, stride=4), nn.ReLU(), normalised(), pooled()],
            "conv2": [Conv(64, 256, 5, padding=2), nn.ReLU(), normalised(), pooled()],
            "conv3": [Conv(256, 256, 3, padding=1), nn.ReLU()],
            "conv4": [Conv(256, 256, 3, padding=1), nn.ReLU()],
            "conv5": [Conv(256, 256, 3, padding=1), nn.ReLU(), pooled()],
            "full6": [nn.Flatten(), Full(256 * last_side(size) ** 2, FULL), nn.ReLU()],
            "full7": [Full(FULL, FULL), nn.ReLU()],
            "full8": [Full(FULL, bits)],
        }
        for name, parts in layers.items():
            self.add_module(name, nn.Sequential(*parts))
