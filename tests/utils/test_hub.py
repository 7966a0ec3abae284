"""Finding checkpoints, with the real huggingface_hub client against a Hub on the loopback."""

from __future__ import annotations

import errno
import urllib.request
from pathlib import Path

import pytest

from cmr_hub.errors import CheckpointError, CheckpointNotFoundError
from cmr_hub.utils import hub
from hub_server import TOKEN, HubServer
from small_checkpoints import contents


class TestLookup:
    def test_a_folder_is_itself(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
        assert hub.resolve(checkpoint) == checkpoint
        assert hub.resolve(str(checkpoint)) == checkpoint
        monkeypatch.chdir(checkpoint.parent)
        assert hub.resolve("checkpoint") == Path("checkpoint")

    def test_bundled_comes_before_the_hub(self, connected: HubServer, bundled: Path):
        connected.add_repo("cmr/dscmr-emoji", {"config.json": b"{}"})
        assert hub.resolve("cmr/dscmr-emoji") == bundled / "dscmr-emoji"
        assert connected.requests == []

    def test_a_revision_or_a_forced_download_goes_to_the_hub(self, connected: HubServer, bundled: Path):
        connected.add_repo("cmr/dscmr-emoji", {"config.json": b'{"from": "main"}'})
        connected.add_repo("cmr/dscmr-emoji", {"config.json": b'{"from": "v2"}'}, branch="v2")
        assert "v2" in (hub.resolve("cmr/dscmr-emoji", revision="v2") / "config.json").read_text()
        assert "main" in (hub.resolve("cmr/dscmr-emoji", force_download=True) / "config.json").read_text()
        with pytest.raises(CheckpointNotFoundError, match="has no revision 'v3'"):
            hub.resolve("cmr/dscmr-emoji", revision="v3")

    def test_bundled_but_a_revision_is_wanted_offline(self, connected: HubServer, bundled: Path, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointNotFoundError, match="'cmr/cca-wiki' is bundled, but a given revision"):
            hub.resolve("cmr/cca-wiki", revision="v2")

    def test_the_cache_serves_when_the_hub_is_away(self, connected: HubServer, checkpoint: Path, monkeypatch):
        connected.add_repo("me/x", contents(checkpoint))
        fetched = hub.resolve("me/x")
        connected.stop()
        assert hub.resolve("me/x") == fetched
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert hub.resolve("me/x") == fetched
        assert contents(fetched) == contents(checkpoint)

    def test_offline_with_nothing_cached(self, connected: HubServer, bundled: Path, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointNotFoundError) as caught:
            hub.resolve("cmr/dscmr-emojis")
        message = str(caught.value)
        assert "Known: cmr/cca-wiki, cmr/dscmr-emoji" in message
        assert "Did you mean 'cmr/dscmr-emoji'" in message
        assert "Offline mode is on" in message
        assert caught.value.__suppress_context__  # one error, not a stack of them
        assert connected.requests == []

    def test_the_hub_is_away_and_nothing_is_cached(self, connected: HubServer, bundled: Path):
        connected.stop()
        with pytest.raises(CheckpointNotFoundError, match=r"Known: cmr/cca-wiki.* cannot be reached"):
            hub.resolve("cmr/other")

    def test_an_unknown_id_suggests_near_names(self, connected: HubServer, bundled: Path):
        with pytest.raises(CheckpointNotFoundError, match=r"Did you mean 'cmr/dscmr-emoji'.*The Hub has none"):
            hub.resolve("cmr/dscrm-emoji")
        with pytest.raises(CheckpointNotFoundError, match="Did you mean 'cmr/cca-wiki'"):
            hub.resolve("cca-wiki")

    def test_a_gated_repo_asks_for_a_token(self, connected: HubServer, checkpoint: Path):
        connected.add_repo("me/gated", contents(checkpoint), gated=True)
        for force in (False, True):
            with pytest.raises(CheckpointNotFoundError, match=r"'me/gated' is gated: ask for access.*token="):
                hub.resolve("me/gated", force_download=force)
        assert contents(hub.resolve("me/gated", token=TOKEN)) == contents(checkpoint)

    def test_a_refused_token_is_named(self, connected: HubServer, checkpoint: Path):
        connected.add_repo("me/x", contents(checkpoint))
        with pytest.raises(CheckpointNotFoundError, match=r"refused the access token \(status 401\)"):
            hub.resolve("me/x", token="hf_wrong")

    def test_a_full_disk_is_named(self, monkeypatch: pytest.MonkeyPatch):
        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(hub, "snapshot_download", full)
        with pytest.raises(CheckpointError, match=r"cannot be stored in .*: No space left on device"):
            hub.resolve("me/x")

    @pytest.mark.parametrize("name", ["", "a b", "cmr/", "-x", "me/x--y", "x" * 200, "wîki", "me/x\0"])
    def test_what_is_no_repo_id_says_so(self, name: str):
        with pytest.raises(CheckpointNotFoundError, match="neither a folder on this machine nor a repo id"):
            hub.resolve(name)

    @pytest.mark.parametrize(
        "name", ["./nowhere", "/no/where", "~/nowhere", "~nobody-of-this-name/x", "a/b/c", "..\\x", Path("nowhere")]
    )
    def test_a_path_that_does_not_exist_says_so(self, name: str | Path):
        with pytest.raises(CheckpointNotFoundError, match="There is no folder"):
            hub.resolve(name)

    @pytest.mark.parametrize("name", ["cmr/../x", "cmr/..", "cmr/../../etc"])
    def test_an_id_that_leads_out_is_refused(self, name: str, bundled: Path, monkeypatch: pytest.MonkeyPatch):
        (bundled.parent / "cmr").mkdir()
        (bundled.parent / "x").mkdir()
        monkeypatch.chdir(bundled.parent)
        with pytest.raises(CheckpointNotFoundError, match="leads out of cmr/"):
            hub.resolve(name)

    def test_a_file_is_no_checkpoint(self, checkpoint: Path):
        with pytest.raises(CheckpointError, match="Give the folder that holds it"):
            hub.resolve(checkpoint / "model.safetensors")


class TestOnlyKnownFiles:
    def test_pickles_are_never_downloaded(self, connected: HubServer, checkpoint: Path):
        pickles = dict.fromkeys(["pytorch_model.bin", "a/b.pkl", "c.pt", "code.py", "optimizer.pth"], b"\x80\x04.")
        connected.add_repo("me/x", contents(checkpoint) | pickles)
        assert contents(hub.resolve("me/x")) == contents(checkpoint)
        asked = " ".join(path for _, path in connected.requests)
        assert "model.safetensors" in asked
        assert not [name for name in pickles if name in asked]

    def test_a_repo_of_nothing_else_is_no_checkpoint(self, connected: HubServer):
        connected.add_repo("me/x", {"pytorch_model.bin": b"\x80\x04."})
        with pytest.raises(CheckpointError, match=r"no cmr_hub checkpoint: it has no config.json.*never pickles"):
            hub.resolve("me/x")


def test_the_loopback_hub_serves_ranges(hub_server: HubServer):
    hub_server.add_repo("me/x", {"model.safetensors": b"0123456789"})
    request = urllib.request.Request(
        f"{hub_server.url}/me/x/resolve/main/model.safetensors", headers={"Range": "bytes=4-"}
    )
    with urllib.request.urlopen(request) as response:
        assert (response.status, response.read()) == (206, b"456789")
