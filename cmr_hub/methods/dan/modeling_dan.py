"""Dual attention networks for matching and for reasoning (Nam et al., CVPR 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import TrainerCallback

from cmr_hub.encoders.tokens import TokensEncoder
from cmr_hub.errors import InputError
from cmr_hub.methods import register_method
from cmr_hub.modeling.losses import class_shares
from cmr_hub.modeling.modeling_cmr import CMRModel, CMROutput
from cmr_hub.modeling.standardizer import BatchNorm, FitToFeatures, Standardizer

from .configuration_dan import DANConfig

if TYPE_CHECKING:
    from cmr_hub.processing.processing_cmr import CMRProcessor


WORD_DEVIATION = 0.4  # of word vectors before training, about that of GloVe's 50-d ones


class Joined(nn.Module):
    """What K + 1 steps give of one side as one row of unit length.

    The similarity of an image and a text is a sum over steps, and a sum of inner products is the inner product of the
    rows joined end to end: so a gallery, an index and the evaluation compare DAN's rows like any other method's. Each
    step's vector has the same length, so that this inner product is the mean over steps of the steps' cosines.

    Args:
        config: with `batch_norm`, each step's vector is first normalised over the batch: what all texts (or images)
            have in common takes no part in their cosines then.
    """

    def __init__(self, config: DANConfig):
        super().__init__()
        kind = BatchNorm if config.batch_norm else nn.Identity
        self.norms = nn.ModuleList(kind(config.step_dim) for _ in range(config.steps + 1))

    def forward(self, steps: list[torch.Tensor]) -> torch.Tensor:
        """K + 1 times `(n, d)` to `(n, (K + 1) d)`."""
        rows = [F.normalize(norm(step), dim=1) for norm, step in zip(self.norms, steps, strict=True)]
        return torch.cat(rows, dim=1) / len(rows) ** 0.5


def bidirectional_ranking_loss(
    similarity: torch.Tensor, margin: float, matching: torch.Tensor | None = None, hardest: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Max-margin ranking of a batch of pairs in both directions.

    Of pair i as a query, every answer j that does not match it costs max(0, margin - s_ii + s_ij).

    Args:
        similarity: `(n, n)`, image i to text j.
        margin: by how much a pair's own similarity shall exceed that to others.
        matching: `(n, n)` booleans: which text describes which image, and so is no wrong answer; by default its own.
        hardest: only so many largest costs of each query count; by default all. One is the hardest negative of
            VSE++ (Faghri et al., BMVC 2018).

    Returns:
        The mean over images as queries of their costs' sum, and the mean over texts.
    """
    if matching is None:
        matching = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    own = similarity.diagonal()[:, None]
    costs = [
        (margin - own + others).clamp(min=0).masked_fill(right, 0)
        for others, right in ((similarity, matching), (similarity.T, matching.T))
    ]
    if hardest is not None:
        costs = [cost.topk(min(hardest, len(cost)), dim=1).values for cost in costs]
    to_text, to_image = (cost.sum(dim=1).mean() for cost in costs)
    return to_text, to_image


def random_regions(regions: torch.Tensor, sample: int) -> torch.Tensor:
    """So many regions of each image, drawn without replacement: `(n, regions, d)` to `(n, sample, d)`."""
    chosen = torch.rand(regions.shape[:2], device=regions.device).topk(sample).indices
    return regions.gather(1, chosen[..., None].expand(-1, -1, regions.shape[2]))


