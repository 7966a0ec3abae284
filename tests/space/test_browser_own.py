"""One's own gallery in a real browser: what honest people do, and what others try."""

from __future__ import annotations

import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from browsing import serious_findings
from reverse_proxy import free_port

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space import build_app, launch
from cmr_hub.space.services import received_files, user_galleries
from cmr_hub.space.services.catalogue import Catalogue
from cmr_hub.space.services.user_galleries import UserGalleries
from cmr_hub.space.views import VIEWS
from cmr_hub.space.views.user_gallery import UserGalleryView
from small_space import bundled_catalogue

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HIT = "#cmr-results .cmr-hit"
PHONE = {"width": 390, "height": 844}
GRACE = 2.0
HTML = '<img src=x onerror="document.title=1">'
COLOURS = ["red", "green", "blue", "yellow", "black", "white", "purple", "orange"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The Space with a store of galleries that the tests can look into, and that waits less for pages to come back."""

    catalogue = bundled_catalogue(["emoji"])
    galleries = UserGalleries(catalogue, grace=GRACE)

    class HastyView(UserGalleryView):
        def __init__(self, catalogue: Catalogue, session_state: Any):
            super().__init__(catalogue, session_state, galleries)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMR_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setattr("cmr_hub.space.page.VIEWS", [HastyView if view is UserGalleryView else view for view in VIEWS])
        patch.setattr("cmr_hub.space.views.user_gallery.PULSE", 0.5)
        app = build_app(catalogue)
        launch(app, prevent_thread_lock=True, quiet=True, server_port=free_port())
        yield SimpleNamespace(url=app.local_url, galleries=galleries, gradio=received_files.root())
        app.close()
        galleries.close()


def image(colour: str = "red", size: tuple[int, int] = (60, 40), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


IMAGES = {f"{colour}.png": image(colour) for colour in COLOURS}
TABLE = "file_name,text,label\n" + "".join(
    f'{colour}.png,"a {colour} square {HTML.replace(chr(34), chr(34) * 2)}",<b>{len(colour) % 2}</b>\n'
    for colour in COLOURS
)
PAIRS = zipped({"metadata.csv": TABLE.encode(), **IMAGES})


def choose(page: Page, files: dict[str, bytes], where: str = "files") -> None:
    """Give files to the page, and wait until they are uploaded."""
    given = [{"name": name, "mimeType": "", "buffer": content} for name, content in files.items()]
    page.set_input_files(f"#cmr-own-{where} input[type=file]", given)
    expect(page.locator(f"#cmr-own-{where} .file")).to_have_count(len(files))


def build(page: Page, files: dict[str, bytes], title: str = "") -> None:
    page.get_by_role("tab", name="Your gallery").click()
    choose(page, files)
    if title:
        page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Build the gallery").click()


def build_to_the_end(page: Page, files: dict[str, bytes], title: str = "") -> None:
    build(page, files, title)
    expect(page.get_by_role("button", name="Search it")).to_be_visible()


def gallery_choices(page: Page) -> list[str]:
    page.locator("#cmr-gallery input").click()
    choices = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return [choice.strip(" ✓\n") for choice in choices]


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def files_in(folder: Path) -> list[str]:
    return [name for _, _, names in os.walk(folder) for name in names]  # also while something is removed


def test_pairs_are_built_searched_in_all_views_and_removed(page: Page, space: Any):
    build_to_the_end(page, {"set.zip": PAIRS}, f"Squares {HTML}")
    expect(page.locator(".cmr-own-result")).to_contain_text("8 images with their texts, in 2 classes")
    page.get_by_role("button", name="Search it").click()
    expect(page.locator(HIT)).to_have_count(7)
    expect(page.locator("#cmr-gallery input")).to_have_value(f"Squares {HTML}")
    page.fill("#cmr-text textarea", "a red square")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("h2.cmr-asked")).to_have_text("“a red square”")
    page.locator(HIT).first.click()
    expect(page.locator(".cmr-summary")).to_contain_text("share its class")
    expect(page.locator("h2.cmr-asked")).to_contain_text(f"square {HTML}")
    assert page.title() != "1"  # HTML in texts, titles and classes is text
    assert "own-" not in page.url
    page.get_by_role("tab", name="Your gallery").click()
    page.get_by_role("button", name="Remove now").click()
    expect(page.locator("#cmr-own-status")).to_contain_text("Nothing of it is left")
    expect(page.locator("#cmr-gallery input")).to_have_value("Emoji")
    assert files_in(space.galleries.root) == []
    page.get_by_role("tab", name="Search").click()
    expect(page.locator(HIT)).to_have_count(12)


def test_every_view_opens_on_images_alone(page: Page):
    build_to_the_end(page, dict(list(IMAGES.items())[:3]))
    for title in [tab for tab in page.get_by_role("tab").all_inner_texts() if tab != "Your gallery"]:
        page.get_by_role("tab", name=title, exact=True).click()
        expect(page.get_by_role("tab", name=title, exact=True)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel").filter(visible=True)).not_to_be_empty()
        expect(page.locator("#cmr-gallery input")).to_have_value("My images")
        assert page.locator(".toast-body").count() == 0  # how Gradio tells of what nobody foresaw


def test_images_alone_are_searched_by_words(page: Page):
    build_to_the_end(page, dict(list(IMAGES.items())[:5]))
    expect(page.locator(".cmr-own-result")).to_contain_text("5 images without texts")
    page.get_by_role("button", name="Search it").click()
    expect(page.locator(HIT)).to_have_count(4)
    page.fill("#cmr-text textarea", "a red apple")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("h2.cmr-asked")).to_have_text("“a red apple”")
    expect(page.locator(f"{HIT} img")).to_have_count(4)


def test_folder_and_a_table_beside_its_images(page: Page, tmp_path: Path):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for name, content in list(IMAGES.items())[:4]:
        (tmp_path / "mine" / "deep" / name).write_bytes(content)
    (tmp_path / "mine" / "pairs.csv").write_text(
        "file_name,text\ndeep/red.png,red\ndeep/blue.png,blue\ndeep/green.png,x\n"
    )
    page.get_by_role("tab", name="Your gallery").click()
    page.set_input_files("#cmr-own-folder input[type=file]", tmp_path / "mine")
    expect(page.locator("#cmr-own-folder .file")).to_have_count(5)
    page.get_by_role("button", name="Build the gallery").click()
    expect(page.locator(".cmr-own-result")).to_contain_text("3 images with their texts")
    expect(page.locator(".cmr-own-result")).to_contain_text("1 image is not in the table")


def test_download_is_opened_by_the_package(page: Page, tmp_path: Path):
    build_to_the_end(page, {"set.zip": PAIRS}, "Squares")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "Squares.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path)
    gallery = Gallery.from_pretrained(tmp_path / "Squares")
    assert len(gallery) == 8
    assert gallery.image(0).size == (60, 40)
    assert gallery.search(text="a red square", k=3)[0].texts[0].endswith(HTML)


HOSTILE = {
    "no zip": ({"set.zip": b"no zip"}, "set.zip is no zip file"),
    "bomb": ({"set.zip": zipped({"bomb.bmp": bytes(30_000_000), **IMAGES})}, "as no image does"),
    "many": ({"set.zip": zipped({f"{i}.png": b"" for i in range(10_000)})}, "holds 10,000 files"),
    "no column": ({"a.csv": b"name,text\nred.png,x\n", **IMAGES}, "no column file_name or image"),
    "missing": ({"set.zip": zipped({"a.csv": b"file_name,text\nmissing.png,x\n", **IMAGES})}, "does not exist"),
    "not UTF-8": ({"a.csv": b"file_name,text\nred.png,\x81\x8d\n", **IMAGES}, "not UTF-8"),
    "long": ({"a.csv": b"file_name,text\nred.png," + b"x" * 1_000_000, **IMAGES}, "field larger"),
    "no images": ({"set.zip": zipped({"run.exe": b"MZ", "readme.md": b"x"})}, "no image in set.zip"),
}


def test_whole_uploads_that_are_refused_say_why_and_the_next_one_is_built(page: Page, space: Any):
    for files, message in HOSTILE.values():
        build(page, files)
        expect(page.locator("#cmr-own-status .cmr-notice")).to_contain_text(message)
        expect(page.get_by_role("button", name="Build the gallery")).to_be_enabled()
    assert files_in(space.galleries.root) == files_in(space.gradio) == []
    build_to_the_end(page, {"set.zip": PAIRS})


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_single_files_that_cannot_be_used_are_left_out_and_named(page: Page, space: Any, tmp_path: Path):
    huge = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(huge, "PNG")
    hostile = {
        "../../evil.png": image(),
        "/tmp/evil.png": image(),
        "C:\\evil.png": image(),
        "huge.png": huge.getvalue(),
        f"{HTML}.png": b"no image",
        "drawing.svg": b"<svg onload='document.title=1'></svg>",
    }
    build_to_the_end(page, {"set.zip": zipped({**IMAGES, **hostile, "run.exe": b"MZ", "__MACOSX/a.png": b"x"})})
    expect(page.locator(".cmr-own-result")).to_contain_text("1 file was neither")
    page.get_by_text("6 left out").click()
    expect(page.locator(".cmr-own-result")).to_contain_text("10000 x 10000 pixels")
    expect(page.locator(".cmr-own-result")).to_contain_text(HTML)
    assert page.title() != "1"
    assert not Path("/tmp/evil.png").exists()
    assert sorted(set(files_in(space.galleries.root))) == sorted(IMAGES)


def test_nothing_chosen_is_a_notice(page: Page):
    page.get_by_role("tab", name="Your gallery").click()
    page.get_by_role("button", name="Build the gallery").click()
    expect(page.locator(".cmr-notice")).to_contain_text("no files yet")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Embedding waits at it."""
    gate = threading.Event()
    embedded = user_galleries.embed

    def waits(items: Any, retriever: Any, title: str, step: Callable) -> Any:
        def gated(share: float, what: str) -> None:
            step(share, what)
            assert gate.wait(30)
            step(share, what)

        return embedded(items, retriever, title, gated)

    monkeypatch.setattr(user_galleries, "embed", waits)
    yield gate
    gate.set()


def test_cancel_while_embedding(page: Page, space: Any, gate: threading.Event):
    build(page, {"set.zip": PAIRS})
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "30")
    expect(page.locator("#cmr-own-status")).to_contain_text("Embedding image 1 to 8 of 8")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#cmr-own-status")).to_contain_text("Cancelled. Nothing was kept.")
    gate.set()
    wait_for(lambda: files_in(space.galleries.root) == files_in(space.gradio) == [])
    build_to_the_end(page, {"set.zip": PAIRS})


