"""Checkpoints and galleries that are saved, killed, damaged and read all at once."""

import os
import threading

import numpy as np
import pytest
from transformers import AutoModel, AutoProcessor

import cmr_hub
from cmr_hub import CMRProcessor, Gallery
from cmr_hub.errors import CheckpointError, UnwritableError
from cmr_hub.hub import push_folder
from cmr_hub.indexes import INDEXES, load_index
from cmr_hub.indexes.quantizers.spreading_vectors import SpreadingVectorsConfig, SpreadingVectorsModel
from cmr_hub.retrieval import gallery_files, gallery_storage
from cmr_hub.training.train_quantizer import QuantizerRun, QuantizerSettings
from cmr_hub.training.train_quantizer import save as save_quantizer
from cmr_hub.utils import checksums
from hub_server import TOKEN
from killing import fresh_copy, killed_everywhere
from toys import feature_dataset, feature_retriever, raw_retriever


@pytest.fixture(scope="module")
def retrievers():
    """Two checkpoints of different files: real-valued on features, and one with a vocabulary."""
    return feature_retriever("dscmr"), raw_retriever()


@pytest.fixture
def galleries(monkeypatch):
    """One gallery of many shards, and one of few."""
    monkeypatch.setattr(gallery_storage, "SHARD_ROWS", 10)
    retriever = feature_retriever()
    return tuple(Gallery.from_dataset(feature_dataset(n, prefix=f"of-{n}"), retriever) for n in (30, 10))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1
    path.write_bytes(content)


class TestKills:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_a_checkpoint_is_the_old_or_the_new_one(self, tmp_path, retrievers, order):
        old, new = (retrievers[i] for i in order)
        old.save_pretrained(tmp_path / "before")
        folder, found = tmp_path / "folder", []
        for _ in killed_everywhere(
            lambda: new.save_pretrained(folder), lambda: fresh_copy(tmp_path / "before", folder)
        ):
            found.append(cmr_hub.from_pretrained(folder).fingerprint)
        assert {found[0], found[-1]} == {old.fingerprint, new.fingerprint}
        assert set(found) == {old.fingerprint, new.fingerprint}

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_a_gallery_is_the_old_or_the_new_one(self, tmp_path, galleries, order):
        old, new = (galleries[i] for i in order)
        old.save_pretrained(tmp_path / "before")
        folder, found = tmp_path / "folder", []
        for _ in killed_everywhere(
            lambda: new.save_pretrained(folder), lambda: fresh_copy(tmp_path / "before", folder)
        ):
            gallery = Gallery.from_pretrained(folder, retriever=new.retriever)
            found.append((gallery.ids, gallery.embeds["image"].tobytes()))
        either = [(gallery.ids, gallery.embeds["image"].tobytes()) for gallery in (old, new)]
        assert [found[0], found[-1]] == either
        assert all(one in either for one in found)
        assert len(list(folder.glob("items-*"))) == len(new) // 10

    def test_a_quantizer_is_the_old_or_the_new_one(self, tmp_path):
        models = [SpreadingVectorsModel(SpreadingVectorsConfig(input_dim=5, hidden_dim=n)) for n in (6, 7)]
        run = QuantizerRun("", QuantizerSettings(), {})
        folder = tmp_path / "folder"
        save_quantizer(models[0], run, tmp_path / "before")
        found = []
        for _ in killed_everywhere(
            lambda: save_quantizer(models[1], run, folder), lambda: fresh_copy(tmp_path / "before", folder)
        ):
            found.append(SpreadingVectorsModel.from_pretrained(folder).config.hidden_dim)
        assert (found[0], found[-1], set(found)) == (6, 7, {6, 7})

    def test_a_build_is_a_gallery_only_when_it_is_whole(self, tmp_path):
        retriever, dataset = feature_retriever(), feature_dataset(30)

        def build():
            Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)

        for _ in killed_everywhere(build, lambda: None):
            if (tmp_path / gallery_files.CONFIG_NAME).exists():
                assert len(Gallery.from_pretrained(tmp_path, retriever=retriever)) == 30
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]

    def test_a_gallery_that_lacks_a_shard_is_none_until_it_is_built_again(self, tmp_path):
        retriever, dataset = feature_retriever(), feature_dataset(30)

        def build():
            return Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)

        build()
        flip(tmp_path / "items-00001.parquet", 900)
        with pytest.raises(CheckpointError, match=r"items-00001.parquet has another digest"):
            build()
        (tmp_path / "items-00001.parquet").unlink()
        kills = killed_everywhere(build, lambda: None)
        while (tmp_path / "gallery_config.json").exists():
            next(kills)
        assert not (tmp_path / "items-00001.parquet").exists()
        assert len(build()) == 30


class TestReaders:
    @pytest.mark.slow
    def test_who_loads_during_saves_gets_one_or_the_other(self, tmp_path, retrievers):
        retrievers[0].save_pretrained(tmp_path)
        stopped, found = threading.Event(), []

        def load():
            while not stopped.is_set():
                found.append(cmr_hub.from_pretrained(tmp_path).fingerprint)

        reader = threading.Thread(target=load)
        reader.start()
        for i in range(12):
            retrievers[(i + 1) % 2].save_pretrained(tmp_path)
        stopped.set()
        reader.join()
        assert set(found) <= {retriever.fingerprint for retriever in retrievers}
        assert len(found) > 1