class Attention(nn.Module):
    """One step's soft attention over regions or words, led by a memory; no biases, as in the paper.

    Args:
        state_dim: width of a region's or word's vector.
        hidden_dim: width of the memory and of the hidden layer.
    """

    def __init__(self, state_dim: int, hidden_dim: int):
        super().__init__()
        self.state = nn.Linear(state_dim, hidden_dim, bias=False)
        self.memory = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, 1, bias=False)

    def forward(
        self, states: torch.Tensor, memory: torch.Tensor, valid: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """h_n = tanh(W v_n) * tanh(W_m m); alpha = softmax(w_h h_n); and the sum over n of alpha_n v_n.

        Args:
            states: `(b, n, state_dim)`.
            memory: `(b, hidden_dim)`.
            valid: `(b, n)` booleans; the others get no weight.

        Returns:
            The weights `(b, n)` and the weighted sum `(b, state_dim)`.
        """
        hidden = torch.tanh(self.state(states)) * torch.tanh(self.memory(memory))[:, None]
        scores = self.score(hidden).squeeze(-1)
        if valid is not None:
            scores = scores.masked_fill(~valid, -torch.inf)
        weights = scores.softmax(dim=-1)
        return weights, torch.einsum("bn,bnd->bd", weights, states)


class WordStates(nn.Module):
    """u_t: a bidirectional LSTM's states at each word, forward and backward added, and the word's vector projected.

    A word's vector is that of its number, or where words come as features, these projected.
    """

    def __init__(self, config: DANConfig):
        super().__init__()
        self.vectors: nn.Embedding | nn.Linear
        if config.text_input == "word_features":
            self.vectors = nn.Linear(config.text_dim, config.word_dim)
        else:
            self.vectors = nn.Embedding(config.text_dim, config.word_dim, padding_idx=0)
        self.lstm = nn.LSTM(config.word_dim, config.step_dim, batch_first=True, bidirectional=True)
        self.shortcut = nn.Linear(config.word_dim, config.step_dim, bias=False) if config.word_shortcut else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Words and which of them are no padding, `(b, T)`, to `(b, T, step_dim)`.

        Args:
            words: their numbers, `(b, T)`, or features, `(b, T, text_dim)`.
            valid: booleans.
        """
        words = self.dropout(self.vectors(words))
        packed = pack_padded_sequence(words, valid.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.shape[1])
        forward, backward = states.chunk(2, dim=-1)
        states = forward + backward
        return self.dropout(states if self.shortcut is None else states + self.shortcut(words))


@register_method("dan", display_order=60)
class DANModel(CMRModel):
    """K steps of attention over the regions of an image and the words of a text."""

    title = "DAN"
    paper = "Nam et al., Dual Attention Networks for Multimodal Reasoning and Matching, CVPR 2017"
    supervision = "unsupervised"
    representation = "real-valued"
    image_input = "region_features"
    text_input = "input_ids"
    text_inputs = ("word_features",)
    has_attention = True
    config_class = DANConfig
    config: DANConfig

    def __init__(self, config: DANConfig):
        super().__init__(config)
        dim = config.step_dim
        self.regions = Standardizer(config.image_dim)
        self.words = WordStates(config)
        self.dropout = nn.Dropout(config.dropout)
        self.image_projections = nn.ModuleList(
            nn.Linear(config.image_dim, dim, bias=False) for _ in range(config.steps + 1)
        )
        self.image_attentions = nn.ModuleList(Attention(config.image_dim, dim) for _ in range(config.steps))
        self.text_attentions = nn.ModuleList(Attention(dim, dim) for _ in range(config.steps))
        if config.variant == "r-dan":
            self.answers = nn.Linear(dim, config.num_labels)
        else:
            self.join_image, self.join_text = Joined(config), Joined(config)
        self.post_init()

    @property
    def answers_questions(self) -> bool:
        return self.config.variant == "r-dan"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(
            module, nn.Embedding
        ):  # torch's own have twice the deviation of GloVe's, which they stand beside
            nn.init.normal_(module.weight, std=WORD_DEVIATION)
            nn.init.zeros_(module.weight[module.padding_idx])

    def get_image_features(self, region_features: torch.Tensor) -> torch.Tensor:
        """Embed images alone: `(n, regions, image_dim)` float features to `(n, embed_dim)` rows of unit length.

        Raises:
            InputError: the variant answers questions and embeds no side alone, or features of another shape.
        """
        self._check_matches()
        return self.join_image(self._look(region_features)[0])

    def get_text_features(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        word_features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embed texts alone: numbers or features of words, as `text_input` says, to `(n, embed_dim)` unit rows.

        Args:
            input_ids: `(n, words)` int64 numbers of words, padded behind with 0.
            attention_mask: `(n, words)`, 1 for words, 0 for padding; by default all that is not 0 is a word.
            word_features: `(n, words, text_dim)` float features of words, padded behind with 0.

        Raises:
            InputError: the variant answers questions and embeds no side alone, a text has no word, or words come as
                what the model does not take.
        """
        self._check_matches()
        return self.join_text(self._read(input_ids, attention_mask, word_features)[0])

    def embed(
        self,
        region_features: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        word_features: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> CMROutput:
        """Embed whichever modalities are given; r-DAN answers the texts as questions about the images.

        Args:
            region_features: `(n, regions, image_dim)` float tensor.
            input_ids: `(n, words)` int64 tensor; row i is a text of image i.
            attention_mask: as for [`get_text_features`].
            word_features: likewise, in place of `input_ids`.
            output_attentions: also give where each step looked.

        Raises:
            InputError: r-DAN is given one modality alone, or an input has another shape.
        """
        has_texts = input_ids is not None or word_features is not None
        if self.answers_questions and region_features is not None and has_texts:
            words, valid = self._words(input_ids, attention_mask, word_features)
            return self._answer(region_features, words, valid, output_attentions)
        self._check_matches()
        output = CMROutput()
        if region_features is not None:
            steps, weights = self._look(region_features)
            output.image_embeds = self.join_image(steps)
            if output_attentions:
                output.image_attentions = weights
        if has_texts:
            steps, weights = self._read(input_ids, attention_mask, word_features)
            output.text_embeds = self.join_text(steps)
            if output_attentions:
                output.text_attentions = weights
        return output

    def compute_loss(
        self, output: CMROutput, labels: torch.Tensor | None = None, matching: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The ranking loss of m-DAN, or the cross-entropy of r-DAN's answers.

        Args:
            output: of a batch of pairs.
            labels: of r-DAN the right answers, `(n, num_labels)` multi-hot; m-DAN uses none.
            matching: `(n, n)` booleans, which text describes which image; by default each its own alone.
        """
        if self.answers_questions:
            if labels is None or output.pair_logits is None:
                return {}
            return {"answer": F.cross_entropy(output.pair_logits, class_shares(labels))}
        image, text = output.embeds
        similarity = image @ text.T
        to_text, to_image = bidirectional_ranking_loss(
            similarity, self.config.margin, matching, self.config.hardest_negatives
        )
        return {"image_to_text": to_text, "text_to_image": to_image}

    def start_from(self, processor: CMRProcessor) -> None:
        """Begin with the word vectors that the tokeniser names, where it names any, in the first places of each word.

        What they leave, the last places and the words that have no such vector, begins at random.

        Raises:
            InputError: they are wider than `word_dim`.
        """
        encoder = processor.text_encoder
        vectors = encoder.initial_vectors() if isinstance(encoder, TokensEncoder) else None
        if vectors is None:
            return
        width = vectors.shape[1]
        if width > self.config.word_dim:
            raise InputError(
                f"The tokeniser's word vectors are {width} wide and word_dim is {self.config.word_dim}: set word_dim "
                f"to {width} or more, or let words be learned from nothing (vectors: null)."
            )
        known = torch.from_numpy(vectors.any(axis=1))
        with torch.no_grad():
            self.words.vectors.weight[known, :width] = torch.from_numpy(vectors)[known]

    def training_callbacks(self) -> list[TrainerCallback]:
        return [FitRegions()]

    def _look(self, region_features: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """v^(0) … v^(K), `(n, step_dim)` each, and the attention `(n, K, regions)`, by the image's own memory."""
        regions = self._regions(region_features)
        steps = [self._seen(0, regions.mean(dim=1))]
        memory, all_weights = steps[0], []
        for k, attention in enumerate(self.image_attentions, start=1):
            weights, attended = attention(regions, memory)
            steps.append(self._seen(k, attended))
            memory = memory + steps[-1]
            all_weights.append(weights)
        return steps, _stacked(all_weights, regions)

    def _read(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        word_features: torch.Tensor | None,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """u^(0) … u^(K), `(n, step_dim)` each, and the attention `(n, K, words)`, by the text's own memory."""
        words, valid = self._words(input_ids, attention_mask, word_features)
        steps = [_mean_of_valid(words, valid)]
        memory, all_weights = steps[0], []
        for attention in self.text_attentions:
            weights, attended = attention(words, memory, valid)
            steps.append(attended)
            memory = memory + attended
            all_weights.append(weights)
        return steps, _stacked(all_weights, words)

    def _answer(
        self,
        region_features: torch.Tensor,
        words: torch.Tensor,
        valid: torch.Tensor,
        output_attentions: bool,
    ) -> CMROutput:
        """Both sides attend by one memory m^(k) = m^(k-1) + v^(k) * u^(k), which the classifier reads at the end."""
        regions = self._regions(region_features)
        memory = self._seen(0, regions.mean(dim=1)) * _mean_of_valid(words, valid)
        image_weights, text_weights = [], []
        for k, (look, read) in enumerate(zip(self.image_attentions, self.text_attentions, strict=True), start=1):
            weights, attended = look(regions, memory)
            image_weights.append(weights)
            weights, text = read(words, memory, valid)
            text_weights.append(weights)
            memory = memory + self._seen(k, attended) * text
        output = CMROutput(pair_logits=self.answers(self.dropout(memory)))
        if output_attentions:
            output.image_attentions = _stacked(image_weights, regions)
            output.text_attentions = _stacked(text_weights, words)
        return output

    def _regions(self, region_features: torch.Tensor) -> torch.Tensor:
        if region_features.ndim != 3 or region_features.shape[2] != self.config.image_dim:
            raise InputError(
                f"DAN takes region features of the shape (n, regions, {self.config.image_dim}), not "
                f"{tuple(region_features.shape)}."
            )
        sample = self.config.training_regions
        if self.training and sample is not None and sample < region_features.shape[1]:
            region_features = random_regions(region_features, sample)
        return self.regions(region_features)

    def _words(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        word_features: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of the words, `(n, T, step_dim)`, and which are words, `(n, T)`, cut to the longest text's T."""
        given = {"input_ids": input_ids, "word_features": word_features}
        words = given.pop(self.config.text_input)
        if words is None or any(other is not None for other in given.values()):
            raise InputError(f"This DAN takes a text's words as {self.config.text_input} alone.")
        if word_features is not None and (word_features.ndim != 3 or word_features.shape[2] != self.config.text_dim):
            raise InputError(
                f"DAN takes word features of the shape (n, words, {self.config.text_dim}), not "
                f"{tuple(word_features.shape)}."
            )
        if attention_mask is None:
            attention_mask = words if word_features is None else _words_and_first(word_features)
        valid = attention_mask != 0
        lengths = valid.sum(dim=1)
        wordless = (lengths == 0).nonzero().flatten()
        if len(wordless):
            raise InputError(f"Text {wordless[0].item()} has no word at all; an unknown one is the number 1.")
        longest = int(lengths.max())
        if not valid[:, :longest].sum(dim=1).equal(lengths):
            raise InputError("Padding stands behind a text's words, never before or between them.")
        valid = valid[:, :longest]
        return self.words(words[:, :longest], valid), valid

    def _seen(self, step: int, attended: torch.Tensor) -> torch.Tensor:
        """v^(k) = tanh(P^(k) v), `(n, image_dim)` to `(n, step_dim)`."""
        return torch.tanh(self.image_projections[step](self.dropout(attended)))

    def _check_matches(self) -> None:
        if self.answers_questions:
            raise InputError(
                "r-DAN looks at an image with a question in mind and embeds neither alone: it answers "
                "(Retriever.answer). To search, train the variant m-dan."
            )


def _words_and_first(word_features: torch.Tensor) -> torch.Tensor:
    """Which features `(n, words, dim)` are not zero, and the first, which a text without words has: `(n, words)`."""
    valid = word_features.any(dim=2)
    valid[:, :1] = True
    return valid


def _mean_of_valid(words: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return (words * valid[..., None]).sum(dim=1) / valid.sum(dim=1, keepdim=True)


def _stacked(weights: list[torch.Tensor], states: torch.Tensor) -> torch.Tensor:
    """The weights of K steps as `(n, K, positions)`; of no step at all an empty such tensor."""
    return torch.stack(weights, dim=1) if weights else states.new_empty(len(states), 0, states.shape[1])


class FitRegions(FitToFeatures):
    """Learns mean and deviation of region features before the first step, from so many training pairs."""

    pairs = 512

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        dataset = kwargs["train_dataloader"].dataset
        kwargs["model"].regions.fit(dataset[: self.pairs]["region_features"].flatten(0, 1))