def test_second_visitor_waits_for_its_turn_and_sees_nothing_of_the_first(
    page: Page, browser: Any, space: Any, gate: threading.Event
):
    build(page, {"set.zip": PAIRS}, "Secret squares")
    expect(page.locator("#cmr-own-status")).to_contain_text("Embedding")
    context = browser.browser.new_context()
    other = context.new_page()
    other.goto(space.url)
    expect(other.locator(HIT).first).to_be_visible()
    build(other, {"set.zip": zipped(IMAGES)}, "Other squares")
    expect(other.locator("#cmr-own-status")).to_contain_text("Waiting for its turn")
    gate.set()
    for visitor, mine in ((page, "Secret squares"), (other, "Other squares")):
        expect(visitor.get_by_role("button", name="Search it")).to_be_visible()
        assert gallery_choices(visitor) == ["Emoji", mine]
    names = [own.name for own in space.galleries._owns.values()]
    assert len(names) == 2
    client = Client(space.url, verbose=False)
    assert [each["name"] for each in client.predict(api_name="/galleries")] == ["emoji"]
    with pytest.raises(AppError) as refusal:
        client.predict("red", "own-", api_name="/search_text")
    config = httpx.get(f"{space.url}config").text
    for said in (str(refusal.value), config, str(client.view_api(return_format="dict"))):
        assert "Secret" not in said
        assert not any(name in said for name in names)
    context.close()


