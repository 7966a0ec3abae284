"""A sentence CNN (Kim 2014) that is trained on classes."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from closeness import assert_alike, assert_trained_alike
from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.encoders.glove import GloveEncoder
from cmr_hub.encoders.sentence_cnn import CNNSettings, SentenceCNN, SentenceCNNEncoder, _Classifier, _padded, _train
from cmr_hub.errors import CheckpointError, InputError, NotFittedError, UnknownNameError

ANIMALS, VEHICLES = ("dog", "cat", "horse"), ("car", "bus", "truck")
TEXTS = [
    f"the {adjective} {word} {verb}"
    for words, adjectives, verbs in (
        (ANIMALS, ("old", "small", "dirty"), ("moves", "stops", "waits")),
        (VEHICLES, ("old", "small", "dirty"), ("moves", "stops", "waits")),
    )
    for word in words
    for adjective in adjectives
    for verb in verbs
]
LABELS = np.repeat(np.eye(2), 27, axis=0)
SMALL = {"windows": [2, 3], "maps": 5, "epochs": 20, "batch_size": 8}
VARIANTS = ["rand", "static", "non-static", "multichannel"]


def toy_vectors(width=8):
    """Vectors of all words but "old", and of "lorry", which no training text has."""
    words = [*sorted({word for text in TEXTS for word in text.split()} - {"old"}), "lorry"]
    vectors = np.random.default_rng(0).normal(size=(len(words), width))
    vectors[-1] = vectors[words.index("truck")]
    return GloveEncoder(words, vectors)


@pytest.fixture(scope="module", params=VARIANTS)
def fitted(request):
    return SentenceCNNEncoder(request.param, toy_vectors(), **SMALL).fit(TEXTS, LABELS)


def slow_features(network, words):
    """Each window's answer by loops: every place where it touches the text, and one beyond it; then ReLU, then max."""
    features = []
    for convolve in network.filters:
        weight, bias = convolve.weight.double().numpy(), convolve.bias.double().numpy()
        window = weight.shape[2]
        zeros = np.zeros((window, weight.shape[1]))
        around = np.concatenate([zeros[1:], words, zeros])
        for row, constant in zip(weight, bias, strict=True):
            answers = []
            for start in range(len(around) - window + 1):
                answer = constant
                for offset in range(window):
                    for channel in range(weight.shape[1]):
                        answer += row[channel, offset] * around[start + offset, channel]
                answers.append(max(0.0, answer))
            features.append(max(answers))
    return features


