"""Semantic matching as a model; its solver has its own tests (tests/test_solvers.py)."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import SemanticMatchingConfig, SemanticMatchingModel
from cmr_hub.errors import NotFittedError


@pytest.fixture
def pairs():
    torch.manual_seed(0)
    classes = torch.arange(90) % 3
    centres = torch.randn(2, 3, 6)
    image = centres[0][classes] + 0.5 * torch.randn(90, 6)
    text = centres[1, :, :4][classes] + 0.5 * torch.randn(90, 4)
    return image, text, torch.eye(3)[classes]


def fitted(pairs, **settings):
    return SemanticMatchingModel(SemanticMatchingConfig(image_dim=6, text_dim=4, num_labels=3, **settings)).fit(*pairs)


def test_embeddings_are_posteriors_that_name_the_class(pairs):
    image, text, labels = pairs
    model = fitted(pairs)
    for posteriors in (model.get_image_features(image), model.get_text_features(text)):
        torch.testing.assert_close(posteriors.sum(dim=1), torch.ones(90))
        assert (posteriors.argmax(dim=1) == labels.argmax(dim=1)).float().mean() > 0.8


def test_centring_takes_off_the_mean_of_the_training_items(pairs):
    image, text, _ = pairs
    plain, centred = fitted(pairs), fitted(pairs, center=True)
    expected = plain.get_image_features(image) - plain.get_image_features(image).mean(dim=0)
    torch.testing.assert_close(centred.get_image_features(image), expected)
    assert centred.get_text_features(text).mean(dim=0).abs().max() < 1e-6


def test_the_common_space_is_that_of_the_classes():
    assert SemanticMatchingConfig(num_labels=7).embed_dim == 7
    with pytest.raises(StrictDataclassError, match="embed_dim cannot be 5"):
        SemanticMatchingConfig(num_labels=7, embed_dim=5)


def test_regularization_is_needed():
    with pytest.raises(StrictDataclassError, match="regularization must be above 0"):
        SemanticMatchingConfig(regularization=0.0)


def test_unfitted_is_refused():
    with pytest.raises(NotFittedError, match="call fit"):
        SemanticMatchingModel(SemanticMatchingConfig(image_dim=6, text_dim=4, num_labels=3)).get_text_features(
            torch.zeros(1, 4)
        )
