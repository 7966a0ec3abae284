"""Answers to questions about an image, by models that give them."""

from __future__ import annotations

from typing import Any

import torch

from cmr_hub.errors import InputError
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.processing.processing_cmr import CMRProcessor


@torch.inference_mode()
def answer(model: CMRModel, processor: CMRProcessor, image: Any, question: str) -> dict[str, float]:
    """What a model answers to a question about an image.

    Args:
        model: one that answers, such as an r-DAN.
        processor: the processor that it was trained behind.
        image: a path, PIL image or array.
        question: the words of the question; those that were not in the training questions are all one unknown word.

    Returns:
        Answer -> probability, the most likely first; they sum to one.

    Raises:
        InputError: the model gives no answers, or the image or the question cannot be used.
    """
    if not model.answers_questions:
        raise InputError(
            f"This {model.config.model_type} compares images and texts and answers no questions: train a model that "
            "does (`cmr answer`)."
        )
    if not isinstance(question, str):
        raise InputError(f"One question is taken at a time, a string, not {type(question).__name__}.")
    inputs = processor(images=[image], text=[question]).to(model.device)
    chances = model(**inputs).pair_logits[0].float().softmax(dim=0)
    order = chances.argsort(descending=True, stable=True).tolist()
    return {model.config.id2label[place]: chances[place].item() for place in order}