def test_gallery_goes_soon_after_its_page(page: Page, browser: Any, space: Any):
    other = browser.new_page()
    other.goto(space.url)
    expect(other.locator(HIT).first).to_be_visible()
    build_to_the_end(other, {"set.zip": PAIRS}, "Left")
    with other.expect_download() as download:
        other.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "Left.zip"
    assert files_in(space.gradio) == ["Left.zip"]
    own = next(own for own in space.galleries._owns.values() if own.title == "Left")
    other.close()
    wait_for(lambda: not own.folder.exists())
    wait_for(lambda: files_in(space.gradio) == [])
    assert own.name not in space.galleries.catalogue._own


def test_gallery_stays_over_a_short_loss_of_the_connection(page: Page, space: Any):
    build_to_the_end(page, {"set.zip": PAIRS}, "Kept")
    own = next(own for own in space.galleries._owns.values() if own.title == "Kept")
    space.galleries.leave(own.session)  # as the server does where a page's heartbeat ends
    time.sleep(2 * GRACE)
    assert space.galleries[own.session] is own
    page.get_by_role("button", name="Search it").click()
    expect(page.locator(HIT)).to_have_count(7)


def test_gallery_that_has_expired_is_told_to_the_page(page: Page, space: Any):
    build_to_the_end(page, {"set.zip": PAIRS}, "Expired")
    own = next(own for own in space.galleries._owns.values() if own.title == "Expired")
    space.galleries.forget(own.session)
    expect(page.locator("#cmr-own-status")).to_contain_text("Your gallery was removed")
    assert gallery_choices(page) == ["Emoji"]


@pytest.mark.parametrize("page", [PHONE, {"width": 1440, "height": 900}], indirect=True, ids=["phone", "desk"])
def test_fits_and_is_for_everybody(page: Page, gate: threading.Event):
    def overflow() -> int:
        return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    page.get_by_role("tab", name="Your gallery").click()
    page.get_by_text("Privacy").click()
    page.get_by_text("Limits").click()
    assert serious_findings(page) == []
    build(page, {"set.zip": zipped({**IMAGES, "x" * 100 + ".png": b"broken"})}, "x" * 60)
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert serious_findings(page) == []
    gate.set()
    expect(page.get_by_role("button", name="Search it")).to_be_visible()
    page.get_by_text("1 left out").click()
    assert serious_findings(page) == []
    assert overflow() <= 0
