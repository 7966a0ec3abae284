"""DSPE (Wang et al., CVPR 2016): ranking in both directions, and neighbours within a modality kept together."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from cmr_hub.methods import register_method
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.standardizer import BatchNorm, CommonScale, FitStandardizers

from .configuration_dspe import DSPEConfig

NEAREST = 1e-3  # the least distance there is: at 0 a square root has no gradient


def distances(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """`(n, m)` Euclidean distances from `(n, d)` to `(m, d)` rows of unit length, none below `NEAREST`.

    Example:
    ```python
    >>> distances(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [1.0, 0.0]])).tolist()
    [[2.0, 0.0010000000474974513]]
    ```
    """
    return (2 - 2 * rows @ others.T).clamp(min=NEAREST**2).sqrt()


def margin_cost(
    distance: torch.Tensor, near: torch.Tensor, wrong: torch.Tensor, margin: float, violations: int
) -> torch.Tensor:
    """Mean over (i, j) of `near` of sum_k max(0, margin + d_ij - d_ik), k the nearest few that are `wrong` for i.

    The nearest of an i are the same whatever j is, so that no triplet needs a place of its own. Without a near pair
    the cost is 0.

    Args:
        distance: `(n, m)`, of anchor i to answer j.
        near: `(n, m)` booleans: j belongs to i.
        wrong: `(n, m)` booleans: j does not; what is neither (an anchor itself) takes no part.
        margin: by how much what is wrong must be further.
        violations: how many k count for each (i, j).
    """
    nearest = distance.masked_fill(~wrong, math.inf).topk(min(violations, distance.shape[1]), largest=False).values
    anchor, answer = near.nonzero(as_tuple=True)
    costs = margin + distance[anchor, answer, None] - nearest[anchor]
    return costs.clamp(min=0).sum() / max(1, len(anchor))


def numbered(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is distinct among `(n, …)` rows: the number of each row's value, `(n,)`, and the first row of each value.

    Example:
    ```python
    >>> [number.tolist() for number in numbered(torch.tensor([7, 5, 7]))]
    [[1, 0, 1], [1, 0]]
    ```
    """
    number = torch.unique(values, dim=0, return_inverse=True)[1]
    rows = torch.arange(len(number), device=number.device)
    first = torch.full((int(number.max()) + 1,), len(number), device=number.device)
    return number, first.scatter_reduce(0, number, rows, "amin")


def numbered_pairs(
    text_features: torch.Tensor, items: torch.Tensor | None
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The distinct images and the distinct texts of n pairs, each as [`numbered`] gives them.

    Args:
        text_features: `(n, text_dim)`.
        items: `(n,)` integers, which image row i is of; None where every row is an image of its own.
    """
    own = torch.arange(len(text_features), device=text_features.device)
    return numbered(own if items is None else items), numbered(text_features)


def description(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """`(images, texts)` booleans: which texts describe which images, from the numbers of n pairs.

    Example:
    ```python
    >>> description(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])).tolist()
    [[True, True], [False, True]]
    ```
    """
    describes = torch.zeros(int(image.max()) + 1, int(text.max()) + 1, dtype=torch.bool, device=image.device)
    describes[image, text] = True
    return describes


def structure_cost(embeds: torch.Tensor, shares: torch.Tensor, margin: float, violations: int) -> torch.Tensor:
    """[`margin_cost`] within one side: of all that share something with an anchor, but not of the anchor itself.

    Args:
        embeds: `(n, d)` rows of unit length.
        shares: `(n, m)` booleans: of images, which texts describe them; of texts, which images they describe. Two
            rows with one in common are neighbours.
        margin: as in `margin_cost`.
        violations: as in `margin_cost`.
    """
    belongs = shares.to(embeds.dtype)
    neighbours = belongs @ belongs.T > 0
    itself = torch.eye(len(embeds), dtype=torch.bool, device=embeds.device)
    return margin_cost(distances(embeds, embeds), neighbours & ~itself, ~neighbours, margin, violations)


def make_branch(features_dim: int, config: DSPEConfig) -> nn.Sequential:
    """One side's way from frozen features into the common space, up to the length of its vectors."""
    return nn.Sequential(
        nn.Linear(features_dim, config.hidden_dim),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden_dim, config.embed_dim),
        BatchNorm(config.embed_dim),
    )


@register_method("dspe", display_order=70)
class DSPEModel(CMRModel):
    """One branch per modality into unit vectors, ranked by distance across modalities, kept together within each."""

    title = "DSPE"
    paper = "Wang et al., Learning Deep Structure-Preserving Image-Text Embeddings, CVPR 2016"
    supervision = "unsupervised"
    representation = "real-valued"
    groups_texts = True  # neighbours within a modality are texts of one image
    config_class = DSPEConfig
    config: DSPEConfig

    def __init__(self, config: DSPEConfig):
        super().__init__(config)
        self.image_standardizer = CommonScale(config.image_dim)
        self.text_standardizer = CommonScale(config.text_dim)
        self.image_branch = make_branch(config.image_dim, config)
        self.text_branch = make_branch(config.text_dim, config)
        self.post_init()

    def get_image_features(self, image_features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.image_branch(self.image_standardizer(image_features)), dim=1)

    def get_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.text_branch(self.text_standardizer(text_features)), dim=1)

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitStandardizers()]

    def embed(
        self,
        image_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        items: torch.Tensor | None = None,
    ) -> CMROutput:
        """Embed whichever modalities are given; of pairs, each distinct image and text once.

        Args:
            image_features: `(n, image_dim)` float tensor.
            text_features: `(n, text_dim)` float tensor; row i is a text of image i. Texts that are equal number for
                number are one text, which describes the images of all its rows.
            items: `(n,)` integers, which image row i is of; by default every row is an image of its own.
        """
        if image_features is None or text_features is None:
            return super().embed(image_features=image_features, text_features=text_features)
        (image, first_image), (text, first_text) = numbered_pairs(text_features, items)
        images = self.get_image_features(image_features[first_image])
        texts = self.get_text_features(text_features[first_text])
        return CMROutput(image_embeds=images[image], text_embeds=texts[text])

    @property
    def loss_weights(self) -> dict[str, float]:
        return {
            name: getattr(self.config, f"{name}_weight")
            for name in ("text_to_image", "image_structure", "text_structure")
        }

    def compute_loss(
        self, output: CMROutput, text_features: torch.Tensor, items: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The four ranking terms.

        An image that has several texts in the batch, and a text that stands under several images, take part once.

        Args:
            output: of a batch of pairs.
            text_features: as for [`embed`].
            items: as for [`embed`].
        """
        (image, first_image), (text, first_text) = numbered_pairs(text_features, items)
        image_embeds, text_embeds = output.embeds
        images, texts = image_embeds[first_image], text_embeds[first_text]
        describes = description(image, text)
        across, settings = distances(images, texts), (self.config.margin, self.config.violations)
        return {
            "image_to_text": margin_cost(across, describes, ~describes, *settings),
            "text_to_image": margin_cost(across.T, describes.T, ~describes.T, *settings),
            "image_structure": structure_cost(images, describes, *settings),
            "text_structure": structure_cost(texts, describes.T, *settings),
        }
