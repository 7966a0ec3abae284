import numpy as np
import pytest
import torch

from cmr_hub.modeling import embeddings
from cmr_hub.modeling.codes import pack
from cmr_hub.modeling.embeddings import BINARY, EMBEDDING_KINDS, REAL_VALUED, as_vectors, described, kind_of
from cmr_hub.modeling.modeling_cmr import unit_rows


@pytest.fixture(params=EMBEDDING_KINDS)
def sample(request):
    """A kind, and six embeddings of it."""
    values = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    return EMBEDDING_KINDS[request.param], pack(values) if request.param == "binary" else unit_rows(values)


def test_a_kind_recognises_its_own_embeddings(sample):
    kind, embeds = sample
    assert kind_of(embeds) is kind
    assert described(embeds) == kind.describe(embeds.shape[1])


def test_inner_products_of_codes_stand_for_hamming_distances():
    signs = np.random.default_rng(0).random((6, 16)) > 0.5
    distances = (signs[:, None] != signs[None]).sum(axis=2)
    vectors = as_vectors(np.packbits(signs, axis=1))
    np.testing.assert_allclose(vectors @ vectors.T, 1 - 2 * distances / 16, atol=1e-6)


def test_only_codes_have_bits():
    assert (BINARY.bits(2), REAL_VALUED.bits(2)) == (16, None)


def test_contiguous_embeddings_are_stored_without_a_copy(sample):
    kind, embeds = sample
    assert np.shares_memory(kind.as_stored(embeds), embeds)
    assert kind.as_stored(embeds[:, ::-1]).flags.c_contiguous


def test_vectors_are_stored_in_single_precision():
    assert REAL_VALUED.as_stored(np.eye(3)).dtype == np.float32


def test_embeddings_that_are_all_the_same_are_warned_of(caplog):
    rows = np.full((60, 16), 0.25, np.float32)
    REAL_VALUED.warn_if_degenerate(rows[:9], "few")
    REAL_VALUED.warn_if_degenerate(np.eye(60, dtype=np.float32), "others")
    assert not caplog.records
    REAL_VALUED.warn_if_degenerate(rows, "toys")
    assert "toys: identical embeddings, all 60 of them" in caplog.text
    BINARY.warn_if_degenerate(np.ones((60, 2), np.uint8), "toys")
    assert "all items have the same code of 16 bits" in caplog.text


def test_rows_that_no_model_gives_are_found_in_every_block(monkeypatch):
    monkeypatch.setattr(embeddings, "BLOCK_ROWS", 4)
    rows = np.eye(11, dtype=np.float16)
    rows[[2, 5, 10]] *= np.array([[np.nan], [1.01], [200]], np.float16)
    rows[3] = 0
    assert REAL_VALUED.bad_rows(rows).tolist() == [2, 5, 10]
    assert BINARY.bad_rows(np.full((3, 2), 255, np.uint8)).tolist() == []
