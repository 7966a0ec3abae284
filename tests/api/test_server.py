"""The API as its own process: `cmr serve --api`."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from small_space import save_gallery

pytestmark = pytest.mark.slow
LONG = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_gallery(tmp_path_factory.mktemp("api"))


@pytest.fixture
def server(folder):
    """The process and its address."""
    words = [sys.executable, "-m", "cmr_hub.cli", "serve", "--api", "--gallery", str(folder), "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if match := re.search(r"running on (http://\S+)", line):
            break
    else:
        pytest.fail("".join(said))
    rest = threading.Thread(target=process.stderr.read, daemon=True)
    rest.start()
    yield process, match[1]
    process.kill()
    process.wait(LONG)
    process.stderr.close()


def test_a_signal_to_stop_loses_no_request_in_flight(server):
    process, url = server
    sent, answered = [], []

    def ask(number):
        with httpx.Client(base_url=url, timeout=LONG) as client:
            while client.get("/health").status_code == 200:
                sent.append(number)
                answered.append(client.post("/search", json={"text": "red", "k": 2}).status_code)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    while len(answered) < 50:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(LONG)
    assert process.wait(LONG) in (0, -signal.SIGTERM)
    assert set(answered) == {200}
    assert len(sent) == len(answered)
