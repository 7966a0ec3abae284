"""Images by their address, from a server on loopback that counts as public here."""

from __future__ import annotations

from pathlib import Path

import pytest
import safehttpx

from aside import run_aside
from cmr_hub.errors import InputError
from cmr_hub.space.services import received_files
from cmr_hub.space.serving import downloads
from cmr_hub.space.serving.downloads import download_public, is_address
from file_server import FileServer


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(received_files.VARIABLE, str(tmp_path / "space"))
    return received_files.receive_privately()


@pytest.fixture
def web(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """A server that is public as far as it goes under the name "public"."""
    validate = safehttpx.async_validate_url

    async def public(host: str) -> str:
        return "127.0.0.1" if host == "public" else await validate(host)

    monkeypatch.setattr(safehttpx, "async_validate_url", public)
    server.url = server.url.replace("127.0.0.1", "public")
    server.files["/a%20b.png?x=../y.png"] = b"x" * 1000
    return server


def download(address: str) -> Path:
    return run_aside(download_public(address))


def test_image_of_a_public_address_is_received_as_an_upload(web: FileServer):
    web.redirects["/start"] = f"{web.url}/a%20b.png?x=../y.png"
    path = download(f"{web.url}/start")
    assert received_files.received_file(str(path)).read_bytes() == b"x" * 1000
    assert path.name == "a b.png"


def test_what_is_not_given_or_too_much_leaves_nothing(web: FileServer, private: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="gives no image"):
        download(f"{web.url}/missing.png")
    monkeypatch.setattr(downloads, "MAX_BYTES", 999)
    with pytest.raises(InputError, match="Save it smaller"):
        download(f"{web.url}/a%20b.png?x=../y.png")
    assert list(private.iterdir()) == []


def test_a_redirection_leads_to_public_hosts_only_and_not_in_circles(web: FileServer, nobody: None):
    web.redirects |= {"/in": web.url.replace("public", "127.0.0.1") + "/secret", "/circle": f"{web.url}/circle"}
    web.files["/secret"] = b"secret"
    for start in ("/in", "/circle"):
        with pytest.raises(InputError, match="gives no image"):
            download(web.url + start)
    assert "/secret" not in [path for path, _ in web.requests]


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name server outside is asked."""

    async def unknown(host: str) -> list[str]:
        return []

    monkeypatch.setattr(safehttpx, "async_resolve_hostname_google", unknown)


@pytest.mark.parametrize(
    "address",
    [
        *("http://127.0.0.1:1/a.png", "http://localhost/a.png", "http://[::1]/a.png", "http://169.254.169.254/latest"),
        *("http://0/a.png", "http://10.0.0.1/", "http://", "http://a:b:c/", "file:///etc/passwd", "http://\x00/"),
        "http://a/" + "x" * 5000,
    ],
)
def test_hosts_that_are_not_public_are_not_asked(address: str, private: Path, nobody: None):
    with pytest.raises(InputError, match="gives no image"):
        download(address)
    assert list(private.iterdir()) == []


def test_what_is_written_as_an_address():
    assert is_address("HTTP://a/b.png")
    assert not any(map(is_address, ("ftp://a", "/a.png", "", None, 3, "x http://a")))
