"""Released features: nothing is encoded, everything is checked."""

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_hub.encoders import create_encoder, load_encoder
from cmr_hub.errors import InputError

ROWS = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


@pytest.fixture(params=["image", "text"])
def encoder(request):
    return create_encoder(request.param, "precomputed", dim=3, description="LDA topics")


@pytest.mark.parametrize("rows", [ROWS, np.array(ROWS), torch.tensor(ROWS, dtype=torch.float64), [*np.array(ROWS)]])
def test_vectors_pass_unchanged(encoder, rows):
    features = encoder.encode(rows)
    assert features.dtype == torch.float32
    assert features.tolist() == ROWS
    assert encoder.encode([]).shape == (0, 3)


def test_the_result_is_independent_of_the_input(encoder):
    rows = np.array(ROWS, np.float32)
    encoder.encode(rows).zero_()
    assert rows.tolist() == ROWS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(encoder, value):
    rows = np.zeros((5, 3))
    rows[2, 1] = value
    with pytest.raises(InputError, match="row 3 of 5"):
        encoder.encode(rows)


@pytest.mark.parametrize(
    "inputs",
    [
        ["a text"],
        "a text",
        ["/a/path.jpg", "/b/path.jpg"],
        [Image.new("RGB", (4, 4))],
        np.zeros((2, 4)),
        np.zeros(3),
        [[1.0, 2.0, 3.0], [1.0]],
        [None],
    ],
)
def test_raw_input_and_other_widths_are_refused(encoder, inputs):
    with pytest.raises(InputError, match=rf"released {encoder.modality} features.*\(n, 3\) \(LDA topics\)"):
        encoder.encode(inputs)


def test_round_trip(encoder, tmp_path):
    encoder.save_files(tmp_path)
    again = load_encoder(encoder.to_dict(), tmp_path)
    assert again.to_dict() == encoder.to_dict()
    assert again.modality == encoder.modality
    assert list(tmp_path.iterdir()) == []


def test_the_zero_vector_knows_nothing(encoder):
    assert encoder.fit(ROWS) is encoder
    assert encoder.has_known_tokens([[0, 0, 0], [0, 1, 0]]) == [False, True]


def test_histograms_become_their_square_roots(encoder):
    histograms = create_encoder(encoder.modality, "precomputed", dim=3, transform="hellinger")
    assert histograms.encode([[0.0, 4.0, 9.0]]).tolist() == [[0.0, 2.0, 3.0]]
    assert load_encoder(histograms.to_dict()).encode([[0.0, 4.0, 9.0]]).tolist() == [[0.0, 2.0, 3.0]]
    assert histograms.fingerprint != create_encoder(encoder.modality, "precomputed", dim=3).fingerprint
    with pytest.raises(InputError, match=r"row 2 of 2 .*negative"):
        histograms.encode([[0.0, 1.0, 2.0], [0.0, -1.0, 2.0]])
