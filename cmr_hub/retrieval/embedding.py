"""Embedding raw inputs in batches, with errors that name the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import BatchFeature

from cmr_hub.errors import InputError
from cmr_hub.hub import list_checkpoints
from cmr_hub.modeling.modeling_cmr import CMRModel, unit_rows
from cmr_hub.processing.batches import as_list
from cmr_hub.processing.feature_store import StoredFeatures
from cmr_hub.processing.processing_cmr import CMRProcessor, flattened


class Embedder:
    """Embeds images, texts and pairs of both; `Retriever` documents the arguments.

    Args:
        model: any method's model.
        processor: the processor that the model was trained behind.
    """

    def __init__(self, model: CMRModel, processor: CMRProcessor):
        self.model, self.processor = model, processor

    def images(
        self, images: Sequence[Any], *, batch_size: int, cache: bool, show_progress: bool, real_valued: bool
    ) -> np.ndarray:
        """See `Retriever.encode_images`."""
        encoder = self.processor.image_encoder

        def embed(batch: Sequence[Any]) -> torch.Tensor:
            return self.model.get_image_features(**self.processor(images=batch).to(self.model.device))

        def embed_features(batch: torch.Tensor) -> torch.Tensor:
            return self.model.get_image_features(**encoder.as_inputs(batch.to(self.model.device)))

        images = as_list(images, encoder)
        with self._readable_refusals("image"):
            if cache and encoder.cacheable:
                features = self.processor.store.stored(images, show_progress=show_progress)
                return self._encode(embed_features, features, "Images", batch_size, False, real_valued)
            return self._encode(embed, images, "Images", batch_size, show_progress, real_valued)

    def texts(
        self,
        texts: Sequence[str | Sequence[str]],
        *,
        batch_size: int,
        cache: bool,
        show_progress: bool,
        real_valued: bool,
    ) -> np.ndarray:
        """See `Retriever.encode_texts`."""

        def embed(batch: Sequence[Any]) -> torch.Tensor:
            return self.model.get_text_features(**self.processor(text=batch, cache=cache).to(self.model.device))

        texts = as_list(texts, self.processor.text_encoder)
        with self._readable_refusals("text"):
            if cache and self.processor.text_encoder.cacheable:
                self.processor.text_store.stored(flattened(texts)[0], show_progress=show_progress)
            if self.processor.text_encoder.supports_mean_pooling or not any(
                isinstance(text, list | tuple) for text in texts
            ):
                return self._encode(embed, texts, "Texts", batch_size, show_progress, real_valued)
            flat, lengths = flattened(texts)
            rows = torch.from_numpy(self._encode(embed, flat, "Texts", batch_size, show_progress, real_valued=True))
            means = torch.stack([group.mean(dim=0) for group in rows.split(lengths)])
            return unit_rows(means) if real_valued else self.model.as_embeddings(means)

    def pairs(
        self,
        images: Sequence[Any],
        texts: Sequence[str | Sequence[str]],
        *,
        batch_size: int,
        cache: bool,
        show_progress: bool,
        real_valued: bool,
    ) -> np.ndarray:
        """See `Retriever.encode_pairs`."""
        images, texts = as_list(images, self.processor.image_encoder), as_list(texts, self.processor.text_encoder)
        if len(images) != len(texts):
            raise InputError(f"{len(images)} images against {len(texts)} texts: a pair has one of each.")
        if len(images) == 0:
            return self.texts([], batch_size=batch_size, cache=False, show_progress=False, real_valued=real_valued)
        with self._readable_refusals("image"):
            image_inputs = self.processor(images=images, cache=cache, show_progress=show_progress)
        with self._readable_refusals("text"):
            text_inputs = self.processor(text=texts, cache=cache, show_progress=show_progress)
        inputs = {**image_inputs, **text_inputs}

        def embed(rows: range) -> torch.Tensor:
            batch = {name: rows_of[rows.start : rows.stop] for name, rows_of in inputs.items()}
            return self.model.get_pair_features(**BatchFeature(batch).to(self.model.device))

        return self._encode(embed, range(len(images)), "Pairs", batch_size, show_progress, real_valued)

    @contextmanager
    def _readable_refusals(self, modality: Literal["image", "text"]) -> Iterator[None]:
        """Tell who gives raw input to released features where it is taken."""
        try:
            yield
        except InputError as error:
            if getattr(self.processor, f"{modality}_encoder").accepts_raw_input:
                raise
            raw = ", ".join(info.repo_id for info in list_checkpoints() if getattr(info, f"accepts_raw_{modality}s"))
            raise InputError(f"{error} Checkpoints that take a raw {modality}: {raw or 'none is bundled'}.") from None

    @torch.inference_mode()
    def _encode(
        self,
        embed: Callable[[Any], torch.Tensor],
        inputs: Sequence[Any] | StoredFeatures,
        unit: str,
        batch_size: int,
        show_progress: bool,
        real_valued: bool,
    ) -> np.ndarray:
        finish = unit_rows if real_valued else self.model.as_embeddings
        if len(inputs) == 0:
            return finish(torch.zeros(0, self.model.config.embed_dim))
        batches = []
        for start in tqdm(range(0, len(inputs), batch_size), unit, disable=not show_progress):
            batch = inputs[start : start + batch_size]
            try:
                features = embed(batch)
                if not features.isfinite().all():
                    raise _not_finite(features, unit)
                batches.append(finish(features))
            except InputError as error:
                where = f" (in the batch that starts at {start})" if start else ""
                raise InputError(f"{error}{where}") from error
        return np.concatenate(batches)


def _not_finite(features: torch.Tensor, unit: str) -> InputError:
    """The error where values of the common space are not numbers, so that nothing could be found with them."""
    row = (~features.isfinite()).flatten(1).any(dim=1).nonzero()[0].item()
    return InputError(
        f"{unit.lower().removesuffix('s')} {row + 1} of {len(features)}: its embedding is NaN or infinite. Its "
        "features are too large, or the checkpoint's weights are damaged: fetch the checkpoint again."
    )
