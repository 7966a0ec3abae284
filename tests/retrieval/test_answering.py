import pytest
import torch

from cmr_hub import CMRProcessor, DANConfig, DANModel
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError
from cmr_hub.retrieval.answering import answer
from toys import image_files, raw_retriever

QUESTION = "is there a red square?"


@pytest.fixture(scope="module")
def processor():
    text = create_encoder("text", "tokens").fit([QUESTION])
    return CMRProcessor(create_encoder("image", "efficientnet-lite0", grid=2), text)


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    names = dict(enumerate(("no", "yes", "perhaps")))
    sizes = {"image_dim": processor.image_encoder.dim, "text_dim": processor.text_encoder.dim, "embed_dim": 48}
    return DANModel(DANConfig(variant="r-dan", id2label=names, **sizes)).eval()


def test_answers_come_with_their_probabilities(model, processor, tmp_path):
    image = image_files(tmp_path)[0]
    answers = answer(model, processor, image, QUESTION)
    inputs = processor([image, image], [QUESTION, "another one"])
    expected = model(**inputs).pair_logits[0].softmax(dim=0).tolist()
    assert {name: answers[name] for name in ("no", "yes", "perhaps")} == pytest.approx(
        dict(zip(("no", "yes", "perhaps"), expected, strict=True)), abs=1e-5
    )
    assert sum(answers.values()) == pytest.approx(1)
    assert list(answers.values()) == sorted(answers.values(), reverse=True)


def test_a_question_is_one_string(model, processor, tmp_path):
    with pytest.raises(InputError, match="One question is taken at a time, a string, not list"):
        answer(model, processor, image_files(tmp_path)[0], [QUESTION])


def test_an_image_that_cannot_be_used(model, processor, tmp_path):
    with pytest.raises(InputError, match="image 1 of 1"):
        answer(model, processor, tmp_path / "none.png", QUESTION)


def test_methods_that_match_do_not_answer():
    retriever = raw_retriever()
    with pytest.raises(InputError, match="This cca compares images and texts and answers no questions"):
        answer(retriever.model, retriever.processor, "none.png", QUESTION)
