"""Queries embedded without torch are those that the checkpoint embeds."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import cmr_hub
from cmr_hub import Gallery
from cmr_hub.retrieval.photo_index import PhotoIndex
from cmr_hub.retrieval.photo_search import PhotoQuery, search_photos
from cmr_hub.retrieval.query_encoder import QueryEncoder, UncoveredError
from cmr_hub.retrieval.query_export import export_query_encoder
from toys import raw_retriever

TEXTS = ["a brown dog runs", "Two children's red bicycles, 3.5 m apart!", "snow"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The retriever of photos, and what was exported of it into a cache of this module."""
    patch = pytest.MonkeyPatch()
    patch.setenv("CMR_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("CMR_HUB_BACKEND", "auto")
    retriever = cmr_hub.from_pretrained("cmr/unified-flickr8k")
    assert export_query_encoder(retriever) is not None
    yield retriever
    patch.undo()


@pytest.mark.slow
def test_embeddings_are_those_of_the_checkpoint(exported, tmp_path):
    encoder = QueryEncoder.find(exported.fingerprint)
    assert encoder is not None
    np.testing.assert_allclose(encoder.embed_texts(TEXTS), exported.encode_texts(TEXTS), atol=1e-4)
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    found, expected = (each([str(tmp_path / "a.png")]) for each in (encoder.embed_images, exported.encode_images))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for text in ("мороз", " ", "word " * 300):
        with pytest.raises(UncoveredError):
            encoder.embed_texts([text])


@pytest.mark.slow
def test_a_search_imports_no_torch_and_finds_what_the_gallery_finds(exported, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(1)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((90, 70)).save(
            photos / f"{number}.png"
        )
    gallery = Gallery.build(photos, exported, tmp_path / "index", keep_images=False, show_progress=False)
    PhotoIndex.of(photos, "cmr/unified-flickr8k").write(tmp_path / "index")
    code = (
        "import sys; from cmr_hub.cli.main import main; code = main(sys.argv[1:]);"
        "print(any(name in sys.modules for name in ('torch', 'transformers', 'datasets', 'pandas')), file=sys.stderr);"
        "sys.exit(code)"
    )
    words = ["search", "a dog", "--without", "snow", "--gallery", str(tmp_path / "index"), "--json", "-k", "5"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"
    expected = gallery.search(text={"a dog": 1.0, "snow": -0.5}, k=5)
    hits = json.loads(done.stdout)
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-3)
    # Words that are not covered are searched by the gallery itself.
    assert [hit.id for hit in search_photos(tmp_path / "index", PhotoQuery({"мороз dog": 1.0}), 3)]


def test_what_is_not_covered_is_not_exported(private_cache, monkeypatch):
    monkeypatch.setenv("CMR_HUB_BACKEND", "auto")
    assert export_query_encoder(raw_retriever()) is None  # which words are unknown the encoder alone can say
    assert QueryEncoder.find(raw_retriever().fingerprint) is None
