"""A retriever that attends, small enough to know by heart what it looks at."""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Images
from torch import nn

from cmr_hub import CMRConfig, CMRModel, CMROutput, CMRProcessor, Retriever
from cmr_hub.encoders.base import ImageEncoder
from cmr_hub.encoders.tokens import TokensEncoder
from cmr_hub.utils.images import load_image

GRID = 4
COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class MeanColours(ImageEncoder):
    """The mean colour of each cell of a grid over the whole image, `(n, grid * grid, 3)`."""

    name, dim, input_name = "mean-colours", 3, "region_features"

    def __init__(self, grid: int = GRID):
        self.grid = grid

    def encode(self, inputs):
        size = (self.grid, self.grid)
        cells = [np.asarray(load_image(image).resize(size, Images.Resampling.BOX)) for image in inputs]
        return torch.from_numpy(np.stack(cells)).flatten(1, 2) / 255

    def to_dict(self):
        return {"name": self.name, "modality": self.modality, "grid": self.grid}

    @classmethod
    def from_dict(cls, config, folder=None):
        return cls(config["grid"])


class RedSeeker(CMRModel):
    """Looks for red, and reads colour words.

    Its first step looks at the reddest region, its second at all alike. Where it `pretends`, it says that it looks at
    the last region, and takes the mean of all. Where it `answers`, it embeds neither side.
    """

    title, paper, supervision = "Red seeker", "none", "unsupervised"
    image_input, text_input, has_attention = "region_features", "input_ids", True
    config_class = CMRConfig

    def __init__(self, words, pretends=False, answers=False):
        super().__init__(CMRConfig(image_dim=3, text_dim=2 + len(words), embed_dim=3))
        colours = [COLOURS.get(word, (0.0, 0.0, 0.0)) for word in words]
        rows = torch.tensor([(0.0, 0.0, 0.0), (0.0, 0.0, 0.0), *colours])
        self.colours = nn.Parameter(rows, requires_grad=False)
        self.pretends, self.answers = pretends, answers

    def look(self, regions):
        redness = regions[..., 0] - regions[..., 1:].mean(dim=-1)
        if self.pretends:
            redness = torch.linspace(0, 1, redness.shape[1]).expand_as(redness)
        return torch.stack([(50 * redness).softmax(dim=1), torch.full_like(redness, 1 / redness.shape[1])], dim=1)

    def get_image_features(self, region_features):
        if self.pretends:
            return region_features.mean(dim=1)
        return torch.einsum("nr,nrc->nc", self.look(region_features)[:, 0], region_features)

    def get_text_features(self, input_ids, attention_mask=None):
        return self.colours[input_ids].sum(dim=1)

    def embed(self, region_features, input_ids, attention_mask, output_attentions=False):
        output = CMROutput()
        if not self.answers:
            output.image_embeds = self.get_image_features(region_features)
            output.text_embeds = self.get_text_features(input_ids)
        if output_attentions:
            output.image_attentions = self.look(region_features)
            words = attention_mask / attention_mask.sum(dim=1, keepdim=True)
            output.text_attentions = torch.stack([words, words], dim=1)
        return output


def red_seeker(grid: int = GRID, **options: bool) -> Retriever:
    """The toy behind real word numbers; it knows the words "a", "red", "green", "blue" and "square"."""
    text_encoder = TokensEncoder().fit(["a red square", "a green square", "a blue square"])
    model = RedSeeker(text_encoder.vocabulary, **options)
    return Retriever(model, CMRProcessor(MeanColours(grid), text_encoder), name="red seeker")


def spotted(row: int, column: int, size: tuple[int, int] = (80, 40), grid: int = GRID) -> Images.Image:
    """A grey image with one red cell."""
    image = Images.new("RGB", size, (120, 120, 120))
    width, height = size[0] // grid, size[1] // grid
    image.paste((230, 20, 20), (column * width, row * height, (column + 1) * width, (row + 1) * height))
    return image


def captioned(images: list[Images.Image], texts: list[list[str]]) -> Dataset:
    """Images with their captions, as a split of a data set has them."""
    features = Features({"id": Value("string"), "image": Image(), "texts": List(Value("string"))})
    ids = [str(row) for row in range(len(images))]
    return Dataset.from_dict({"id": ids, "image": images, "texts": texts}, features=features)
