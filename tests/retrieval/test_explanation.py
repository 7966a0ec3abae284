import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import cmr_hub
from attending import MeanColours, red_seeker, spotted
from cmr_hub.encoders.tokens import TokensEncoder
from cmr_hub.errors import InputError
from cmr_hub.retrieval.attention_images import drawable, heat_map, panel
from cmr_hub.retrieval.explanation import Explanation
from toys import feature_retriever


def explained(text="a red zebra", image=None, **options):
    return red_seeker(**options).explain(image or spotted(1, 3), text)


def made_up(words, steps=2, image=None):
    """An explanation with even weights."""
    regions = np.full((steps, 7, 7), 1 / 49, dtype=np.float32)
    weights = np.full((steps, len(words)), 1 / max(1, len(words)), dtype=np.float32)
    image = image or Image.new("RGB", (60, 40), "green")
    return Explanation(image, " ".join(words), words, [True] * len(words), regions, weights, 0.5)


def test_it_says_where_each_step_looks():
    explanation = explained()
    assert explanation.region_attention.shape == (2, 4, 4)
    assert explanation.region_attention.dtype == explanation.word_attention.dtype == np.float32
    assert np.unravel_index(explanation.region_attention[0].argmax(), (4, 4)) == (1, 3)
    np.testing.assert_allclose(explanation.region_attention[1], 1 / 16)
    np.testing.assert_allclose(explanation.region_attention.sum(axis=(1, 2)), 1, rtol=1e-6)


def test_it_says_how_each_step_weighs_the_words():
    explanation = explained("A red zebra!")
    assert explanation.words == ["a", "red", "zebra"]
    assert explanation.known == [True, True, False]
    assert explanation.word_attention.shape == (2, 3)
    np.testing.assert_allclose(explanation.word_attention.sum(axis=1), 1, rtol=1e-6)


def test_the_score_is_the_cosine_that_galleries_rank_by():
    retriever, dots = red_seeker(), spotted(0, 0)
    image, text = retriever.encode_images([dots]), retriever.encode_texts(["red and blue"])
    explanation = retriever.explain(dots, "red and blue")
    assert explanation.score == pytest.approx((image @ text.T).item(), abs=1e-6)
    assert 0.1 < explanation.score < 0.9
    assert explained(answers=True).score is None


def test_images_come_as_files_too(tmp_path):
    spotted(2, 1).save(tmp_path / "spot.png")
    explanation = explained(image=str(tmp_path / "spot.png"))
    assert explanation.image.tobytes() == spotted(2, 1).tobytes()
    assert np.unravel_index(explanation.region_attention[0].argmax(), (4, 4)) == (2, 1)


@pytest.mark.parametrize("variant", ["m-dan", "r-dan"])
def test_dan_explains_itself(variant):
    torch.manual_seed(0)
    text_encoder = TokensEncoder().fit(["a red square"])
    sizes = {"embed_dim": 16, "word_dim": 5, "steps": 3, "num_labels": 2}
    model = cmr_hub.DANModel(cmr_hub.DANConfig(image_dim=3, text_dim=text_encoder.dim, variant=variant, **sizes))
    retriever = cmr_hub.Retriever(model, cmr_hub.CMRProcessor(MeanColours(), text_encoder))
    explanation = retriever.explain(spotted(0, 0), "a red square, seen from above")
    assert explanation.region_attention.shape == (3, 4, 4)
    assert explanation.word_attention.shape == (3, 6)
    assert (explanation.score is None) == (variant == "r-dan")


def test_methods_without_attention_say_which_have_it():
    with pytest.raises(InputError, match=r"dscmr takes .* Methods that do: .*dan"):
        feature_retriever().explain(spotted(0, 0), "red")


def test_one_text_is_explained_at_a_time():
    with pytest.raises(InputError, match="not list"):
        explained(["a red square"])


def test_it_can_be_written_as_json():
    written = json.loads(json.dumps(explained().to_dict()))
    assert written["words"] == ["a", "red", "zebra"]
    assert np.shape(written["region_attention"]) == (2, 4, 4)


def test_a_heat_map_lies_over_the_whole_image():
    explanation = explained(image=spotted(1, 3, size=(160, 80)))
    assert explanation.overlay(0).size == (160, 80)
    red, _, blue = np.moveaxis(np.asarray(explanation.overlay(0)).astype(int), -1, 0)
    amber = red - blue
    row, column = np.unravel_index(amber.argmax(), amber.shape)
    assert (row // 20, column // 40) == (1, 3)
    assert amber[70, 10] < 0
    with pytest.raises(InputError, match="no step 2: the model took 2"):
        explanation.overlay(2)


def test_even_weights_look_even():
    grey = Image.new("RGB", (50, 30), (100, 100, 100))
    assert len(heat_map(grey, np.full((7, 7), 1 / 49)).getcolors()) == 1
    assert len(heat_map(grey, np.zeros((7, 7))).getcolors()) == 1


def test_a_panel_has_a_column_for_the_image_and_one_for_each_step():
    one, three = (made_up(["red"], steps).draw() for steps in (1, 3))
    assert three.mode == "RGB"
    assert three.width - one.width == 2 * (320 + 20)
    assert made_up(["red"]).draw(column=640).width == 2 * made_up(["red"]).draw().width
    assert made_up(["red"], steps=0).draw().height == one.height


def test_long_captions_wrap():
    short, long = (made_up(["meadow"] * n).draw() for n in (3, 30))
    assert long.width == short.width
    assert long.height > short.height + 4 * 20


def test_unknown_words_are_marked():
    explanation = explained()
    drawn = np.asarray(explanation.draw()).astype(int)
    unmarked = Explanation(**{**vars(explanation), "known": [True] * 3})
    assert np.abs(drawn - np.asarray(unmarked.draw())).max() > 50


@pytest.mark.parametrize(
    "words",
    [
        ["$x_1$", "$", r"$\frac{1", "snake_case", "^{"],
        ["صورة", "שלום", "飛行機", "😀", "👩‍👩‍👧", "e\u0301"],
        ["", "\x00", "\u202eabc", "two\nlines", "\ufeff", "\ud800"],
        ["W" * 5000, "W" * 39],
        [],
    ],
)
def test_any_word_can_be_drawn(words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made_up(words).draw().width == 2 * 20 + 3 * 320 + 2 * 20


def test_letters_that_turn_others_round_are_left_out():
    assert drawable("\u202eabc\u200b") == "abc"
    assert drawable("飛a") == "□a"
    assert drawable("x" * 100) == "x" * 40 + "…"


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
def test_images_of_any_shape_are_drawn(size):
    assert panel(made_up(["thin"], image=Image.new("RGB", size))).height < 700
