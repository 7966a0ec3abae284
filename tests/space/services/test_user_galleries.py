"""The store of visitors' galleries, without a page."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.hub import CheckpointInfo, list_checkpoints
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.services import user_checkpoints, user_galleries, user_gallery
from cmr_hub.space.services.catalogue import Catalogue
from cmr_hub.space.services.user_checkpoints import own_checkpoints
from cmr_hub.space.services.user_galleries import UserGalleries
from cmr_hub.space.services.user_gallery import UserGallery
from toys import COLOURS, raw_retriever

LONG = 30.0
TABLE = "file_name,text,label\nred.png,a red square,warm\ngreen.png,a green square,cool\nblue.png,a blue square,cool\n"


@pytest.fixture(scope="module")
def retriever() -> Any:
    return raw_retriever()


@pytest.fixture(autouse=True)
def small_network(retriever: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever checkpoint is chosen, a small one embeds."""
    monkeypatch.setattr(user_galleries, "load_retriever", lambda location: retriever)


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(["emoji"])


@pytest.fixture
def store(catalogue: Catalogue) -> Iterator[Callable[..., UserGalleries]]:
    made = []

    def store(**options: Any) -> UserGalleries:
        made.append(UserGalleries(catalogue, **options))
        return made[-1]

    yield store
    for galleries in made:
        galleries.close()


@pytest.fixture
def sent(tmp_path: Path, received: Callable[[Path], str]) -> Callable[..., list[dict[str, str]]]:
    """Uploads as Gradio gives them: three images in a zip, with a table or without."""

    def sent(table: str | None = TABLE) -> list[dict[str, str]]:
        path = tmp_path / f"upload-{len(list(tmp_path.iterdir()))}"
        with zipfile.ZipFile(path, "w") as archive:
            for colour in COLOURS:
                file = io.BytesIO()
                Image.new("RGB", (40, 40), COLOURS[colour]).save(file, "PNG")
                archive.writestr(f"{colour}.png", file.getvalue())
            if table is not None:
                archive.writestr("metadata.csv", table)
        return [{"path": received(path), "orig_name": "set.zip"}]

    return sent


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(galleries: UserGalleries, session: str = "me") -> UserGallery:
    wait_for(lambda: not galleries[session].progress.is_active)
    return galleries[session]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, retriever: Any) -> SimpleNamespace:
    """Embedding waits at it, image by image."""
    monkeypatch.setattr(user_gallery, "BATCH", 1)
    gate = SimpleNamespace(reached=threading.Event(), open=threading.Event())
    encode = retriever.encode_images

    def encode_images(images: list[Any], **options: Any) -> Any:
        gate.reached.set()
        assert gate.open.wait(LONG)
        return encode(images, **options)

    monkeypatch.setattr(retriever, "encode_images", encode_images)
    yield gate
    gate.open.set()


def test_built_gallery_is_served_under_its_name_and_in_no_list(store: Callable, sent: Callable, catalogue: Catalogue):
    galleries, files = store(), sent()
    galleries.build("me", files, "  My\n squares ")
    own = finished(galleries)
    assert own.progress.state == "done", own.progress.message
    first = next(iter(own_checkpoints(catalogue).values()))
    assert (own.title, own.checkpoint) == ("My squares", first)
    assert catalogue.open(own.name, first.method) is own.gallery
    assert own.gallery.ids == ["red.png", "green.png", "blue.png"]
    assert own.gallery.search(text="red", k=1)[0].labels in {("warm",), ("cool",)}
    assert own.name.startswith("own-")
    assert len(own.name) > 24
    assert own.name not in catalogue.names
    assert not Path(files[0]["path"]).exists()  # what was uploaded is deleted once it is read


def test_images_alone_are_searched_by_words_and_by_one_another(store: Callable, sent: Callable):
    galleries = store()
    galleries.build("me", sent(None))
    gallery = finished(galleries).gallery
    assert list(gallery.embeds) == ["image"]
    assert len(gallery.search(text="red", target="image", k=3)) == 3
    assert len(gallery.search(item="red.png", target="image", k=2)) == 2


