"""DAN configuration."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from cmr_hub.modeling.configuration_cmr import CMRConfig

MAX_STEPS = 100


@strict
class DANConfig(CMRConfig):
    r"""Configuration of [`DANModel`].

    Args:
        variant (`"m-dan"` or `"r-dan"`, defaults to `"m-dan"`):
            "m-dan" matches images and texts: each side attends by a memory of its own. "r-dan" answers questions about
            an image: both attend by one joint memory, and a classifier over `num_labels` answers reads it.
        image_dim (`int`, defaults to 1280):
            Width of the feature vector of one image region.
        text_input (`"input_ids"` or `"word_features"`, defaults to `"input_ids"`):
            What stands for a word: its number, and its vector is learned; or features of a text encoder that reads
            words in order ("minilm-tokens"), which are projected. Training takes what the text encoder gives.
        text_dim (`int`, defaults to 5000):
            Width of a one-hot word: how many words the tokeniser tells apart, padding and the unknown word included;
            or of a word's features.
        embed_dim (`int`, defaults to 768):
            Width of what all steps give together: (`steps` + 1) times the width of one, which is also that of the
            memory, of a word's state and of the attention's hidden layer.
        steps (`int`, defaults to 2):
            How many times each side is attended to, K.
        word_dim (`int`, defaults to 300):
            Width of a word's vector.
        word_shortcut (`bool`, defaults to `True`):
            Whether a word's own vector, projected, is added to the states that the recurrent network has at it.
        dropout (`float`, defaults to 0.25):
            Share of word vectors, words' states and attended regions' features that training leaves out at random.
        batch_norm (`bool`, defaults to `True`):
            Whether what a step gives of each side is normalised over the batch before it is compared, of "m-dan".
        training_regions (`int`, *optional*):
            How many regions of each image a training step sees, drawn at random each time; by default all.
        margin (`float`, defaults to 0.2):
            By how much a pair shall be more similar than a pair that does not belong together, of "m-dan".
        hardest_negatives (`int`, *optional*, defaults to 10):
            How many wrong answers of a batch cost something, the most similar ones of each image and each text: 1 is
            the hardest alone, None all that come within the margin.

    Example:
    ```python
    >>> import torch
    >>> from cmr_hub import DANConfig, DANModel
    >>> model = DANModel(DANConfig(image_dim=8, text_dim=20, embed_dim=12))
    >>> model.get_text_features(torch.tensor([[5, 3, 0]])).shape
    torch.Size([1, 12])
    ```
    """

    model_type = "dan"

    variant: Literal["m-dan", "r-dan"] = "m-dan"
    text_input: Literal["input_ids", "word_features"] = "input_ids"
    text_dim: int = 5000
    embed_dim: int = 768
    steps: int = 2
    word_dim: int = 300
    word_shortcut: bool = True
    dropout: float = 0.25
    batch_norm: bool = True
    training_regions: int | None = None
    margin: float = 0.2
    hardest_negatives: int | None = 10

    @property
    def step_dim(self) -> int:
        """Width of what one step gives."""
        return self.embed_dim // (self.steps + 1)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        if not 0 <= self.steps <= MAX_STEPS:
            raise ValueError(f"steps must be from 0 (no attention) to {MAX_STEPS}, and is {self.steps}.")
        if self.embed_dim % (self.steps + 1):
            raise ValueError(
                f"embed_dim {self.embed_dim} must be a multiple of steps + 1, which is {self.steps + 1}: each step "
                "has an equal part of it, and so have the means before the first."
            )
        if self.word_dim < 1:
            raise ValueError(f"word_dim must be at least 1, and is {self.word_dim}.")
        if self.text_dim < 3:
            raise ValueError(
                f"text_dim must be at least 3 (padding, the unknown word and a word), and is {self.text_dim}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, and is {self.dropout}.")
        for name in ("training_regions", "hardest_negatives"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, or none for all, and is {getattr(self, name)}.")
        if self.margin <= 0:
            raise ValueError(f"margin must be above 0, and is {self.margin}.")
