"""What the configurations of methods with a class part and an item part share."""

from huggingface_hub.dataclasses import strict

from .configuration_cmr import CMRConfig

LOWEST_TEMPERATURE = 0.01  # as low as the learned one may fall


@strict
class TwoPartConfig(CMRConfig):
    r"""Base configuration of methods whose embeddings have a class part and an item part.

    Args:
        embed_dim (`int`, defaults to 512):
            Width of both parts together.
        has_class_part (`bool`, defaults to `True`):
            Whether there is a class part; without classes to learn from there is none, and the item part has the whole
            width.
        separate_parts (`bool`, defaults to `True`):
            Whether each part has towers of its own. If not, one embedding learns from both losses, and has no parts
            that a focus could weigh.
        class_hidden_dim (`int`, defaults to 512), item_hidden_dim (`int`, defaults to 0):
            Width of the hidden layer of each part's towers; 0 makes them linear.
        class_dropout (`float`, defaults to 0.5), item_dropout (`float`, defaults to 0.5):
            Share of the features, and of the hidden units, of each part's towers that training leaves out at random.
        class_weight (`float`, defaults to 1.0):
            Weight of the class loss; the item loss has 1.
        initial_temperature (`float`, defaults to 0.05):
            What cosines of the item part are divided by at the start of training; it is learned from there.
        hardness (`float`, defaults to 0.0):
            How much more a wrong answer counts the nearer it is to the query; 0 counts all alike.
        focus (`float`, defaults to 0.5):
            Focus of searches that name none: 0 is the same kind of thing, 1 this very thing.
    """

    embed_dim: int = 512
    has_class_part: bool = True
    separate_parts: bool = True
    class_hidden_dim: int = 512
    item_hidden_dim: int = 0
    class_dropout: float = 0.5
    item_dropout: float = 0.5
    class_weight: float = 1.0
    initial_temperature: float = 0.05
    hardness: float = 0.0
    focus: float = 0.5

    @property
    def class_dim(self) -> int:
        """Width of the class part, which comes first; 0 where there is none."""
        raise NotImplementedError

    @property
    def item_dim(self) -> int:
        """Width of the item part."""
        return self.embed_dim - self.class_dim

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        super().validate_architecture()
        for name in ("class_hidden_dim", "item_hidden_dim"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (linear towers) or more, and is {getattr(self, name)}.")
        for name in ("class_dropout", "item_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, and is {getattr(self, name)}.")
        for name in ("class_weight", "hardness"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}.")
        if self.initial_temperature < LOWEST_TEMPERATURE:
            raise ValueError(
                f"initial_temperature must be at least {LOWEST_TEMPERATURE}, which is as low as it may fall, and is "
                f"{self.initial_temperature}."
            )
        if not 0 <= self.focus <= 1:
            raise ValueError(f"focus must be from 0 (the same kind of thing) to 1 (this very thing): {self.focus}.")
        if not self.has_class_part and not self.separate_parts:
            raise ValueError("separate_parts=False lets one embedding learn both parts: has_class_part must be on.")