def test_embeds_as_any_gallery_does(store: Callable, sent: Callable, retriever: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(user_gallery, "BATCH", 2)
    galleries = store()
    galleries.build("me", sent())
    gallery = finished(galleries).gallery
    again = Gallery.from_dataset(gallery.dataset, retriever, cache=False)
    for modality in ("image", "text"):
        assert gallery.embeds[modality] == pytest.approx(again.embeds[modality], abs=1e-5)


def test_everything_is_in_the_private_folder(
    store: Callable, sent: Callable, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    import datasets

    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CMR_HUB_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    galleries = store()
    assert galleries.root.stat().st_mode & 0o777 == 0o700
    galleries.build("me", sent())
    own = finished(galleries)
    assert own.folder.parent == galleries.root
    assert [path.name for path in files_in(own.folder)].count("red.png") == 1
    galleries.pack("me", own.folder / "downloads")
    assert files_in(cache) == []


def test_forgotten_gallery_is_gone_from_disk_and_catalogue(store: Callable, sent: Callable, catalogue: Catalogue):
    galleries = store()
    galleries.build("me", sent())
    own = finished(galleries)
    galleries.forget("me")
    galleries.forget("me")
    assert galleries["me"] is None
    assert list(galleries.root.iterdir()) == []
    with pytest.raises(UnknownNameError, match="no gallery named") as refusal:
        catalogue.open(own.name)
    assert "Known: emoji." in str(refusal.value)


def test_another_gallery_takes_the_place_of_the_first(store: Callable, sent: Callable, catalogue: Catalogue):
    galleries = store()
    galleries.build("me", sent(), "first")
    first = finished(galleries)
    galleries.build("me", sent(), "second")
    assert finished(galleries).title == "second"
    assert first.name != galleries["me"].name
    assert not first.folder.exists()


def test_sessions_have_galleries_of_their_own(store: Callable, sent: Callable):
    galleries = store()
    galleries.build("me", sent(), "mine")
    galleries.build("you", sent(), "yours")
    assert (finished(galleries).title, finished(galleries, "you").title) == ("mine", "yours")
    galleries.forget("me")
    assert galleries["you"].folder.exists()


def test_cancelled_while_embedding_leaves_nothing(store: Callable, sent: Callable, gate: Any, catalogue: Catalogue):
    galleries, files = store(), sent()
    galleries.build("me", files)
    assert gate.reached.wait(LONG)
    progress = galleries["me"].progress
    assert (progress.state, progress.message) == ("running", "Embedding image 1 to 1 of 3")
    galleries.cancel("me")
    gate.open.set()
    wait_for(lambda: not Path(files[0]["path"]).exists())
    wait_for(lambda: not list(galleries.root.iterdir()))
    assert galleries["me"] is None
    galleries.build("me", sent())  # and the next one is built as ever
    assert finished(galleries).progress.state == "done"
    galleries.cancel("me")
    assert galleries["me"].gallery is not None


def test_others_wait_for_their_turn_and_may_leave_the_queue(store: Callable, sent: Callable, gate: Any):
    galleries = store()
    galleries.build("me", sent())
    assert gate.reached.wait(LONG)
    for other in ("you", "they"):
        galleries.build(other, sent())
    assert galleries["you"].progress.state == "waiting"
    assert "Waiting for its turn" in galleries["you"].progress.message
    galleries.cancel("you")
    gate.open.set()
    assert finished(galleries, "they").progress.state == "done"
    assert galleries["you"] is None


def test_server_that_holds_enough_refuses_and_takes_again(store: Callable, sent: Callable):
    galleries = store(most=1)
    galleries.build("me", sent())
    finished(galleries)
    with pytest.raises(InputError, match=r"as many galleries of visitors as it can \(1\)\. Try again"):
        galleries.build("you", sent())
    galleries.build("me", sent())  # one's own does not count: it is replaced
    finished(galleries)
    galleries.forget("me")
    galleries.build("you", sent())
    yours = finished(galleries, "you")
    galleries.most = 0
    with pytest.raises(InputError, match="as many galleries"):
        galleries.build("you", sent())
    assert galleries["you"] is yours  # who is refused keeps what they have


def test_one_visitor_with_many_sessions_takes_few_places(store: Callable, sent: Callable):
    galleries = store(most_per_visitor=1)
    galleries.build("me", sent(), visitor="1.1.1.1")
    finished(galleries)
    with pytest.raises(InputError, match="1 galleries from your address, the most that one may have"):
        galleries.build("me again", sent(), visitor="1.1.1.1")
    galleries.build("you", sent(), visitor="2.2.2.2")
    galleries.build("me", sent(), visitor="1.1.1.1")
    galleries.forget("me")
    galleries.build("me again", sent(), visitor="1.1.1.1")
    assert finished(galleries, "me again").progress.state == "done"


def test_gallery_of_a_caller_without_a_page_goes_soon(store: Callable, sent: Callable):
    galleries = store(unseen=0.5)
    galleries.build("me", sent())
    galleries.build("you", sent())
    galleries.touch("you")
    wait_for(lambda: galleries["me"] is None)
    assert galleries["you"] is not None


def test_files_that_were_not_uploaded_are_neither_read_nor_deleted(store: Callable, sent: Callable, tmp_path: Path):
    galleries, private = store(), tmp_path / "private.zip"
    shutil.copy(sent()[0]["path"], private)
    with pytest.raises(InputError, match=r"private\.zip is no longer on the server"):
        galleries.build("me", [*sent(), {"path": str(private), "orig_name": "set.zip"}])
    assert private.exists()
    assert galleries["me"] is None


def test_bytes_are_counted_as_they_are_once_they_are_known(store: Callable, sent: Callable):
    galleries = store(most_bytes=user_galleries.MAX_UNPACKED + 100_000)
    galleries.build("me", sent())
    assert finished(galleries).size < 10_000
    galleries.build("you", sent())
    finished(galleries, "you")
    with pytest.raises(InputError, match="as many galleries"):
        store(most_bytes=100).build("me", sent())


def test_failure_says_why_and_takes_no_place(store: Callable, sent: Callable):
    galleries = store(most=1)
    galleries.build("me", sent("file_name,text\nnobody.png,x\n"))
    own = finished(galleries)
    assert own.progress.state == "failed"
    assert own.progress.message.startswith("metadata.csv: 1 of 1 images name a file that does not exist: nobody.png")
    assert list(galleries.root.iterdir()) == []
    galleries.build("you", sent())
    assert finished(galleries, "you").progress.state == "done"


def test_failure_that_nobody_foresaw_is_logged_and_the_next_one_built(
    store: Callable, sent: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    galleries = store()
    with monkeypatch.context() as patch:
        patch.setattr(user_galleries, "load_retriever", lambda location: 1 / 0)
        galleries.build("me", sent())
        assert "Try it again" in finished(galleries).progress.message
    assert "ZeroDivisionError" in caplog.text
    galleries.build("me", sent())
    assert finished(galleries).progress.state == "done"


def test_nothing_to_build_and_unknown_models_are_refused(store: Callable, sent: Callable):
    with pytest.raises(InputError, match="no files yet"):
        store().build("me", [])
    with pytest.raises(InputError, match="no model 'CLIP'"):
        store().build("me", sent(), model="CLIP")


def test_page_that_is_left_may_come_back_in_time(store: Callable, sent: Callable):
    galleries = store(grace=0.6)
    galleries.build("me", sent())
    own = finished(galleries)
    galleries.leave("me")
    galleries.touch("me")
    time.sleep(0.9)
    assert galleries["me"] is own
    galleries.leave("me")
    wait_for(lambda: galleries["me"] is None)
    wait_for(lambda: not list(galleries.root.iterdir()))
    galleries.leave("me")
    galleries.touch("me")


def test_page_that_is_left_while_embedding_stops_it(store: Callable, sent: Callable, gate: Any):
    galleries = store(grace=0.05)
    galleries.build("me", sent())
    assert gate.reached.wait(LONG)
    galleries.leave("me")
    wait_for(lambda: galleries["me"] is None)
    gate.open.set()
    wait_for(lambda: not list(galleries.root.iterdir()))


def test_unused_gallery_expires_although_its_page_is_there(store: Callable, sent: Callable):
    galleries = store(idle=2.0)
    galleries.build("me", sent())
    finished(galleries)
    start = time.monotonic()
    for question in range(5):
        time.sleep(0.5)
        galleries.touch("me", ("emoji", "dscmr", question))
    assert time.monotonic() - start > 2.4
    assert galleries["me"] is not None
    while galleries["me"] is not None:
        galleries.touch("me", ("emoji", "dscmr", 4))
        assert time.monotonic() - start < LONG
        time.sleep(0.05)


def unpacked(path: Path, folder: Path) -> Path:
    """The one folder of a zip, somewhere else."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    (only,) = folder.iterdir()
    return only


# A machine that has the package and nothing of the server's.
ELSEWHERE = """
import sys
from pathlib import Path
import cmr_hub
for folder in map(Path, sys.argv[1:]):
    gallery = cmr_hub.Gallery.from_pretrained(folder)
    print(len(gallery), gallery.image(0).size, gallery.search(text="red", k=1)[0].texts, gallery.name)
"""


@pytest.mark.slow
def test_downloads_open_where_nothing_of_the_server_is(
    store: Callable, sent: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.undo()
    bundled = own_checkpoints(Catalogue(["emoji"]))
    title, prepared = next(iter(bundled)), tmp_path / "prepared" / "dscmr"
    shutil.copytree(Path(user_galleries.__file__).parents[3] / "model_cards" / "dscmr-emoji", prepared)
    of_folder = {title: user_checkpoints.Checkpoint(title, "dscmr", str(prepared))}
    folders = []
    for kind, checkpoints in (("bundled", bundled), ("prepared", of_folder)):
        monkeypatch.setattr(user_galleries, "own_checkpoints", lambda catalogue, given=checkpoints: given)
        galleries = store()
        galleries.build("me", sent(), "../My: <squares>")
        finished(galleries)
        path = galleries.pack("me", tmp_path / "downloads")
        assert path == galleries.pack("me", tmp_path / "downloads")
        assert path.name == "---My- -squares-.zip"
        folders.append(unpacked(path, tmp_path / "home" / kind))
        galleries.close()
        assert not path.exists()
        text = "".join(file.read_text() for file in folders[-1].glob("*.*") if file.suffix in (".json", ".md"))
        assert str(tmp_path) not in text
    shutil.rmtree(prepared.parent)
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    # One process for both: to start it takes seconds.
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, folders)], capture_output=True, text=True, env=environ, check=False
    )
    assert len(run.stdout.splitlines()) == 2, run.stderr
    for line in run.stdout.splitlines():
        assert line.startswith("3 (40, 40) ('a ")
        assert line.endswith("../My: <squares>")


def test_download_of_what_is_gone_is_refused(store: Callable, sent: Callable, tmp_path: Path):
    galleries = store()
    with pytest.raises(InputError, match="Build it again"):
        galleries.pack("me", tmp_path)
    galleries.build("me", sent())
    finished(galleries)
    path = galleries.pack("me", tmp_path / "downloads")
    path.unlink()  # as Gradio does with what lies there for long
    assert galleries.pack("me", tmp_path / "downloads").exists()
    galleries.forget("me")
    assert files_in(tmp_path / "downloads") == []


def test_models_are_all_that_take_raw_images_and_raw_texts(catalogue: Catalogue):
    checkpoints = own_checkpoints(catalogue)
    bundled = [known for known in list_checkpoints() if known.accepts_raw_images and known.accepts_raw_texts]
    assert {each.location for each in checkpoints.values()} == {known.repo_id for known in bundled}
    assert "cmr/dscmr-wiki" not in {each.location for each in checkpoints.values()}
    assert all(title == each.title for title, each in checkpoints.items())


def test_models_of_photos_are_offered_first(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch):
    bundled = [
        CheckpointInfo(f"cmr/{name}", *name.split("-"), "apache-2.0", "efficientnet-lite0", "glove", ())
        for name in ("unified-emoji", "dscmr-flickr8k", "dscmr-emoji", "unified-pascal", "unified-flickr8k")
    ]
    monkeypatch.setattr(user_checkpoints, "list_checkpoints", lambda: bundled)
    offered = [each.location.removeprefix("cmr/") for each in own_checkpoints(catalogue).values()]
    assert offered == ["unified-flickr8k", "dscmr-flickr8k", "unified-pascal", "unified-emoji", "dscmr-emoji"]


def test_prepared_model_is_offered(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch):
    sources: Mapping[str, Any] = {
        "cca": SimpleNamespace(
            method="cca", checkpoint="/prepared/cca", folder=Path("/x"), takes_texts=True, takes_images=True
        )
    }
    monkeypatch.setitem(catalogue._entries, "emoji", SimpleNamespace(sources=sources))
    assert own_checkpoints(catalogue)["CCA, trained on emoji"].location == "/prepared/cca"
