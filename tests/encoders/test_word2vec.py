"""Word vectors learned from the training texts."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from closeness import assert_alike, assert_trained_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.word2vec import Word2VecEncoder
from cmr_hub.errors import CheckpointError, InputError, NotFittedError, UnknownNameError

ANIMALS, VEHICLES = ("dog", "cat", "horse"), ("car", "bus", "truck")
TEXTS = [
    f"the {adjective} {word} {verb}"
    for words, adjectives, verbs in (
        (ANIMALS, ("furry", "hungry", "wild"), ("eats", "sleeps", "breathes")),
        (VEHICLES, ("rusty", "electric", "parked"), ("drives", "brakes", "honks")),
    )
    for word in words
    for adjective in adjectives
    for verb in verbs
]


@pytest.fixture(scope="module", params=["cbow", "skip-gram"])
def fitted(request):
    return create_encoder("text", "word2vec", algorithm=request.param, dim=12).fit(TEXTS)


def test_words_of_one_topic_lie_together(fitted):
    vectors = fitted.encode([*ANIMALS, *VEHICLES])
    centred = torch.nn.functional.normalize(vectors - vectors.mean(dim=0))
    cosines = centred @ centred.T
    assert min(cosines[:3, :3].min(), cosines[3:, 3:].min()) > 0 > cosines[:3, 3:].max()


def test_a_text_is_the_mean_of_its_known_words(fitted):
    dog, bus, both, empty = fitted.encode(["dog", "bus", "Dog, dog: qqzzxx bus!", "😀"])
    torch.testing.assert_close(both, (2 * dog + bus) / 3)
    assert not empty.any()
    assert fitted.has_known_tokens(["a dog", "qqzzxx", ""]) == [True, False, False]
    assert fitted.encode([]).shape == (0, 12)


def test_the_algorithms_differ():
    cbow, skip_gram = (Word2VecEncoder(algorithm, dim=12).fit(TEXTS) for algorithm in ("cbow", "skip-gram"))
    assert not torch.allclose(cbow.encode(["dog"]), skip_gram.encode(["dog"]), atol=1e-2)
    assert cbow.fingerprint != skip_gram.fingerprint


def test_a_seed_gives_the_same_vectors_in_every_process():
    """The order of a set of words, for one, is another in each process."""
    code = (
        "import json, sys; from cmr_hub.encoders.word2vec import Word2VecEncoder as W;"
        "texts = json.load(sys.stdin); print(json.dumps(W(dim=12, seed=3).fit(texts).encode(texts).tolist()))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(TEXTS),
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here, other = (Word2VecEncoder(dim=12, seed=seed).fit(TEXTS) for seed in (3, 4))
    assert_trained_alike(np.array(json.loads(elsewhere.stdout)), here.encode(TEXTS))
    assert not torch.allclose(here.encode(TEXTS), other.encode(TEXTS), atol=1e-2)
    assert here.fingerprint != other.fingerprint


def test_it_is_saved_with_the_checkpoint_bit_for_bit(fitted, tmp_path):
    fitted.save_files(tmp_path)
    again = load_encoder(json.loads(json.dumps(fitted.to_dict())), tmp_path)
    assert_alike(again.encode(TEXTS), fitted.encode(TEXTS))
    assert again.to_dict() == fitted.to_dict()
    assert again.fingerprint == fitted.fingerprint
    (tmp_path / "text_vocabulary.json").write_text('["dog"]')
    with pytest.raises(CheckpointError, match="1 words of width 12"):
        load_encoder(fitted.to_dict(), tmp_path)


def test_fitting_again_forgets_the_first_words():
    encoder = Word2VecEncoder(dim=4, epochs=1).fit(["a dog"])
    assert encoder.has_known_tokens(["dog"]) == [True]
    assert encoder.fit(["a bus"]).has_known_tokens(["dog", "bus"]) == [False, True]


def test_only_words_that_are_frequent_enough():
    encoder = Word2VecEncoder(dim=4, min_count=2).fit(["red bird", "red car"])
    assert encoder.has_known_tokens(["red", "bird"]) == [True, False]
    assert torch.isfinite(encoder.encode(["red"])).all()


@pytest.mark.parametrize("texts", [["a dog", "the bus"], ["", "😀"], []])
def test_texts_without_a_frequent_word_are_refused(texts):
    with pytest.raises(InputError, match="no word that occurs 2 times"):
        Word2VecEncoder(min_count=2).fit(texts)


def test_an_unfitted_encoder_says_so(tmp_path):
    for use in (lambda e: e.encode(["dog"]), lambda e: e.has_known_tokens(["dog"]), lambda e: e.save_files(tmp_path)):
        with pytest.raises(NotFittedError, match=r"'word2vec' has no word vectors yet. Call fit"):
            use(Word2VecEncoder())


@pytest.mark.parametrize("option", ["dim", "window", "epochs", "min_count"])
def test_numbers_that_are_too_small(option):
    with pytest.raises(InputError, match=f"{option} of word2vec must be 1 or more, and is 0"):
        Word2VecEncoder(**{option: 0})


def test_an_unknown_algorithm():
    with pytest.raises(UnknownNameError, match=r"'skipgram'\. Did you mean 'skip-gram'"):
        Word2VecEncoder("skipgram")
