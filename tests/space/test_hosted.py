"""The Space as a host runs it: by its entry point, without a home to write to, under a path behind a proxy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from gradio_client import Client, handle_file

from browsing import HIT, expect
from reverse_proxy import free_port, reverse_proxy

ROOT = Path(__file__).resolve().parents[2]
PATH = "/spaces/cmr"
PATIENCE = 120.0
FOLDERS = ("HF_HOME", "CMR_HUB_CACHE", "XDG_CACHE_HOME", "GRADIO_TEMP_DIR")  # of other tests in this process

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the Space behind the proxy. When it is terminated, nothing of its visitors stays."""
    temporary = tmp_path_factory.mktemp("temporary")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if name not in FOLDERS}
    # Nobody can make a folder in there, not even root.
    environ = {**kept, "HOME": "/proc/nobody", "SPACE_ID": "cmr/space", "CMR_HUB_PREPARE": "0"}
    environ |= {"TMPDIR": str(temporary), "GRADIO_SERVER_PORT": str(port), "GRADIO_ROOT_PATH": PATH}
    process = subprocess.Popen([sys.executable, "space_app.py"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)
    try:
        inner = f"http://127.0.0.1:{port}"
        wait_for(inner, process)
        with reverse_proxy(inner, PATH) as address:
            yield address
    finally:
        private = [path.name for path in temporary.glob("cmr-*") if path.is_dir()]
        process.terminate()
        process.wait()
    assert {name.rpartition("-")[0] for name in private} == {"cmr-own", "cmr-space"}
    assert list(temporary.glob("cmr-*")) == []
    assert process.returncode == 0


def wait_for(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(address).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"The Space did not start (exit status {process.poll()}).")


def test_page_works_under_a_path(hosted: str, browser: Any, image_file: Path):
    page = browser.new_page()
    complaints, addresses = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: addresses.append(sent.url))
    page.goto(hosted)
    expect(page.locator(HIT)).to_have_count(12)
    page.fill("#cmr-text textarea", "fire engine")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("h2.cmr-asked")).to_have_text("“fire engine”")
    expect(page).to_have_url(re.compile(re.escape(f"{hosted}?gallery=emoji")))
    page.set_input_files("#cmr-image input[type=file]", image_file)
    expect(page.locator(".cmr-texts .cmr-hit")).to_have_count(12)
    page.close()
    assert complaints == []
    sent = [urlsplit(address) for address in addresses if address.startswith("http")]
    assert {address.netloc for address in sent} == {urlsplit(hosted).netloc}
    outside = [address.path for address in sent if not address.path.startswith(PATH)]
    assert set(outside) <= {"/favicon.ico"}  # browsers ask for it by themselves


def test_api_works_under_a_path(hosted: str, image_file: Path, tmp_path: Path):
    client = Client(hosted, verbose=False, download_files=str(tmp_path))
    assert len(client.predict("smiling cat", k=3, api_name="/search_text")) == 3
    hits = client.predict(handle_file(image_file), target="image", k=1, api_name="/search_image")
    assert hits[0]["id"] == "1F436"


def test_repository_is_a_space_as_it_stands():
    _, front_matter, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(front_matter)
    assert settings["sdk"] == "gradio"
    assert (ROOT / settings["app_file"]).is_file()
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert f"gradio>={'.'.join(settings['sdk_version'].split('.')[:2])}\n" in required
    assert len(settings["short_description"]) <= 60  # the Hub refuses longer ones
