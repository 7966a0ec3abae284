"""Where a torchvision network's map of regions is, and which images give it a wanted size."""

import pytest
import torch
from torchvision import models

from cmr_hub.encoders import create_encoder
from cmr_hub.encoders.torchvision_regions import region_network
from cmr_hub.errors import InputError


def regions_and_side(model, grid):
    encoder = create_encoder("image", f"torchvision/{model}", weights="random", grid=grid)
    side, dim = encoder._side_and_dim
    assert encoder.dim == dim
    return dim, side


@pytest.mark.parametrize(
    ("model", "dim", "side"),
    [
        ("alexnet", 256, 255),
        ("vgg16", 512, 224),
        ("vgg19", 512, 224),
        ("resnet18", 512, 224),
        ("resnet50", 2048, 224),
        ("regnet_y_400mf", 440, 224),
        ("mobilenet_v2", 1280, 224),
        ("mobilenet_v3_small", 576, 224),
        ("shufflenet_v2_x1_0", 1024, 224),
        ("mnasnet0_5", 1280, 224),
        ("efficientnet_b0", 1280, 224),
        ("convnext_tiny", 768, 224),
        ("googlenet", 1024, 224),
        ("squeezenet1_1", 1000, 113),
    ],
)
def test_seven_by_seven(model, dim, side):
    assert regions_and_side(model, 7) == (dim, side)


@pytest.mark.parametrize(
    ("model", "grid", "side"), [("alexnet", 2, 95), ("alexnet", 14, 479), ("vgg16", 1, 32), ("resnet18", 14, 448)]
)
def test_other_grids(model, grid, side):
    assert regions_and_side(model, grid)[1] == side


def test_the_map_is_what_the_pool_is_given():
    torch.manual_seed(0)
    network = models.vgg11().eval()
    pixels = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        expected = network.features(pixels)
        torch.testing.assert_close(region_network(network)(pixels), expected)
    assert expected.shape == (2, 512, 3, 2)


def test_parameters_keep_their_names():
    network = models.resnet18()
    kept = [name for name in network.state_dict() if not name.startswith("fc.")]
    assert sorted(region_network(network).state_dict()) == sorted(kept)


def test_a_network_without_a_map_is_refused():
    with pytest.raises(InputError, match="VisionTransformer has no average pool"):
        regions_and_side("vit_b_16", 7)


def test_a_grid_of_images_too_small_for_the_network_is_refused():
    with pytest.raises(InputError, match="alexnet takes no images of 32 x 32 pixels"):
        regions_and_side("alexnet", 1)
