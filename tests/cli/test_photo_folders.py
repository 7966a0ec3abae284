"""A person's folder of photos, indexed and searched from the shell."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from cmr_hub.cli.main import main
from cmr_hub.retrieval import photo_index, photo_indexing
from cmr_hub.retrieval.photo_index import PhotoIndex, find_photos, index_folder
from cmr_hub.utils.files import changing
from toys import COLOURS, raw_retriever


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    raw_retriever().save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path, private_cache, monkeypatch):
    """Photos with what systems leave among them: hidden files, a loop of links, other files, a damaged image."""
    folder = tmp_path / "My photos"
    (folder / "2024" / ".trash").mkdir(parents=True)
    for number, (name, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (30, 20 + number), colour).save(folder / "2024" / f"{name}.png")
    shutil.copy(folder / "2024" / "red.png", folder / "2024" / ".trash" / "old.png")
    (folder / "._red.png").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (folder / "2024" / "loop").symlink_to(folder)
    (folder / "film.mp4").write_bytes(b"film")
    (folder / "broken.jpg").write_bytes(b"no image")
    # Files count as settled two seconds after the last change; nobody waits for that here.
    monkeypatch.setattr("cmr_hub.retrieval.gallery_layout.COARSEST_CLOCK_NS", 0)
    return folder


def cmr(*words):
    return main([str(word) for word in words])


def found(capsys, *words):
    capsys.readouterr()
    assert cmr("search", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_indexed_searched_and_brought_up_to_date(photos, checkpoint, capsys, caplog, monkeypatch):
    assert cmr("index", photos, "--checkpoint", checkpoint) == 0
    said = capsys.readouterr().out
    assert "3 images indexed (3 new)" in said
    assert "Images that cannot be used, and are not in the index: 1." in said
    assert "Other files, passed over: 1 (1 .mp4)" in said
    assert "'broken.jpg' (is not an image that can be read" in caplog.text
    listed = index_folder(photos) / "unusable.csv"
    assert "broken.jpg" in listed.read_text(encoding="utf-8-sig")

    hits = found(capsys, "red", "--folder", photos)
    assert {hit["path"] for hit in hits} == {str(photos / "2024" / f"{name}.png") for name in COLOURS}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert all(hit["exists"] for hit in hits)

    with monkeypatch.context() as without:  # neither the checkpoint nor any image is opened again
        without.setattr(photo_indexing, "index_photos", None)
        assert cmr("index", photos) == 0
    assert "the index of 4 images is up to date" in capsys.readouterr().out

    Image.new("RGB", (30, 20), "white").save(photos / "white.png")
    (photos / "2024" / "green.png").unlink()
    hits = found(capsys, "red", "--folder", photos)
    assert [hit["path"] for hit in hits if not hit["exists"]] == [str(photos / "2024" / "green.png")]
    assert cmr("index", photos) == 0
    assert "3 images indexed (1 new, 1 removed)" in capsys.readouterr().out
    assert {hit["id"] for hit in found(capsys, "red", "--folder", photos)} == {
        "2024/red.png",
        "2024/blue.png",
        "white.png",
    }


def test_hits_for_people_name_paths_and_what_is_gone(photos, checkpoint, capsys, monkeypatch):
    cmr("index", photos, "--checkpoint", checkpoint)
    (photos / "2024" / "blue.png").unlink()
    capsys.readouterr()
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    assert cmr("search", "green", "--folder", photos, "--open", "-k", "3") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3
    assert sum(line.endswith("blue.png  (no longer there)") for line in lines) == 1
    assert "1 of these hits are no longer on the disk. Bring the index up to date: cmr index" in err
    assert "\x1b" not in out  # no images where nobody sees them
    assert opened == [next(line.split("  ")[1] for line in lines if "no longer" not in line)]


def test_an_image_asks_alone_and_next_to_words(photos, checkpoint, capsys):
    cmr("index", photos, "--checkpoint", checkpoint)
    image = photos / "2024" / "blue.png"
    hits = found(capsys, "--image", image, "--folder", photos, "-k", 1)
    assert [hit["id"] for hit in hits] == ["2024/blue.png"]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)
    both = found(capsys, "red", "--image", image, "--without", "green", "--folder", photos)
    assert [hit["score"] for hit in both] != [hit["score"] for hit in found(capsys, "red", "--folder", photos)]
    assert found(capsys, "red", "--folder", photos, "--min-score", "0.999") == []
    assert "2024/red.png" not in {hit["id"] for hit in found(capsys, "--item", "2024/red.png", "--folder", photos)}


def test_the_index_is_found_from_a_folder_inside(photos, checkpoint, capsys, monkeypatch):
    cmr("index", photos, "--checkpoint", checkpoint)
    monkeypatch.chdir(photos / "2024")
    assert len(found(capsys, "red")) == 3


def test_the_index_may_be_elsewhere(photos, checkpoint, capsys, tmp_path):
    where = tmp_path / "index"
    assert cmr("index", photos, "--checkpoint", checkpoint, "--output-dir", where) == 0
    assert f"--gallery {where}" in capsys.readouterr().out
    assert len(found(capsys, "red", "--gallery", where)) == 3
    assert not index_folder(photos).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "dog", "--folder", "{photos}"], "has no index yet. Make one: cmr index '{photos}'"),
        (["search", "--folder", "{photos}"], "Give words, --image FILE, or both"),
        (["search", "--without", "dog", "--folder", "{photos}"], "What hits are unlike is no query by itself"),
        (["search", "dog", "--gallery", "{photos}"], "is no gallery and no index"),
        (["search", "--image", "{photos}/a.png", "--folder", "{photos}"], "There is no file '{photos}/a.png'"),
        (["index", "{photos}/nowhere"], "does not exist. Name the folder of your images"),
        (["index", "{photos}/film.mp4"], "is a file. Name the folder of your images"),
        (["index", "{photos}/2024/.trash/empty"], "has no images"),
        (["index", "{photos}", "--output-dir", "{photos}/2024"], "has other files than those of an index"),
        (["index", "{photos}", "--output-dir", "{photos}/film.mp4"], "is a file, and a folder is to be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refusals_say_what_to_do(photos, capsys, words, message):
    (photos / "2024" / ".trash" / "empty").mkdir()
    assert cmr(*(word.format(photos=photos) for word in words)) == 1
    assert message.format(photos=photos) in capsys.readouterr().err


def test_what_was_indexed_stays_when_the_disk_is_away(photos, checkpoint, capsys):
    cmr("index", photos, "--checkpoint", checkpoint)
    shutil.move(photos / "2024", photos.parent / "away")
    (photos / "broken.jpg").unlink()
    assert cmr("index", photos) == 1
    assert "has no images" in capsys.readouterr().err
    assert len(found(capsys, "red", "--folder", photos)) == 3


def test_images_behind_a_folder_that_may_not_be_read_stay(photos, checkpoint, capsys, monkeypatch):
    """Root, as which tests may run, reads every folder: what the system says is put in its place."""
    cmr("index", photos, "--checkpoint", checkpoint)
    shutil.move(photos / "2024", photos.parent / "away")
    Image.new("RGB", (30, 20), "white").save(photos / "white.png")
    unreadable = {str(photos / "2024"): "Permission denied"}
    find = photo_index.find_photos
    monkeypatch.setattr(photo_index, "find_photos", lambda folder: replace(find(folder), unreadable=unreadable))
    capsys.readouterr()
    assert cmr("index", photos) == 0
    said = capsys.readouterr().out
    assert f"Folders that may not be read, passed over: 1 ({photos}/2024 (Permission denied))" in said
    assert "still in the index: 3" in said
    assert len(found(capsys, "red", "--folder", photos)) == 4


def test_another_checkpoint_needs_rebuild(photos, checkpoint, capsys, tmp_path):
    cmr("index", photos, "--checkpoint", checkpoint)
    other = raw_retriever()
    other.save_pretrained(tmp_path / "other")
    assert cmr("index", photos, "--checkpoint", tmp_path / "other") == 1
    assert "Add --rebuild to embed all images anew" in capsys.readouterr().err
    assert cmr("index", photos, "--checkpoint", tmp_path / "other", "--rebuild") == 0
    assert "3 images indexed (3 new)" in capsys.readouterr().out
    record = PhotoIndex.read(index_folder(photos))
    assert record is not None
    assert record.checkpoint == str(tmp_path / "other")


def test_one_process_indexes_at_a_time(photos, checkpoint, capsys):
    cmr("index", photos, "--checkpoint", checkpoint)
    Image.new("RGB", (30, 20), "white").save(photos / "white.png")
    with changing(index_folder(photos)):
        assert cmr("index", photos) == 1
    assert "ConflictError: Another process is changing" in capsys.readouterr().err
    assert len(found(capsys, "red", "--folder", photos)) == 3


def test_an_index_from_elsewhere_leads_to_no_other_files(photos, checkpoint, capsys, tmp_path):
    """The record says which folder the images are in, and ids may say anything."""
    cmr("index", photos, "--checkpoint", checkpoint, "--output-dir", tmp_path / "index")
    record = PhotoIndex.read(tmp_path / "index")
    assert record is not None
    record.photos = str(photos / "2024")  # which ids do not lead into: 2024/2024/red.png is not there
    record.write(tmp_path / "index")
    assert {hit["exists"] for hit in found(capsys, "red", "--gallery", tmp_path / "index")} == {False}


def test_a_folder_is_served_with_its_images(photos, checkpoint, capsys, monkeypatch):
    built = []
    monkeypatch.setattr("cmr_hub.space.build_app", lambda catalogue, prepare: built.append(catalogue))
    monkeypatch.setattr("cmr_hub.space.launch", lambda app, **options: None)
    cmr("index", photos, "--checkpoint", checkpoint)
    assert cmr("serve", photos) == 0
    (catalogue,) = built
    assert catalogue[catalogue.default].title == "My photos"
    gallery = catalogue.open()
    assert gallery.image(gallery.position("2024/blue.png")).getpixel((0, 0)) == COLOURS["blue"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read_are_named(photos):
    (photos / "private").mkdir(mode=0)
    assert list(find_photos(photos).unreadable) == [str(photos / "private")]
