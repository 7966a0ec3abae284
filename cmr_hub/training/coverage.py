"""Whether a text encoder knows the words of the texts that a method is to be trained on."""

from __future__ import annotations

import logging
from collections import Counter

from datasets import Dataset

from cmr_hub.data.columns import column_of
from cmr_hub.encoders.base import Encoder, TextEncoder
from cmr_hub.processing.processing_cmr import flattened
from cmr_hub.utils.messages import name_some

logger = logging.getLogger(__name__)

# English captions and articles have 0.984 to 1.000 of their words in GloVe's and MiniLM's vocabularies; captions in
# French, Spanish and German have 0.91, 0.84 and 0.75 in GloVe's, in other scripts 0.00 to 0.15, and 0.07 to 0.71 in
# MiniLM's.
MIN_SHARE = 0.95
MAX_TEXTS = 5000  # a sample, so that it takes a second at most
SHOWN = 5  # unknown words that are named
ADVICE = (
    "Training goes by the others alone. An encoder that learns its words from your texts is --text-encoder tfidf, bow "
    "or word2vec; one for many languages, from the Hub, is --text-encoder "
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2."
)


def report_coverage(encoder: Encoder, train: Dataset) -> float:
    """Log which share of the words of training texts has a meaning to a text encoder, and warn of a small one.

    Encoders that learn their words from these texts know as many as their settings say, which is no warning.

    Args:
        encoder: of texts; one of released features has no words.
        train: the training split.

    Returns:
        The share, each occurrence of a word counted.
    """
    if not isinstance(encoder, TextEncoder):
        return 1.0
    texts = flattened(train[column_of(train, "text", accepts_raw_input=True)][:])[0]
    texts = texts[:: -(-len(texts) // MAX_TEXTS)] if texts else []
    share = encoder.known_share(texts)
    logger.info("%s knows %.1f %% of the words of the training texts.", encoder.name, 100 * share)
    if share < MIN_SHARE and not encoder.learns_words:
        unknown = Counter(word for text in texts for word in encoder.unknown_words(text))
        logger.warning(
            "The text encoder %r has no vector for %.1f %% of the words of the training texts (%s). %s",
            encoder.name,
            100 - 100 * share,
            name_some([word for word, _ in unknown.most_common()], SHOWN),
            ADVICE,
        )
    return share