@pytest.mark.parametrize("length", [1, 2, 4, 9])
def test_features_are_the_greatest_answers_of_the_filters(length):
    torch.manual_seed(0)
    network = SentenceCNN(3, (2, 3, 5), 4).requires_grad_(False)
    words = torch.randn(length, 3)
    padded = torch.cat([words, torch.zeros(4, 3)])
    expected = slow_features(network, words.double().numpy())
    assert any(expected)
    np.testing.assert_allclose(network(padded[None])[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(network(padded[None, : length + 1])[0], expected, rtol=1e-5, atol=1e-6)


def test_a_text_is_encoded_from_its_words_vectors(fitted):
    text = "The dirty lorry"
    trained = dict(zip(fitted._rows, fitted._vectors.double().numpy(), strict=True))
    unknown = np.zeros(fitted._word_dim)
    if fitted.source is not None:
        unknown = np.tile(fitted.source.vectors_of(["lorry"])[0], fitted._word_dim // 8).astype(float)
    words = np.stack([trained["the"], trained["dirty"], unknown])
    (features,) = fitted.encode([text])
    np.testing.assert_allclose(features, slow_features(fitted._network, words), rtol=1e-5, atol=1e-6)


def test_it_tells_the_classes_of_texts_that_it_was_not_trained_on(fitted):
    centres = torch.stack([fitted.encode(TEXTS[half]).mean(dim=0) for half in (slice(27), slice(27, 54))])
    asked = fitted.encode([f"the big {word} moves" for word in (*ANIMALS, *VEHICLES)])
    assert torch.cdist(asked, centres).argmin(dim=1).tolist() == [0, 0, 0, 1, 1, 1]


def test_words_of_the_vectors_count_though_no_training_text_has_them():
    encoder = SentenceCNNEncoder("static", toy_vectors(), **SMALL).fit(TEXTS, LABELS)
    truck, lorry, nothing = encoder.encode(["truck", "lorry", "spaceship"])
    assert_alike(truck, lorry)
    assert not nothing.any()
    assert encoder.has_known_tokens(["lorry", "the spaceship", "spaceship", ""]) == [True, True, False, False]
    chance = SentenceCNNEncoder("rand", **SMALL).fit(TEXTS, LABELS)
    assert chance.has_known_tokens(["lorry", "truck"]) == [False, True]
    assert chance.unknown_words("a lorry and a truck, a lorry") == ["a", "lorry", "and"]


def test_what_training_changes_of_the_word_vectors():
    source = toy_vectors()
    words = ["bus", "dog", "the"]
    given = torch.from_numpy(source.vectors_of(words))
    vectors = {}
    for variant in VARIANTS[1:]:
        encoder = SentenceCNNEncoder(variant, source, **SMALL).fit(TEXTS, LABELS)
        vectors[variant] = encoder._vectors[[encoder._rows[word] for word in words]]
    assert torch.equal(vectors["static"], given)
    assert not torch.isclose(vectors["non-static"], given).all(dim=1).any()
    assert torch.equal(vectors["multichannel"][:, :8], given)
    assert not torch.isclose(vectors["multichannel"][:, 8:], given).all(dim=1).any()


def test_words_without_a_vector_begin_with_the_variance_of_the_others():
    source = GloveEncoder(["known", "also"], np.array([[3.0, -3.0], [-3.0, 3.0]]))
    encoder = SentenceCNNEncoder("static", source)
    vectors = encoder._initial_vectors(["known", *(f"new{i}" for i in range(4000))])
    assert vectors[0].tolist() == [3, -3]
    assert vectors[1:].var().item() == pytest.approx(9, rel=0.03)
    assert vectors[1:].abs().max() <= 27**0.5


def test_the_width_is_that_of_dscmr_by_default():
    encoder = create_encoder("text", "sentence_cnn", epochs=1)
    assert (encoder.dim, encoder._word_dim, encoder.variant) == (300, 50, "non-static")
    features = encoder.fit(TEXTS, LABELS).encode(["a dog", "a bus on a road", ""])
    assert (features.shape, features.dtype) == ((3, 300), torch.float32)
    assert not features[2].any()
    assert encoder.encode([]).shape == (0, 300)


def test_a_text_is_encoded_alike_whatever_stands_beside_it(fitted):
    alone = torch.cat([fitted.encode([text]) for text in ("dog", "the old bus waits", "?")])
    together = fitted.encode(["dog", "the old bus waits", "?", " ".join(TEXTS)])
    torch.testing.assert_close(alone, together[:3])


def test_long_texts_are_cut():
    encoder = SentenceCNNEncoder("rand", max_length=3, **SMALL).fit(TEXTS, LABELS)
    assert_alike(encoder.encode(["the old dog waits"]), encoder.encode(["the old dog"]))
    assert encoder.has_known_tokens(["a b c dog"]) == [False]


def test_it_is_saved_with_the_checkpoint_bit_for_bit(fitted, tmp_path):
    fitted.save_files(tmp_path)
    config = json.loads(json.dumps(fitted.to_dict()))
    again = load_encoder(config, tmp_path)
    texts = [*TEXTS, "a red lorry", ""]
    assert_alike(again.encode(texts), fitted.encode(texts))
    assert again.to_dict() == fitted.to_dict()
    assert again.fingerprint == fitted.fingerprint


def test_packaged_vectors_are_not_copied_into_the_checkpoint(tmp_path):
    encoder = SentenceCNNEncoder(**SMALL).fit(TEXTS, LABELS)
    encoder.save_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "text_sentence_cnn.safetensors",
        "text_sentence_cnn_words.json",
    }
    again = load_encoder(encoder.to_dict(), tmp_path)
    assert_alike(again.encode(["a lorry"]), encoder.encode(["a lorry"]))


def test_vectors_of_a_text_file(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 1 0 0\ndog 0 1 0\nbus 0 0 1\n")
    encoder = SentenceCNNEncoder("static", path, **SMALL).fit(["the dog", "the bus"] * 5, np.tile(np.eye(2), (5, 1)))
    assert encoder._word_dim == 3
    encoder.save_files(tmp_path)
    path.unlink()
    again = load_encoder(encoder.to_dict(), tmp_path)
    assert_alike(again.encode(["dog"]), encoder.encode(["dog"]))


def test_a_seed_decides_everything():
    state = torch.get_rng_state()
    first, again, other = (
        SentenceCNNEncoder(vectors=toy_vectors(), seed=seed, **SMALL).fit(TEXTS, LABELS) for seed in (1, 1, 2)
    )
    assert_trained_alike(first.encode(TEXTS), again.encode(TEXTS))
    assert not torch.allclose(first.encode(TEXTS), other.encode(TEXTS), atol=1e-2)
    assert first.fingerprint != other.fingerprint
    assert torch.equal(torch.get_rng_state(), state)


def test_fitting_again_forgets_the_first_words():
    encoder = SentenceCNNEncoder("rand", **SMALL).fit(TEXTS, LABELS)
    encoder.fit(["red", "blue", "red", "blue"], np.tile(np.eye(2), (2, 1)))
    assert encoder.has_known_tokens(["dog", "red"]) == [False, True]


def test_several_classes_a_text():
    """Each class is told by a word of its own, in any company."""
    words = ("red", "round", "soft")
    kinds = [[bool(kind & 1 << bit) for bit in range(3)] for kind in range(8)]
    labels = np.array(kinds * 12, float)
    texts = ["thing " + " ".join(w for w, on in zip(words, row, strict=True) if on) for row in labels.astype(bool)]
    encoder = SentenceCNNEncoder("rand", **SMALL).fit(texts, labels)
    features = encoder.encode(["thing", *(f"thing {word}" for word in words)])
    assert torch.linalg.matrix_rank(features[1:] - features[0]) == 3


def test_the_epoch_kept_is_that_of_the_lowest_loss_held_out(monkeypatch):
    """Labels by chance: what is learned of them does not hold, so that the first epochs are the best."""
    torch.manual_seed(3)
    settings = CNNSettings(windows=(2,), maps=20, epochs=30, patience=4)
    numbers = [torch.randint(1, 40, (5,)) for _ in range(100)]
    labels = torch.eye(2)[torch.randint(0, 2, (100,))]
    classifier = _Classifier(torch.randn(40, 8), (True,), 2, settings)
    seen = []
    load = _Classifier.load_state_dict
    monkeypatch.setattr(_Classifier, "load_state_dict", lambda self, state: seen.append(state) or load(self, state))
    loss, epoch = _train(classifier, numbers, labels, settings)
    assert epoch < 26
    assert all(torch.equal(value, seen[0][name]) for name, value in classifier.state_dict().items())
    assert 0 < loss < 1


def test_the_classifiers_weights_stay_within_the_norm():
    torch.manual_seed(0)
    settings = CNNSettings(windows=(2,), maps=10, epochs=10, max_norm=0.1)
    classifier = _Classifier(torch.randn(6, 8), (False,), 2, settings)
    _train(
        classifier,
        [torch.tensor([1, 2])] * 20 + [torch.tensor([3, 4])] * 20,
        torch.eye(2).repeat_interleave(20, 0),
        settings,
    )
    norms = classifier.classify.weight.norm(dim=1)
    assert norms.max().item() == pytest.approx(0.1, rel=1e-4)


def test_padding():
    assert _padded([torch.tensor([3, 1]), torch.tensor([2])]).tolist() == [[3, 1, 0], [2, 0, 0]]


def test_an_encoder_that_is_not_trained_says_so(tmp_path):
    for use in (lambda e: e.encode(["dog"]), lambda e: e.has_known_tokens(["dog"]), lambda e: e.save_files(tmp_path)):
        with pytest.raises(NotFittedError, match="'sentence_cnn' is not trained yet"):
            use(SentenceCNNEncoder())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], None, "learns from classes"),
        (["a", "b"], np.eye(3), r"2 texts have labels of shape \(3, 3\)"),
        (["a", "b"], np.array([0, 1]), r"labels of shape \(2,\)"),
        (["a", "b"], np.full((2, 2), 0.5), "zeros and ones"),
        (["a", "?"], np.eye(2), "1 of the 2 texts have words"),
        ([], np.eye(0), "0 of the 0 texts have words"),
        (["a", None], np.eye(2), "text 2 of 2: .*NoneType"),
    ],
)
def test_what_cannot_be_learned_from(texts, labels, message):
    with pytest.raises(InputError, match=message):
        SentenceCNNEncoder("rand").fit(texts, labels)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("maps", 0),
        ("windows", [3, 0]),
        ("windows", []),
        ("epochs", 2.5),
        ("dropout", 1),
        ("max_norm", 0),
        ("patience", True),
    ],
)
def test_settings_out_of_range(option, value):
    with pytest.raises(InputError, match=option):
        SentenceCNNEncoder(**{option: value})


def test_unknown_names():
    with pytest.raises(UnknownNameError, match=r"'nonstatic'\. Did you mean 'non-static'"):
        SentenceCNNEncoder("nonstatic")
    with pytest.raises(UnknownNameError, match="'windws'"):
        SentenceCNNEncoder(windws=[3])
    with pytest.raises(InputError, match="no file of word vectors at glov"):
        SentenceCNNEncoder(vectors="glov")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path, state: path.unlink(), "needs its file text_sentence_cnn.safetensors"),
        (lambda path, state: path.write_bytes(b"{}"), "is not readable as safetensors"),
        (lambda path, state: save_file({**state, "more": torch.ones(1)}, path), "does not hold the network"),
        (lambda path, state: save_file({**state, "vectors": state["vectors"][1:]}, path), "13 words"),
        (lambda path, state: save_file({k: v for k, v in state.items() if k != "vectors"}, path), "vectors"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, change, message):
    encoder = SentenceCNNEncoder("rand", **SMALL).fit(TEXTS, LABELS)
    encoder.save_files(tmp_path)
    path = tmp_path / "text_sentence_cnn.safetensors"
    change(path, load_file(path))
    with pytest.raises(CheckpointError, match=message):
        load_encoder(encoder.to_dict(), tmp_path)
