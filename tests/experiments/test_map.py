from __future__ import annotations

from pathlib import Path

from cmr_hub import Gallery
from cmr_hub.experiments import map as map_module
from cmr_hub.experiments.map import map_embedded, map_saved
from cmr_hub.retrieval.gallery_layout import MAP_NAME
from cmr_hub.retrieval.maps import NeighbourMap, embedded_map_path
from toys import feature_dataset, feature_retriever


def test_the_map_of_a_saved_gallery_comes_into_its_folder(tmp_path: Path):
    retriever = feature_retriever()
    retriever.save_pretrained(tmp_path / "checkpoint")
    retriever.name = str(tmp_path / "checkpoint")
    gallery = Gallery.from_dataset(feature_dataset(30), retriever, name="toys")
    gallery.save_pretrained(tmp_path / "gallery")
    told = []
    path = map_saved(tmp_path / "gallery", report=lambda *report: told.append(report))
    assert path == tmp_path / "gallery" / MAP_NAME
    assert len(NeighbourMap.load(path, gallery).rows) == 30
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert len(fractions) > 5
    assert told[-1] == ("done", 1.0, "The map of toys is ready")


def test_the_map_of_an_embedded_data_set_fits_what_the_space_opens(private_cache: Path, tmp_path: Path, monkeypatch):
    parts = {"train": feature_dataset(20), "test": feature_dataset(10, prefix="other")}
    monkeypatch.setattr(map_module, "load_dataset", lambda name, data_dir: parts)
    retriever = feature_retriever()
    retriever.save_pretrained(tmp_path / "checkpoint")
    path = map_embedded("toys", str(tmp_path / "checkpoint"), report=lambda *report: None)
    assert path == embedded_map_path("toys", str(tmp_path / "checkpoint"))
    both = map_module.concatenate_datasets(list(parts.values()))
    assert len(NeighbourMap.load(path, Gallery.from_dataset(both, retriever)).rows) == 30
