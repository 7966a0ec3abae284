"""The view of one's own gallery, without a browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.components.user_gallery_markup import introduction
from cmr_hub.space.services import unpacking, user_galleries
from cmr_hub.space.services.catalogue import Catalogue
from cmr_hub.space.services.preparation import Progress
from cmr_hub.space.services.queries import Asked, Query
from cmr_hub.space.services.user_galleries import UserGalleries
from cmr_hub.space.services.user_gallery import UserGallery
from cmr_hub.space.views.user_gallery import UserGalleryView
from toys import COLOURS, raw_retriever

ME, YOU = (SimpleNamespace(session_hash=name, client=None, headers={}) for name in ("me", "you"))
HTML = "<img src=x>"
EMOJI = ("emoji", "dscmr", None)
LONG = 30.0


@pytest.fixture(scope="module")
def retriever() -> Any:
    return raw_retriever()


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch, retriever: Any) -> Iterator[UserGalleryView]:
    monkeypatch.setattr(user_galleries, "load_retriever", lambda location: retriever)
    catalogue = Catalogue(["emoji"])
    galleries = UserGalleries(catalogue)
    with gr.Blocks(analytics_enabled=False):
        yield UserGalleryView(catalogue, SessionState.lay_out(catalogue), galleries)
    galleries.close()


@pytest.fixture
def files(tmp_path: Path, received: Callable[[Path], str]) -> list[dict[str, str]]:
    """Three images, and one that is none."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"none")
    names = [*(f"{name}.png" for name in COLOURS), "broken.png"]
    sent = [{"path": received(tmp_path / name), "orig_name": name} for name in names]
    sent[-1]["orig_name"] = f"{HTML}.png"
    return sent


def built(view: UserGalleryView, files: list[dict[str, str]], request: Any = ME) -> Any:
    view.on_build(files, None, f"Mine {HTML}", "DSCMR, trained on emoji", *EMOJI, "own", request)
    deadline = time.monotonic() + LONG
    while view.galleries[request.session_hash].progress.is_active:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return view.galleries[request.session_hash]


def test_what_is_ready_is_told_once_to_the_page(view: UserGalleryView, files: Any):
    own = built(view, files)
    update = view.look(*EMOJI, "own", Asked(Query("text", "cat"), "image"), ME)
    assert update[view.session_state.own] == own.name
    assert update[view.session_state.asked] is None
    assert view.session_state.moved not in update
    choices = update[view.session_state.gallery].choices
    assert choices == [("Emoji", "emoji"), (f"Mine {HTML}", own.name)]
    assert update[view.ready].visible
    assert HTML not in update[view.status]
    assert "3 images without texts" in update[view.status]
    assert "1 left out" in update[view.status]
    again = view.look(own.name, "dscmr", own.name, "own", None, ME)
    assert view.session_state.own not in again
    assert view.status not in again


def test_who_is_in_another_view_is_moved_there(view: UserGalleryView, files: Any):
    built(view, files)
    assert view.session_state.moved in view.look(*EMOJI, "search", None, ME)


def test_another_session_is_told_nothing(view: UserGalleryView, files: Any):
    built(view, files)
    update = view.look(*EMOJI, "own", None, YOU)
    assert view.session_state.gallery not in update
    assert not update[view.ready].visible
    assert view.on_search(YOU).keys() == view._state(YOU).keys()
    with pytest.raises(gr.Error, match="no gallery any more"):
        view.on_download(YOU)


def test_refusal_keeps_the_files_for_another_try(view: UserGalleryView, files: Any):
    update = view.on_build(files, None, "", "no model of ours", *EMOJI, "own", ME)
    assert 'role="alert"' in update[view.status]
    assert view.files not in update
    assert Path(files[0]["path"]).exists()
    accepted = view.on_build(files[:2], files[2:], None, "DSCMR, trained on emoji", *EMOJI, "own", ME)
    assert accepted[view.files] is None
    assert accepted[view.folder] is None


