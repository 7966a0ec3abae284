from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path

import pytest

from cmr_hub.data import list_datasets
from cmr_hub.errors import CheckpointError, DatasetError, InputError, UnknownNameError
from cmr_hub.hub import CheckpointInfo
from cmr_hub.hub.checkpoints import RUN_NAME
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.prepared import prepared_folder
from cmr_hub.space.components.images import image_of
from cmr_hub.space.services import catalogue as module
from cmr_hub.space.services.catalogue import Catalogue
from cmr_hub.space.services.user_checkpoints import own_checkpoints
from small_space import make_gallery


def checkpoint(method: str, dataset: str, accepts_raw_input: bool = True) -> CheckpointInfo:
    inputs = ("efficientnet-lite0", "glove") if accepts_raw_input else (None, None)
    return CheckpointInfo(f"cmr/{method}-{dataset}", method, dataset, "apache-2.0", *inputs, ())


@pytest.fixture(autouse=True)
def machine(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has emoji and wiki, checkpoints for both, and nothing prepared."""
    bundled = [
        checkpoint("cca", "emoji"),
        checkpoint("dscmr", "emoji"),
        checkpoint("dscmr", "wiki", accepts_raw_input=False),
    ]
    monkeypatch.setattr(module, "list_checkpoints", lambda: bundled)
    monkeypatch.setattr(module, "is_available", lambda name: name in ("emoji", "wiki"))


@pytest.fixture
def prepared(gallery: Gallery, tmp_path: Path) -> Gallery:
    """CCA on pascal, as the training command leaves it."""
    gallery.retriever.save_pretrained(tmp_path / "checkpoint")
    gallery.retriever.name = str(tmp_path / "checkpoint")
    gallery.save_pretrained(prepared_folder("pascal", "cca") / "gallery")
    return gallery


def test_offers_every_data_set_that_has_a_source_and_not_the_users_own_folder():
    assert "folder" not in Catalogue().names
    assert {"emoji", "flickr8k", "pascal", "wiki"} <= set(Catalogue().names)


def test_the_largest_are_offered_once_they_are_prepared(prepared: Gallery):
    assert "mscoco" not in Catalogue().names
    shutil.copytree(prepared_folder("pascal"), prepared_folder("mscoco"))
    assert list(Catalogue()["mscoco"].sources) == ["cca"]


def test_saved_galleries_are_served_before_the_data_sets(gallery: Gallery, tmp_path: Path):
    gallery.retriever.save_pretrained(tmp_path / "checkpoint")
    gallery.retriever.name = str(tmp_path / "checkpoint")
    gallery.save_pretrained(tmp_path / "holiday")
    catalogue = Catalogue(["emoji"], folders=[tmp_path / "holiday"])
    assert catalogue.names == ["holiday", "emoji"]
    assert catalogue.default == "holiday"
    assert catalogue["holiday"].title == gallery.name
    assert not catalogue["holiday"].can_prepare
    assert [hit.id for hit in catalogue.open().search(text="red", k=1)] == ["apple"]
    catalogue.refresh()
    assert catalogue["holiday"].is_ready


def test_two_galleries_of_one_name_are_refused(gallery: Gallery, tmp_path: Path):
    gallery.retriever.save_pretrained(tmp_path / "checkpoint")
    gallery.retriever.name = str(tmp_path / "checkpoint")
    folders = [tmp_path / "a" / "holiday", tmp_path / "b" / "holiday", tmp_path / "emoji"]
    for folder in folders:
        gallery.save_pretrained(folder)
    with pytest.raises(InputError, match=r"'holiday' already; rename the folder"):
        Catalogue(["emoji"], folders=folders[:2])
    with pytest.raises(InputError, match="'emoji' already"):
        Catalogue(["emoji"], folders=folders[2:])


def test_a_checkpoint_of_ones_own_takes_the_place_of_a_bundled_one(gallery: Gallery, tmp_path: Path):
    folder = tmp_path / "mine"
    gallery.retriever.save_pretrained(folder)
    method = gallery.retriever.model.config.model_type
    (folder / RUN_NAME).write_text(json.dumps({"dataset": "emoji"}))
    catalogue = Catalogue(["emoji"], checkpoints=[str(folder)])
    assert catalogue["emoji"].sources[method].checkpoint == str(folder)
    assert next(iter(own_checkpoints(catalogue).values())).location == str(folder)
    with pytest.raises(CheckpointError, match="nowhere"):
        Catalogue(["emoji"], checkpoints=[str(tmp_path / "nowhere")])


def test_default_needs_nothing_and_starts_with_the_trained_model():
    catalogue = Catalogue()
    assert catalogue.default == "emoji"
    assert list(catalogue["emoji"].sources) == ["dscmr", "cca"]
    assert catalogue.source().checkpoint == "cmr/dscmr-emoji"


def test_a_checkpoint_of_two_parts_is_the_first_where_one_is_bundled(monkeypatch: pytest.MonkeyPatch):
    bundled = [checkpoint(method, "emoji") for method in ("cca", "unified_hash", "dscmr", "unified")]
    monkeypatch.setattr(module, "list_checkpoints", lambda: bundled)
    assert list(Catalogue()["emoji"].sources) == ["unified", "dscmr", "cca", "unified_hash"]


def test_released_features_are_ready_but_worth_preparing():
    assert Catalogue()["wiki"].is_ready
    assert Catalogue()["wiki"].can_prepare
    assert not Catalogue()["emoji"].can_prepare


def test_images_that_would_have_to_be_encoded_first_are_worth_preparing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "list_checkpoints", lambda: [checkpoint("dscmr", "pascal")])
    monkeypatch.setattr(module, "is_available", lambda name: name == "pascal")
    entry = Catalogue()["pascal"]
    assert not entry.is_ready
    assert entry.can_prepare


def test_unknown_names_suggest_near_ones():
    with pytest.raises(UnknownNameError, match=r"no gallery named 'emojy'.*Did you mean 'emoji'"):
        Catalogue().open("emojy")
    with pytest.raises(UnknownNameError, match=r"no model of the gallery 'emoji' named 'dscrm'.*'dscmr'"):
        Catalogue().open("emoji", "dscrm")


def test_missing_gallery_says_how_to_get_it():
    with pytest.raises(DatasetError, match="cmr prepare pascal"):
        Catalogue().open("pascal")


def test_prepared_gallery_appears_after_a_refresh_and_is_kept(prepared: Gallery):
    shutil.move(prepared_folder("pascal"), prepared_folder("elsewhere"))
    catalogue = Catalogue()
    assert not catalogue["pascal"].is_ready
    shutil.move(prepared_folder("elsewhere"), prepared_folder("pascal"))
    catalogue.refresh()
    assert catalogue["pascal"].is_ready
    assert not catalogue["pascal"].can_prepare
    opened = catalogue.open("pascal", "cca")
    assert opened.ids == prepared.ids
    assert catalogue.open("pascal") is opened


def test_prepared_gallery_takes_the_place_of_the_bundled_checkpoint(prepared: Gallery):
    shutil.copytree(prepared_folder("pascal"), prepared_folder("emoji"))
    source = Catalogue().source("emoji", "cca")
    assert source.folder == prepared_folder("emoji", "cca") / "gallery"
    assert source.takes_texts
    assert source.takes_images


def test_bundled_checkpoint_embeds_all_splits_once(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    halves = {"train": gallery.dataset.select([0, 1]), "test": gallery.dataset.select([2, 3])}
    loads = []
    monkeypatch.setattr(module, "load_dataset", lambda name: loads.append(name) or halves)
    monkeypatch.setattr(module.Retriever, "from_pretrained", lambda checkpoint: gallery.retriever)
    catalogue = Catalogue()
    assert catalogue.open("emoji", "dscmr").ids == gallery.ids
    assert catalogue.open("emoji", "cca").ids == gallery.ids
    assert loads == ["emoji"]


def test_own_gallery_is_served_by_its_name_and_listed_nowhere(gallery: Gallery):
    catalogue = Catalogue()
    catalogue.add_own("own-secret", "My: images", {"cca": gallery})
    assert catalogue.open("own-secret", "cca") is gallery
    assert catalogue["own-secret"].title == "My: images"
    assert not catalogue["own-secret"].can_prepare
    assert "own-secret" not in catalogue.names
    catalogue.refresh()
    assert catalogue.open("own-secret") is gallery
    with pytest.raises(UnknownNameError) as error:
        catalogue.open("own-secrets")
    assert "'own-secret'" not in str(error.value)
    catalogue.remove_own("own-secret")
    catalogue.remove_own("own-secret")
    with pytest.raises(UnknownNameError):
        catalogue.open("own-secret")


def test_own_gallery_that_is_removed_is_let_go(tmp_path: Path):
    catalogue = Catalogue()
    own = make_gallery(tmp_path)
    catalogue.add_own("own-secret", "Mine", {"cca": own})
    assert image_of(catalogue.open("own-secret"), 0)
    kept = weakref.ref(own)
    del own
    catalogue.remove_own("own-secret")
    gc.collect()
    assert kept() is None


def test_what_only_a_person_can_fetch_is_not_offered_for_a_click():
    catalogue = Catalogue()
    offered = {name for name in list_datasets() if name in catalogue}
    assert offered >= {"emoji", "pascal", "flickr8k"}
    assert not offered & {"xmedia", "nuswide-10k", "pascal-dscmr", "mscoco"}
