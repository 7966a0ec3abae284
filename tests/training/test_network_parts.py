import pytest
import torch
from torch import nn
from torchvision import models

from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError
from cmr_hub.training.network_parts import cut_after


def network(name, **options):
    """An encoder's network, and pixels for it."""
    encoder = create_encoder("image", name, **options)
    return encoder.network, torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "options", "part", "shape"),
    [
        ("efficientnet-lite0", {"grid": 2}, "blocks.4", (112, 4, 4)),
        ("efficientnet-lite0", {}, "blocks.2.1", (40, 8, 8)),  # behind the sum that follows the block
        ("torchvision/resnet18", {"weights": "random", "grid": 2}, "layer3", (256, 4, 4)),
        ("torchvision/resnet18", {"weights": "random"}, "layer4.0.conv1", (512, 2, 2)),  # behind the whole block
    ],
)
def test_both_parts_make_up_the_network(name, options, part, shape):
    whole, pixels = network(name, **options)
    first, rest = cut_after(whole, part)
    with torch.no_grad():
        between = first(pixels)
        assert between.shape[1:] == shape
        torch.testing.assert_close(rest(between), whole(pixels))
    of_first, of_rest, of_whole = (set(module.parameters()) for module in (first, rest, whole))
    assert of_first | of_rest == of_whole
    assert not of_first & of_rest


def test_a_part_that_there_is_not():
    with pytest.raises(InputError, match=r"has no part 'blocks.9'. It has conv_stem, bn1, blocks.0, blocks.1, "):
        cut_after(network("efficientnet-lite0")[0], "blocks.9")


def test_nothing_left_to_learn():
    with pytest.raises(InputError, match="Behind 'layer4' nothing of the image network is left to learn"):
        cut_after(network("torchvision/resnet18", weights="random", grid=2)[0], "layer4")


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.second(self.first(x)) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced():
    with pytest.raises(InputError, match="Undecided cannot be cut in two"):
        cut_after(Undecided(), "first")


def test_values_that_jump_a_part_move_the_cut_behind_it():
    whole = models.densenet121(weights=None, num_classes=2).eval()
    first, _ = cut_after(whole, "features.denseblock1.denselayer2")
    assert first(torch.zeros(1, 3, 32, 32)).shape == (1, 256, 8, 8)  # of the whole dense block
