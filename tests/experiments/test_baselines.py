import numpy as np
import pytest
import torch

from cmr_hub.experiments.baselines import blinded, majority_answers, regression_answers
from cmr_hub.training.datasets import Pairs


def one_hot(answers):
    return torch.nn.functional.one_hot(torch.as_tensor(answers), 2).float()


def pairs_of(regions, answers):
    ids = torch.ones(len(answers), 3, dtype=torch.int64)
    return Pairs(torch.arange(len(answers)), region_features=regions, input_ids=ids, labels=one_hot(answers))


def test_the_majority_is_a_question_s_own():
    train = ["a?"] * 3 + ["b?"] * 3 + ["c?"] * 2
    answers = np.array([1, 1, 0, 0, 0, 1, 1, 0])
    assert majority_answers(train, answers, ["c?", "b?", "a?", "a?"]).tolist() == [0, 0, 1, 1]


def test_the_blind_see_the_mean_of_the_training_images(monkeypatch):
    monkeypatch.setattr("cmr_hub.experiments.baselines.ROWS_AT_ONCE", 3)
    train, test = torch.randn(8, 4, 5), torch.randn(6, 4, 5)
    blind = blinded(pairs_of(test, [0, 1] * 3), pairs_of(train, [0, 1] * 4))
    assert len(blind) == 6
    batch = blind[torch.tensor([5, 0])]
    torch.testing.assert_close(batch["region_features"], train.mean(dim=0).expand(2, 4, 5))
    assert batch["labels"].tolist() == [[0, 1], [1, 0]]
    assert batch["input_ids"].shape == (2, 3)


@pytest.fixture
def halves():
    """Two questions about 6-d regions: "a?" asks for the sign of the first component, "b?" for that of the second."""
    questions, pairs = {}, {}
    for seed, (split, n) in enumerate({"train": 120, "validation": 40, "test": 60}.items()):
        rng = np.random.default_rng(seed)
        signs, noise = rng.choice([-1.0, 1.0], size=(n, 2)), rng.normal(size=(n, 4, 6)) * 0.5
        noise[:, :, :2] += signs[:, None]
        questions[split] = ["a?" if row % 2 else "b?" for row in range(n)]
        answers = [int(signs[row, 0 if row % 2 else 1] > 0) for row in range(n)]
        pairs[split] = pairs_of(torch.from_numpy(noise).float(), answers)
    return questions, pairs


def test_a_regression_a_question_learns_each(halves):
    questions, pairs = halves
    answers = regression_answers(questions, pairs)
    assert (answers == pairs["test"].labels.argmax(dim=1).numpy()).mean() > 0.95


def test_a_question_that_is_not_asked_in_validation_is_answered_in_the_test(halves):
    questions, pairs = halves
    rows = torch.tensor([row for row, question in enumerate(questions["validation"]) if question == "a?"])
    batch = pairs["validation"][rows]
    pairs["validation"] = pairs_of(batch["region_features"], batch["labels"].argmax(dim=1))
    questions["validation"] = ["a?"] * len(rows)
    answers = regression_answers(questions, pairs)
    assert (answers == pairs["test"].labels.argmax(dim=1).numpy()).mean() > 0.95