class TestDigests:
    def test_a_flipped_bit_in_any_file_of_a_checkpoint(self, tmp_path, retrievers):
        retriever = retrievers[1]
        retriever.save_pretrained(tmp_path)
        names = sorted(set(os.listdir(tmp_path)) - {"checksums.json"})
        assert names == ["config.json", "model.safetensors", "processor_config.json", "text_vocabulary.json"]
        loads = (
            cmr_hub.from_pretrained,
            type(retriever.model).from_pretrained,
            CMRProcessor.from_pretrained,
            AutoModel.from_pretrained,
            AutoProcessor.from_pretrained,
        )
        for name in names:
            # The last byte of weights or of JSON: no other check finds it.
            flip(tmp_path / name, -1)
            for load in loads:
                with pytest.raises((CheckpointError, OSError), match=name):
                    load(str(tmp_path))
            flip(tmp_path / name, -1)
        for load in loads:
            load(str(tmp_path))

    def test_a_flipped_bit_in_any_file_of_a_gallery(self, tmp_path, galleries):
        galleries[0].save_pretrained(tmp_path)
        retriever = galleries[0].retriever
        names = sorted(set(os.listdir(tmp_path)) - {"checksums.json"})
        assert len(names) == 4
        for name in names:
            flip(tmp_path / name, 700)
            with pytest.raises(CheckpointError, match=name):
                Gallery.from_pretrained(tmp_path, retriever=retriever)
            flip(tmp_path / name, 700)
        Gallery.from_pretrained(tmp_path, retriever=retriever)

    def test_a_flipped_bit_in_an_index(self, tmp_path):
        INDEXES["exact"](np.eye(3, dtype=np.float32)).save(tmp_path)
        flip(tmp_path / "index.safetensors", -4)
        with pytest.raises(CheckpointError, match=r"index.safetensors has another digest"):
            load_index(tmp_path)
        assert len(load_index(tmp_path, verify=False)) == 3

    def test_verify_false_loads_weights_as_they_are(self, tmp_path, retrievers):
        retrievers[0].save_pretrained(tmp_path)
        flip(tmp_path / "model.safetensors", -1)
        for load in (cmr_hub.from_pretrained, type(retrievers[0].model).from_pretrained, AutoModel.from_pretrained):
            load(str(tmp_path), verify=False)

    def test_a_checkpoint_of_an_earlier_version_loads(self, tmp_path, retrievers):
        retrievers[0].save_pretrained(tmp_path)
        (tmp_path / "checksums.json").unlink()
        flip(tmp_path / "model.safetensors", -1)
        assert cmr_hub.from_pretrained(tmp_path).model.config.model_type == "dscmr"

    def test_each_file_is_read_once(self, tmp_path, retrievers, monkeypatch):
        retrievers[1].save_pretrained(tmp_path)
        read, digest = [], checksums.file_checksum
        monkeypatch.setattr(checksums, "file_checksum", lambda path: read.append(path.name) or digest(path))
        cmr_hub.from_pretrained(tmp_path)
        assert sorted(read) == ["config.json", "model.safetensors", "processor_config.json", "text_vocabulary.json"]

    def test_model_and_processor_saved_by_themselves(self, tmp_path, retrievers):
        for retriever in retrievers:
            retriever.model.save_pretrained(tmp_path)
            retriever.processor.save_pretrained(tmp_path)
            assert cmr_hub.from_pretrained(tmp_path).fingerprint == retriever.fingerprint

    def test_weights_in_parts_take_the_place_of_whole_ones(self, tmp_path, retrievers):
        model = retrievers[0].model
        model.save_pretrained(tmp_path)
        model.save_pretrained(tmp_path, max_shard_size=400)
        assert not (tmp_path / "model.safetensors").exists()
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
        type(model).from_pretrained(tmp_path)
        model.save_pretrained(tmp_path)
        assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]

    def test_a_damaged_checkpoint_is_not_published(self, tmp_path, retrievers):
        retrievers[0].save_pretrained(tmp_path)
        (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
        flip(tmp_path / "model.safetensors", -1)
        with pytest.raises(CheckpointError, match=r"cannot be published: .*model.safetensors has another digest"):
            push_folder(tmp_path, "me/x")

    def test_a_model_that_is_published_as_it_is_saved(self, tmp_path, retrievers, connected):
        model = retrievers[0].model
        model.save_pretrained(tmp_path / "toy", push_to_hub=True, repo_id="me/toy", token=TOKEN)
        assert {"checksums.json", "config.json", "model.safetensors"} <= set(connected.files("me/toy"))
        assert type(model).from_pretrained("me/toy").num_parameters() == model.num_parameters()

    def test_a_saved_gallery_takes_the_place_of_a_built_one(self, tmp_path, galleries):
        Gallery.build(
            feature_dataset(30), galleries[0].retriever, tmp_path, shard_rows=10, name="built", show_progress=False
        )
        (tmp_path / "map.safetensors").write_bytes(b"of the built one")
        galleries[1].save_pretrained(tmp_path)
        names = {"checksums.json", "gallery_config.json", "items-00000.parquet"}
        assert set(os.listdir(tmp_path)) == names


@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_saved_onto_a_file(tmp_path, inside):
    retriever = feature_retriever()
    gallery = cmr_hub.Gallery.from_dataset(feature_dataset(9), retriever)
    (tmp_path / "notes.txt").write_text("mine")
    target = tmp_path / "notes.txt" / "checkpoint" if inside else tmp_path / "notes.txt"
    parts = (retriever, retriever.model, retriever.processor, retriever.model.config, gallery)
    saves = [*(part.save_pretrained for part in parts), gallery.indexes["image"].save]
    for save in (*saves, lambda folder: cmr_hub.Gallery.build(feature_dataset(9), retriever, folder)):
        with pytest.raises(UnwritableError, match=r"notes\.txt is a file, and a folder is to be written"):
            save(target)
    assert (tmp_path / "notes.txt").read_text() == "mine"