def test_failure_is_a_notice(view: UserGalleryView, files: Any):
    built(view, files[1:])
    update = view.look(*EMOJI, "own", None, ME)
    assert "2 of 3 images can be used, and a gallery needs 3." in update[view.status]
    assert 'role="alert"' in update[view.status]
    assert not update[view.timer].active
    assert update[view.build].interactive


def test_removing_the_gallery_that_is_shown_goes_to_the_default_one(view: UserGalleryView, files: Any):
    own = built(view, files)
    update = view.on_remove(own.name, "dscmr", own.name, "own", ME)
    assert (update[view.session_state.gallery].value, update[view.session_state.own]) == ("emoji", None)
    assert view.galleries["me"] is None


def test_removing_while_another_gallery_is_shown_keeps_the_question(view: UserGalleryView, files: Any):
    own = built(view, files)
    update = view.on_remove("emoji", "cca", own.name, "own", ME)
    assert (update[view.session_state.gallery].value, update[view.session_state.method].value) == ("emoji", "cca")
    assert view.session_state.asked not in update


def test_another_gallery_takes_the_first_one_from_the_pickers(view: UserGalleryView, files: Any):
    first = built(view, files[:3])
    for file, colour in zip(files, COLOURS.values(), strict=False):  # what was uploaded is deleted by now
        Image.new("RGB", (20, 20), colour).save(file["path"])
    model = "DSCMR, trained on emoji"
    update = view.on_build(files[:3], None, None, model, first.name, "dscmr", first.name, "own", ME)
    assert update[view.session_state.own] is None
    assert update[view.session_state.gallery].choices == [("Emoji", "emoji")]


def test_look_that_comes_late_leaves_what_the_button_said(view: UserGalleryView, files: Any):
    own = built(view, files)
    view.galleries.forget("me")
    assert view.status not in view.look("emoji", "dscmr", None, "own", None, ME)
    removed = view.on_remove("emoji", "dscmr", own.name, "own", ME)
    assert view.look("emoji", "dscmr", own.name, "own", None, ME)[view.status] == removed[view.status]


def test_gallery_that_has_expired_moves_the_page_on(view: UserGalleryView, files: Any):
    own = built(view, files)
    view.galleries.forget("me")
    update = view.look(own.name, "dscmr", own.name, "search", None, ME)
    assert "was removed" in update[view.status]
    assert update[view.session_state.moved]


def test_page_that_is_left_starts_to_be_forgotten(view: UserGalleryView, files: Any):
    own = built(view, files)
    view.on_leave(ME)
    assert own.left is not None
    view.look(own.name, "dscmr", own.name, "own", None, ME)
    assert own.left is None
    view.on_leave(SimpleNamespace(session_hash=None))


def test_callers_without_a_session_are_refused(view: UserGalleryView, files: Any):
    with pytest.raises(gr.Error, match="in a browser"):
        view.on_build(files, None, "", "DSCMR, trained on emoji", *EMOJI, "own", SimpleNamespace(session_hash=None))


def test_progress_is_told_as_it_is(view: UserGalleryView):
    view.galleries._owns["me"] = own = UserGallery("me", "Mine", None, Path("/nowhere"))
    own.progress = Progress("running", 0.42, f"Unpacking {HTML}")
    status = view.look(*EMOJI, "own", None, ME)[view.status]
    assert 'role="progressbar"' in status
    assert 'aria-valuenow="42"' in status
    assert HTML not in status
    del view.galleries._owns["me"]


def test_long_lists_of_what_was_left_out_are_cut(view: UserGalleryView, files: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cmr_hub.space.components.user_gallery_markup.MAX_NAMED", 1)
    broken = [{**files[3], "orig_name": f"{number}.png"} for number in range(3)]
    built(view, files[:3] + broken)
    status = view.look(*EMOJI, "own", None, ME)[view.status]
    assert "3 left out" in status
    assert "and 2 more" in status


def test_page_states_the_limits_that_hold():
    for limit in (f"{unpacking.MAX_IMAGES:,} images", "200 MB together", "20 MB", "64 megapixels", "20,000 lines"):
        assert limit in introduction()
