"""Where a model looks: the weights that it gives regions of an image and words of a text, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.methods import METHODS
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.processing.processing_cmr import CMRProcessor
from cmr_hub.utils.deprecation import RenamedAttribute
from cmr_hub.utils.images import ImageSource, load_image

from .attention_images import COLUMN, FONTS, heat_map, panel

if TYPE_CHECKING:
    from cmr_hub.encoders.backbone import BackboneEncoder
    from cmr_hub.encoders.tokens import TokensEncoder
    from cmr_hub.encoders.word_states import WordStatesEncoder


@dataclass(frozen=True)
class Explanation:
    """What a model looks at in an image and reads in a text.

    Attributes:
        image: the image, upright and of mode "RGB".
        text: the text as it was given.
        words: the text's words as the text encoder reads them.
        known: for each word whether the model has learned anything of it.
        region_attention: `(steps, rows, columns)` float32: how much each step looks at each region of a grid over the
            whole image, row by row from the top left. Sums to one in each step.
        word_attention: `(steps, words)` float32, likewise of the words.
        score: the cosine of image and text; None for a model that answers texts as questions and does not match.

    Example:
    ```python
    >>> from PIL import Image
    >>> image = Image.new("RGB", (224, 224), "white")
    >>> regions = np.full((2, 7, 7), 1 / 49, dtype=np.float32)
    >>> words = np.array([[0.5, 0.5], [0.0, 1.0]], dtype=np.float32)
    >>> explanation = Explanation(image, "white snow", ["white", "snow"], [True, True], regions, words, 0.3)
    >>> explanation.overlay(1).size
    (224, 224)
    >>> explanation.draw().save("explanation.png")
    ```
    """

    image: Image.Image
    text: str
    words: list[str]
    known: list[bool]
    region_attention: np.ndarray
    word_attention: np.ndarray
    score: float | None

    @property
    def steps(self) -> int:
        """How many times the model looks."""
        return len(self.region_attention)

    def overlay(self, step: int) -> Image.Image:
        """The image in grey, in its own size, coloured by the weights of one step (from 0): blue none, yellow most.

        Raises:
            InputError: there is no such step.
        """
        if not 0 <= step < self.steps:
            raise InputError(f"There is no step {step}: the model took {self.steps}, counted from 0.")
        return heat_map(self.image, self.region_attention[step])

    picture = RenamedAttribute("draw")

    def draw(self, column: int = COLUMN, fonts: Sequence[str] = FONTS) -> Image.Image:
        """A panel: the image above its words; beside it, for each step, both again as the step weighs them.

        Regions go from blue (no weight) to yellow, words from white to amber; both end at the step's largest weight,
        which stands above. Words that the model does not know have a dashed frame.

        Args:
            column: width in pixels of each of the `1 + steps` columns; text grows with it.
            fonts: families in which a letter is looked for, in this order. The default has no Chinese, Japanese,
                Korean or emoji, which are drawn as □: name a font of this machine that has them.
        """
        return panel(self, column, fonts)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the image, as JSON values."""
        return {
            "text": self.text,
            "words": self.words,
            "known": self.known,
            "region_attention": self.region_attention.tolist(),
            "word_attention": self.word_attention.tolist(),
            "score": self.score,
        }


def explain(model: CMRModel, processor: CMRProcessor, image: ImageSource, text: str) -> Explanation:
    """What a model looks at in an image when it reads a text.

    Args:
        model: of a method that attends.
        processor: what the model was trained behind.
        image: a path, PIL image or array.
        text: one text.

    Raises:
        InputError: the method does not attend, or an input cannot be used.
    """
    check_attends(model)
    if not isinstance(text, str):
        raise InputError(f"One text is explained at a time, and a text is a string, not {type(text).__name__}.")
    output = attend(model, processor(images=[image], text=[text]))
    # A method that attends takes words and regions, which no other encoders give.
    tokens = cast("TokensEncoder | WordStatesEncoder", processor.text_encoder)
    grid = cast(int, cast("BackboneEncoder", processor.image_encoder).grid)
    words = tokens.words(text)
    cosine = matching_scores(output)
    return Explanation(
        image=load_image(image),
        text=text,
        words=words,
        known=tokens.has_known_tokens(words),
        region_attention=_first(output.image_attentions).reshape(-1, grid, grid),
        word_attention=_first(output.text_attentions),
        score=None if cosine is None else cosine.item(),
    )


def _first(attentions: torch.Tensor | None) -> np.ndarray:
    """`(1, steps, parts)` weights, which a method that attends always returns, as `(steps, parts)` floats."""
    return cast(torch.Tensor, attentions)[0].float().cpu().numpy()


def check_attends(model: CMRModel) -> None:
    """Raise InputError where a method does not weigh regions and words, with the names of those that do."""
    if not model.has_attention:
        others = ", ".join(name for name, method in METHODS.importable() if method.has_attention)
        raise InputError(
            f"{model.config.model_type} takes an image and a text as one vector each and weighs no parts of them. "
            f"Methods that do: {others or 'none'}."
        )


@torch.inference_mode()
def attend(model: CMRModel, inputs: Mapping[str, torch.Tensor]) -> CMROutput:
    """Run a method that attends on `n` pairs.

    Args:
        model: the method.
        inputs: what the processor gives of `n` images and `n` texts.

    Returns:
        The model's output, with `image_attentions` and `text_attentions`.
    """
    return model(**{name: tensor.to(model.device) for name, tensor in inputs.items()}, output_attentions=True)


def matching_scores(output: CMROutput) -> torch.Tensor | None:
    """`(n,)` cosines of `n` pairs; None where the model answers and embeds neither side."""
    if output.image_embeds is None or output.text_embeds is None:
        return None
    return torch.cosine_similarity(output.image_embeds, output.text_embeds)
