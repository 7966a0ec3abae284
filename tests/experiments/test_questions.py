from collections import Counter

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value

from cmr_hub.data import list_datasets, load_dataset
from cmr_hub.errors import InputError
from cmr_hub.experiments.questions import default_questions, make_questions, read_questions
from toys import image_files

RED = "is there a red square in the image?"
CHURCH = "is there a church in the image?"
CAPTIONS = {
    "church": ["Two churches stand beside a parking lot.", "a red roof"],
    "square": ["A red square", "paint"],
    "park": ["many cars park here", "square shapes on red"],
    "none": ["a meadow", "grass"],
}


def asked(words, captions=CAPTIONS, classes=None, share=1.0):
    """Image -> answer, of one question about one image a list of captions."""
    columns = {"id": list(captions), "image": [None] * len(captions), "texts": list(captions.values())}
    features = {"id": Value("string"), "image": Image(), "texts": List(Value("string"))}
    if classes is not None:
        columns["label"], features["label"] = classes, ClassLabel(names=["meadow", "storage tanks"])
    train = Dataset.from_dict(columns, features=Features(features))
    questions = make_questions(DatasetDict(train=train), {"?": words}, share)["train"]
    ids = [name.removesuffix(": ?") for name in questions["id"]]
    return dict(zip(ids, questions["label"], strict=True))


def split(paths, prefix, n):
    """Every third image is red, of which captions speak; every second is of the class "church"."""
    features = Features(
        {
            "id": Value("string"),
            "image": Image(),
            "texts": List(Value("string")),
            "label": ClassLabel(names=["church", "desert"]),
        }
    )
    columns = {
        "id": [f"{prefix}-{row}" for row in range(n)],
        "image": [paths[row % 3] for row in range(n)],
        "texts": [["a Red square!", "paint"] if row % 3 == 0 else ["some paint"] for row in range(n)],
        "label": [row % 2 for row in range(n)],
    }
    return Dataset.from_dict(columns, features=features)


@pytest.fixture
def dataset(tmp_path):
    paths = image_files(tmp_path)
    return DatasetDict(
        train=split(paths, "train", 120), validation=split(paths, "val", 20), test=split(paths, "test", 31)
    )


WORDS = {RED: ["red square"], CHURCH: ["church"]}


def test_yes_is_what_a_caption_or_the_class_names(dataset):
    questions = make_questions(dataset, WORDS, share=1.0)
    for name, part in questions.items():
        assert part.column_names == ["id", "image", "texts", "label"]
        assert part.features["label"].names == ["no", "yes"]
        about = dict(zip(dataset[name]["id"], range(len(dataset[name])), strict=True))
        for item, (question,), answer in zip(part["id"], part["texts"], part["label"], strict=True):
            row = about[item.removesuffix(f": {question}")]
            assert answer == (row % 3 == 0 if question == RED else row % 2 == 0)


def test_a_question_comes_with_its_image(dataset):
    row = make_questions(dataset, WORDS, share=1.0)["train"].filter(
        lambda row: row["texts"] == [RED] and row["label"] == 1
    )[0]
    assert row["image"].getpixel((0, 0)) == (220, 30, 30)


def test_the_question_alone_tells_nothing(dataset):
    for name, part in make_questions(dataset, WORDS, share=0.25).items():
        counts = Counter(zip((texts[0] for texts in part["texts"]), part["label"], strict=True))
        for question in (RED, CHURCH):
            assert counts[question, 0] == counts[question, 1] > 0
            assert counts[question, 0] <= 0.25 * len(dataset[name])


def test_questions_depend_on_ids_alone(dataset):
    backwards = DatasetDict({name: part.select(range(len(part) - 1, -1, -1)) for name, part in dataset.items()})
    first, second = (make_questions(some, WORDS, share=0.1) for some in (dataset, backwards))
    for name in dataset:
        assert first[name]["id"][:] == second[name]["id"][:]


def test_words_are_whole_words_and_their_plurals():
    assert asked(["church"])["church"] == 1
    assert asked(["parking lot"])["church"] == 1
    assert asked(["park"])["park"] == 1
    assert sum(asked(["park"]).values()) == 1  # not of "parking"
    assert sum(asked(["red square"]).values()) == 1  # not of "square shapes on red"
    assert sum(asked(["Shape", "GRASS"]).values()) == 2


def test_a_class_counts_like_a_caption():
    assert asked(["storage tank"], classes=[0, 1, 0, 0])["square"] == 1
    assert asked(["meadow"], classes=[0, 1, 1, 1])["church"] == 1


def test_what_training_does_not_ask_no_other_split_asks(dataset):
    never = DatasetDict(train=dataset["train"].filter(lambda row: row["label"] == 1), test=dataset["test"])
    questions = make_questions(never, WORDS, share=1.0)
    assert {texts[0] for texts in questions["test"]["texts"]} == {RED}


def test_data_that_allow_no_questions(dataset):
    with pytest.raises(InputError, match="No question has both answers in the train split"):
        make_questions(dataset, {"is there a cat?": ["cat"]}, share=1.0)
    with pytest.raises(InputError, match=r"in the validation split: .* than 0\.04"):
        make_questions(dataset, WORDS, share=0.04)
    with pytest.raises(InputError, match="no column 'texts', only id, image, label"):
        make_questions(dataset.remove_columns("texts"), WORDS, share=1.0)


def test_questions_from_a_file(tmp_path):
    path = tmp_path / "questions.yaml"
    path.write_text("is there a cat in the image?: [cat, kitten]\n")
    assert read_questions(path) == {"is there a cat in the image?": ["cat", "kitten"]}
    for content in ("- cat", "is there a cat?: cat", "is there a cat?: []", "{"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"questions\.yaml"):
            read_questions(path)
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_questions(tmp_path / "none.yaml")


def test_questions_kept_for_a_data_set():
    assert "rsicd" in list_datasets()
    assert len(default_questions("rsicd")) >= 20
    with pytest.raises(InputError, match=r"No questions are kept for 'folder'.*--questions"):
        default_questions("folder")


@pytest.mark.slow
def test_questions_about_real_images(real_data):
    words = default_questions("rsicd")
    questions = make_questions(load_dataset("rsicd", real_data / "rsicd"), words, share=0.03)
    assert {name: part.num_rows for name, part in questions.items()} == {
        "train": 19032,
        "validation": 2332,
        "test": 2352,
    }
    assert {texts[0] for texts in questions["test"]["texts"]} == set(words)
