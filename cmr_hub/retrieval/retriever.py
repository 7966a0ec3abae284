"""A model and its processor together: raw images and raw texts in, comparable vectors out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from cmr_hub.encoders.base import TextEncoder
from cmr_hub.errors import CheckpointError, CMRError, InputError
from cmr_hub.hub import push_folder
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.modeling.checked_model import WEIGHT_FILES
from cmr_hub.modeling.modeling_cmr import CMRModel
from cmr_hub.modeling.parts import NEUTRAL, check_focus
from cmr_hub.processing.batches import as_list
from cmr_hub.processing.processing_cmr import CMRProcessor, flattened
from cmr_hub.utils.checkpoint_files import read_json
from cmr_hub.utils.checksums import saved
from cmr_hub.utils.deprecation import RenamedAttribute, renamed_arguments
from cmr_hub.utils.hub import Location
from cmr_hub.utils.images import ImageSource
from cmr_hub.utils.loading_options import chosen_device, pop_dtype

from .answering import answer
from .embedding import Embedder
from .explanation import Explanation, explain
from .image_domain import ImageDomain, describe_gallery, describe_image, shipped_domain
from .loading import check_fit, load_parts
from .mixed_inputs import encode_mixed, is_single, similarities
from .words import check_words, describe_unknown

logger = logging.getLogger(__name__)


class Retriever:
    """What a checkpoint is used through.

    Args:
        model: any method's model.
        processor: the processor that the model was trained behind.
        name: where it came from; galleries remember it.

    Raises:
        CheckpointError: the processor gives features of another kind or width than the model eats.

    Example:
    ```python
    >>> import cmr_hub
    >>> retriever = cmr_hub.from_pretrained("cmr/dscmr-emoji")
    >>> texts = retriever.encode_texts(["smiling cat", "a red apple"])
    >>> texts.shape, texts.dtype.name
    ((2, 1024), 'float32')
    ```
    """

    def __init__(self, model: CMRModel, processor: CMRProcessor, name: str | None = None):
        check_fit(model, processor)
        self.model = model.eval()
        self.processor = processor
        self.name = name
        self._given_folder: str | None = None  # where `name` is the path of one
        self.folder: Path | None = None
        self._image_domain: ImageDomain | None = None

    @property
    def reference(self) -> str | None:
        """What finds the checkpoint again, wherever one looks from: a repo id, or the whole path of a folder."""
        return self._given_folder or self.name

    def __repr__(self) -> str:
        return f"Retriever({self.name or type(self.model).__name__!r}, method={self.model.config.model_type!r})"

    @classmethod
    @renamed_arguments(torch_dtype="dtype")
    def from_pretrained(
        cls,
        repo_id_or_path: str | os.PathLike,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        subfolder: str = "",
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        dtype: torch.dtype | str | None = None,
        device: str | int | torch.device | None = None,
        device_map: str | int | torch.device | Mapping[str, Any] | None = None,
        trust_remote_code: bool | None = None,
        backend: str | None = None,
        precision: str | None = None,
        verify: bool = True,
    ) -> Retriever:
        """Load a checkpoint of any method, or a dual encoder of transformers (CLIP, SigLIP …) as it is.

        Args:
            repo_id_or_path: a folder, a bundled "cmr/<name>", or any repo id on the Hub; also of a dual encoder
                ("openai/clip-vit-base-patch32").
            revision: branch, tag or commit on the Hub.
            cache_dir: where downloads are stored and looked for; default is the cache of Hugging Face.
            subfolder: the folder inside the repo or folder that is the checkpoint.
            token: access token for private repos.
            local_files_only: never ask the Hub.
            force_download: fetch from the Hub even where a bundled or cached copy exists.
            dtype: of the model's weights, "float32" (default), "float16", "bfloat16", or "auto" for what is stored.
                Embeddings are float32 all the same; `precision` is that of the encoders.
            device: where encoders and model compute; default CPU.
            device_map: the same in the words of transformers: one device, or "auto" for the accelerator where there
                is one.
            trust_remote_code: accepted and never used: no code of a repo is run.
            backend: what computes the encoders' networks: "torch", "openvino", "onnx" or "auto", the fastest that is
                installed; None for `$CMR_HUB_BACKEND`, or "auto". See [`~cmr_hub.encoders.base.Encoder.use_backend`].
            precision: of the encoders' networks, "f32" or "bf16"; None for `$CMR_HUB_PRECISION`, or "f32".
            verify: compare the files with their digests in `checksums.json`, where the checkpoint has it.

        Raises:
            CheckpointNotFoundError: no such folder, bundled name or repo; lists what is bundled.
            CheckpointError: files that are missing, corrupt or do not fit each other.
            InputError: a device that this machine lacks, or several; a `dtype` that is no floating-point type.
            UnknownNameError: there is no such backend or precision.
            MissingExtraError: a package that the backend needs is not installed; names the extra.
        """
        location: Location = {
            "revision": revision,
            "cache_dir": cache_dir,
            "subfolder": subfolder,
            "token": token,
            "local_files_only": local_files_only,
            "force_download": force_download,
        }
        model, processor, folder = load_parts(
            repo_id_or_path,
            location=location,
            dtype=pop_dtype({"dtype": dtype}),
            device=chosen_device(device, device_map) or torch.device("cpu"),
            verify=verify,
        )
        processor.use_backend(backend, precision)
        try:
            retriever = cls(model, processor, name=str(repo_id_or_path))
        except CMRError as error:
            raise CheckpointError(f"The checkpoint in {folder} does not fit together: {error}") from error
        retriever.folder = folder
        if os.path.isdir(os.path.expanduser(repo_id_or_path)):
            retriever._given_folder = os.path.abspath(folder)
        retriever._image_domain = ImageDomain.load(folder)
        return retriever

    def encode_images(
        self,
        images: Sequence[Any],
        *,
        batch_size: int = 64,
        cache: bool = False,
        show_progress: bool = False,
        real_valued: bool = False,
    ) -> np.ndarray:
        """Embed images.

        Args:
            images: `n` paths, PIL images or arrays; for checkpoints on released features an `(n, image_dim)` array.
            batch_size: how many are embedded at once.
            cache: keep the frozen encoder's features on disk; see [`~cmr_hub.processing.feature_store.FeatureStore`].
            show_progress: show a bar.
            real_valued: of a hashing method, the values whose signs are the codes, as rows of unit length: to re-rank
                what the codes have found.

        Returns:
            `(n, embed_dim)` float32 rows of unit length, in the order of `images`; of a hashing method
            `(n, embed_dim // 8)` uint8 codes, eight bits a byte ([`~cmr_hub.modeling.codes.unpack`] gives signs).

        Raises:
            InputError: an image cannot be used; its position and the reason are named.
        """
        return self._embedder.images(
            images, batch_size=batch_size, cache=cache, show_progress=show_progress, real_valued=real_valued
        )

    def encode_texts(
        self,
        texts: Sequence[str | Sequence[str]],
        *,
        batch_size: int = 256,
        cache: bool = False,
        show_progress: bool = False,
        real_valued: bool = False,
    ) -> np.ndarray:
        """Embed texts.

        Args:
            texts: `n` strings, or lists of strings that describe one thing together (their features are averaged; of
                an encoder of single words their embeddings); for checkpoints on released features an `(n, text_dim)`
                array. A text without any known word has the same embedding as every other such text: see
                [`has_known_tokens`]. A warning says where most words, or most texts, are unknown.
            batch_size: how many are embedded at once.
            cache: keep the frozen encoder's features on disk, of encoders that are slow; see
                [`~cmr_hub.processing.feature_store.FeatureStore`].
            show_progress: show a bar.
            real_valued: of a hashing method, the values whose signs are the codes, as rows of unit length: to re-rank
                what the codes have found.

        Returns:
            `(n, embed_dim)` float32 rows of unit length, in the order of `texts`; of a hashing method
            `(n, embed_dim // 8)` uint8 codes, eight bits a byte ([`~cmr_hub.modeling.codes.unpack`] gives signs).

        Raises:
            InputError: a text cannot be used; its position and the reason are named.
        """
        texts = as_list(texts, self.processor.text_encoder)
        self._warn_of_unknown_words(texts)
        return self._embedder.texts(
            texts, batch_size=batch_size, cache=cache, show_progress=show_progress, real_valued=real_valued
        )

    def encode(
        self,
        inputs: str | ImageSource | Sequence[str | ImageSource],
        *,
        batch_size: int = 64,
        show_progress_bar: bool = False,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = True,
        real_valued: bool = False,
    ) -> np.ndarray | torch.Tensor:
        """Embed texts and images by one call, with the arguments of sentence-transformers' `encode`.

        Args:
            inputs: texts (strings) and images (PIL images, arrays, `pathlib` paths, bytes) in any order, or one of
                them. A string is a text, also where it is the path of an image: [`encode_images`] opens those.
            batch_size: how many are embedded at once.
            show_progress_bar: show a bar.
            convert_to_tensor: return a tensor, on the device of the model, instead of an array.
            normalize_embeddings: embeddings have unit length whatever is given; codes have no length.
            real_valued: of a hashing method, the values behind the codes, as for [`encode_images`].

        Returns:
            `(n, embed_dim)` as [`encode_images`] gives them, in the order of the inputs; of one input `(embed_dim,)`.

        Raises:
            InputError: an input cannot be used.

        Example:
        ```python
        >>> import cmr_hub
        >>> retriever = cmr_hub.from_pretrained("cmr/dscmr-emoji")
        >>> texts = retriever.encode(["smiling cat", "a red apple"], convert_to_tensor=True)
        >>> retriever.similarity(texts, texts).shape
        torch.Size([2, 2])
        ```
        """
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "show_progress": show_progress_bar,
            "real_valued": real_valued,
        }
        one = is_single(inputs)
        rows = encode_mixed(
            [inputs] if one else list(cast(Sequence[Any], inputs)),
            lambda texts: self.encode_texts(texts, **settings),
            lambda images: self.encode_images(images, **settings),
        )
        rows = rows[0] if one else rows
        return torch.from_numpy(rows).to(self.model.device) if convert_to_tensor else rows

    def similarity(
        self,
        queries: np.ndarray | torch.Tensor,
        items: np.ndarray | torch.Tensor,
        *,
        focus: float | None = None,
    ) -> torch.Tensor:
        """Scores of queries and items, as [`~cmr_hub.Gallery.search`] gives them: sentence-transformers' `similarity`.

        Args:
            queries: `(q, embed_dim)` embeddings or `(q, bits // 8)` codes, or one of them.
            items: `(n, …)`, likewise.
            focus: of embeddings of two parts, from 0 (the same kind of thing) to 1 (this very thing); by default the
                checkpoint's own.

        Returns:
            `(q, n)` float32 on the CPU.

        Raises:
            InputError: embeddings that cannot be compared, or a focus that this checkpoint does not support.
        """
        if focus is not None:
            check_focus(focus)
            if self.class_dim is None:
                raise InputError(f"The checkpoint {self.name!r} embeds each item as one part: leave the focus out.")
        return similarities(queries, items, self.class_dim, self.default_focus if focus is None else focus)

    def encode_pairs(
        self,
        images: Sequence[Any],
        texts: Sequence[str | Sequence[str]],
        *,
        batch_size: int = 64,
        cache: bool = False,
        show_progress: bool = False,
        real_valued: bool = False,
    ) -> np.ndarray:
        """Embed items of which both the image and the text are known, each as one: the unified codes of SePH or CMFH.

        Args:
            images: as for [`encode_images`].
            texts: as for [`encode_texts`]; row i belongs to image i.
            batch_size: how many are embedded at once.
            cache: keep the frozen encoder's features on disk, as for [`encode_images`].
            show_progress: show a bar.
            real_valued: of a hashing method, the values whose signs are the codes, as for [`encode_images`].

        Returns:
            As [`encode_images`].

        Raises:
            InputError: the method embeds each side by itself only, the lengths differ, or an input cannot be used.
        """
        return self._embedder.pairs(
            images, texts, batch_size=batch_size, cache=cache, show_progress=show_progress, real_valued=real_valued
        )

    def with_focus(self, embeds: np.ndarray, focus: float | None = None) -> np.ndarray:
        """Weigh the parts of queries, of methods whose embeddings have a class part and an item part (unified).

        Only queries are weighed: one gallery, embedded once, answers every focus.

        Args:
            embeds: `(n, …)` embeddings or codes, as [`encode_images`] and [`encode_texts`] give them.
            focus: from 0 (the same kind of thing) to 1 (this very thing); by default the checkpoint's own,
                `default_focus`.

        Returns:
            `(n, embed_dim)` float32 rows of unit length. Their inner products with a gallery's embeddings (of codes
            with their signs, [`~cmr_hub.modeling.embeddings.as_vectors`]) rank it;
            [`~cmr_hub.modeling.parts.focus_scale`] times these are (1 - focus) * cosine of the class parts +
            focus * cosine of the item parts.

        Raises:
            InputError: embeddings of this checkpoint have one part, or the focus is not from 0 to 1.
        """
        if focus is None:
            focus = self.default_focus
        return self.model.with_focus(embeds, NEUTRAL if focus is None else focus)

    @property
    def class_dim(self) -> int | None:
        """Width of the class part of embeddings, which comes first, of codes in bits; None where there is one part."""
        return self.model.class_dim

    @property
    def default_focus(self) -> float | None:
        """The focus of queries that are asked without one; None where embeddings have one part."""
        return self.model.default_focus

    def explain(self, image: ImageSource, text: str) -> Explanation:
        """Where the model looks in an image and what it reads in a text, step by step; of methods that attend (DAN).

        Args:
            image: a path, PIL image or array.
            text: one text.

        Returns:
            The weights as arrays; `.draw()` draws them.

        Raises:
            InputError: the method does not attend, or an input cannot be used.
        """
        return explain(self.model, self.processor, image, text)

    def answer(self, image: ImageSource, question: str) -> dict[str, float]:
        """What the model answers to a question about an image, by those that were trained to answer (r-DAN).

        Args:
            image: a path, PIL image or array.
            question: one text.

        Returns:
            Answer -> probability, the most likely first.

        Raises:
            InputError: the model gives no answers, or an input cannot be used.
        """
        return answer(self.model, self.processor, image, question)

    def _warn_of_unknown_words(self, texts: Sequence[Any]) -> None:
        encoder = self.processor.text_encoder
        if not isinstance(encoder, TextEncoder) or not len(texts):
            return
        if note := describe_unknown(encoder, flattened(texts)[0]):
            logger.warning("%s", note)

    @property
    def _embedder(self) -> Embedder:
        return Embedder(self.model, self.processor)

    def has_known_tokens(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether the text encoder knows at least one of its words."""
        return cast(TextEncoder, self.processor.text_encoder).has_known_tokens(texts)

    knows = RenamedAttribute("has_known_tokens")

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the text encoder has no vector for."""
        return cast(TextEncoder, self.processor.text_encoder).unknown_words(text)

    def near_words(self, word: str) -> list[str]:
        """Up to three words that the text encoder has a vector for, and that are spelled nearly as this one."""
        return cast(TextEncoder, self.processor.text_encoder).near_words(word)

    def check_words(self, text: str) -> str:
        """Describe the words of a query that the text encoder has no vector for; "" where it knows each.

        Raises:
            InputError: the text is empty, or no word is known; near spellings are suggested.
        """
        return check_words(cast(TextEncoder, self.processor.text_encoder), text, self.name)

    @property
    def image_domain(self) -> ImageDomain | None:
        """What images of the training were like; None where the checkpoint does not say."""
        if self._image_domain is not None or self.folder is None:
            return self._image_domain
        record = self.folder / RUN_NAME
        dataset = read_json(record).get("dataset") if record.exists() else None
        return shipped_domain(str(dataset), self.processor.image_encoder)

    @image_domain.setter
    def image_domain(self, domain: ImageDomain | None) -> None:
        self._image_domain = domain

    def check_image(self, image: ImageSource) -> str:
        """Say that an image, as for [`encode_images`], is unlike those of the training; "" where it is not so.

        Raises:
            InputError: the image cannot be used.
        """
        domain, encoder = self.image_domain, self.processor.image_encoder
        if domain is None or not encoder.accepts_raw_input:
            return ""
        return describe_image(domain, encoder.encode([image]).numpy())

    def check_sample(self, images: Sequence[Any]) -> str:
        """Say that too many of a sample of a gallery's images are unlike those of the training; "" where it is not so.

        Their features are kept on disk, as far as the encoder is slow.

        Raises:
            InputError: an image cannot be used.
        """
        domain, encoder = self.image_domain, self.processor.image_encoder
        if domain is None or not encoder.accepts_raw_input or not len(images):
            return ""
        encode = self.processor.store.encode if encoder.cacheable else encoder.encode
        return describe_gallery(domain, encode(images).numpy())

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write the model and its processor into one folder; an earlier checkpoint there survives a failure."""
        with saved(save_directory, replaces=WEIGHT_FILES) as scratch:
            self.model.save_pretrained(scratch)
            self.processor.save_pretrained(scratch)
            if self._image_domain is not None:
                self._image_domain.save(scratch)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the folder that this was loaded from, card and measured results included.

        Args:
            repo_id: "owner/name".
            options: as [`~cmr_hub.hub.push_folder`] takes them (`private`, `token`, `commit_message` …).

        Returns:
            The repo's address.

        Raises:
            CheckpointError: it was not loaded from a folder, has no card, or the Hub refuses.
        """
        if self.folder is None:
            raise CheckpointError("Save it and write its card first: `cmr publish` does both.")
        return push_folder(self.folder, repo_id, **options)

    @property
    def fingerprint(self) -> str:
        """A digest of weights and processor: galleries embedded by another checkpoint are told apart by it."""
        digest = hashlib.sha256(json.dumps(self.processor.to_dict(), sort_keys=True).encode())
        for encoder in (self.processor.image_encoder, self.processor.text_encoder):
            for part in encoder._fitted_parts():
                digest.update(part)
        for name, tensor in sorted(self.model.state_dict().items()):
            # As bytes: numpy has no bfloat16.
            digest.update(name.encode() + tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def from_pretrained(repo_id_or_path: str | os.PathLike, **options: Any) -> Retriever:
    """Load a checkpoint of any method, ready to embed; see [`Retriever.from_pretrained`].

    Example:
    ```python
    >>> import cmr_hub
    >>> cmr_hub.from_pretrained("cmr/cca-wiki")
    Retriever('cmr/cca-wiki', method='cca')
    ```
    """
    return Retriever.from_pretrained(repo_id_or_path, **options)
