"""Finding, listing and publishing, with the real huggingface_hub client against a Hub on the loopback."""

from __future__ import annotations

import errno
import json
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from cmr_hub.errors import CheckpointError, CheckpointNotFoundError
from cmr_hub.utils import hub
from hub_server import TOKEN, HubServer, run_client

CARD = """\
---
license: apache-2.0
model-index:
- name: dscmr-emoji
  results:
  - task: {type: cross-modal-retrieval}
    dataset: {name: Emoji, type: emoji, split: test}
    metrics:
    - {type: map_i2t, value: 0.62}
---
# A checkpoint
"""


def make_checkpoint(folder: Path, *, method: str = "dscmr", image_encoder: str = "efficientnet-lite0") -> Path:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text(json.dumps({"model_type": method}))
    encoders = {"image_encoder": {"name": image_encoder}, "text_encoder": {"name": "glove"}}
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "CMRProcessor", **encoders}))
    save_file({"weight": np.arange(2000, dtype=np.float32)}, folder / "model.safetensors")
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "emoji.yaml").write_text("- dataset: {id: cmr/emoji, task_id: a}\n  value: 0.62\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled checkpoints that holds dscmr-emoji and cca-wiki."""
    folder = tmp_path / "model_cards"
    make_checkpoint(folder / "dscmr-emoji")
    make_checkpoint(folder / "cca-wiki", method="cca", image_encoder="precomputed")
    monkeypatch.setattr(hub, "bundled_folder", lambda: folder)
    return folder


@pytest.fixture
def connected(hub_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The loopback Hub, with this process as its client and an empty cache."""
    hub_server.connect(monkeypatch, tmp_path / "home")
    return hub_server


class TestRoundTrip:
    def test_a_pushed_folder_comes_back_byte_for_byte(self, connected: HubServer, checkpoint: Path):
        url = hub.push_folder(checkpoint, "me/dscmr-emoji", token=TOKEN)
        assert url == f"{connected.url}/me/dscmr-emoji"
        fetched = hub.resolve("me/dscmr-emoji")
        assert fetched != checkpoint
        assert contents(fetched) == contents(checkpoint) == connected.files("me/dscmr-emoji")

    def test_an_unpinned_revision_is_updated_and_a_commit_stays(self, connected: HubServer, checkpoint: Path):
        hub.push_folder(checkpoint, "me/x", token=TOKEN)
        first = hub.resolve("me/x")
        (checkpoint / "config.json").write_text('{"model_type": "cca"}')
        hub.push_folder(checkpoint, "me/x", token=TOKEN)
        assert "cca" in (hub.resolve("me/x") / "config.json").read_text()
        assert hub.resolve("me/x", revision=first.name) == first

    def test_a_branch_is_made_for_a_revision(self, connected: HubServer, checkpoint: Path):
        hub.push_folder(checkpoint, "me/x", token=TOKEN, revision="next")
        assert connected.files("me/x") == {}
        assert contents(hub.resolve("me/x", revision="next")) == contents(checkpoint)

    def test_a_private_repo_is_made_private(self, connected: HubServer, checkpoint: Path):
        hub.push_folder(checkpoint, "me/x", token=TOKEN, private=True)
        with pytest.raises(CheckpointNotFoundError, match=r"private: then pass token"):
            hub.resolve("me/x")
        assert contents(hub.resolve("me/x", token=TOKEN)) == contents(checkpoint)

    def test_a_gallery_is_a_dataset_repo(self, connected: HubServer, tmp_path: Path):
        gallery = tmp_path / "gallery"
        gallery.mkdir()
        (gallery / "README.md").write_text("---\nlicense: mit\n---\n")
        (gallery / "items.parquet").write_bytes(b"PAR1")
        with pytest.raises(CheckpointError, match=r"gallery\.json is missing"):
            hub.push_folder(gallery, "me/g", repo_type="dataset", required=["gallery.json"], token=TOKEN)
        url = hub.push_folder(gallery, "me/g", repo_type="dataset", required=["items.parquet"], token=TOKEN)
        assert url == f"{connected.url}/datasets/me/g"
        assert contents(hub.resolve("me/g", repo_type="dataset")) == contents(gallery)

    @pytest.mark.slow
    def test_processes_that_know_the_hub_by_their_environment_only(
        self, hub_server: HubServer, checkpoint: Path, tmp_path: Path
    ):
        online = run_client(
            f"""
            from cmr_hub.hub import push_folder, resolve
            push_folder({str(checkpoint)!r}, "me/x")
            print(resolve("me/x"))
            """,
            hub_server.env(tmp_path / "home", HF_TOKEN=TOKEN),
        )
        assert online.returncode == 0, online.stderr
        assert contents(Path(online.stdout.strip())) == contents(checkpoint)
        hub_server.stop()
        offline = run_client(
            """
            from cmr_hub.hub import resolve
            print(resolve("me/x"))
            resolve("cmr/nothing-of-this-name")
            """,
            hub_server.env(tmp_path / "home", HF_HUB_OFFLINE="1"),
        )
        assert offline.stdout == online.stdout
        assert offline.returncode == 1
        assert "CheckpointNotFoundError: There is no bundled checkpoint named 'cmr/nothing" in offline.stderr
        assert offline.stderr.count("Traceback") == 1


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
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointNotFoundError, match="'cmr/cca-wiki' is bundled, but a given revision"):
            hub.resolve("cmr/cca-wiki", revision="v2")

    def test_the_cache_serves_when_the_hub_is_away(self, connected: HubServer, checkpoint: Path, monkeypatch):
        hub.push_folder(checkpoint, "me/x", token=TOKEN)
        fetched = hub.resolve("me/x")
        connected.stop()
        assert hub.resolve("me/x") == fetched
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
        assert hub.resolve("me/x") == fetched
        assert contents(fetched) == contents(checkpoint)

    def test_offline_with_nothing_cached(self, connected: HubServer, bundled: Path, monkeypatch):
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
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


class TestPicklesStayOut:
    def test_they_are_never_downloaded(self, connected: HubServer, checkpoint: Path):
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

    @pytest.mark.parametrize(
        "name",
        [
            "training_args.bin",
            "sub/weights.PT",
            "tfidf.pkl",
            "scheduler.pt",
            "vectors.npy",
            "optimizer.safetensors",
            "checkpoint-500/trainer_state.json",
        ],
    )
    def test_they_are_never_published(self, connected: HubServer, checkpoint: Path, name: str):
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_bytes(save({"a": np.zeros(1)}))
        with pytest.raises(CheckpointError, match=f"training state, which are never published: {name}"):
            hub.push_folder(checkpoint, "me/x", token=TOKEN)
        assert connected.requests == []


class TestPublishing:
    @pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
    def test_a_missing_file(self, connected: HubServer, checkpoint: Path, name: str):
        (checkpoint / name).unlink()
        with pytest.raises(CheckpointError, match=f"cannot be published: {name} is missing"):
            hub.push_folder(checkpoint, "me/x", token=TOKEN)
        assert connected.requests == []

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("model.safetensors", b"", "model.safetensors is corrupt"),
            ("model.safetensors", b"\x80\x04 a pickle", "model.safetensors is corrupt"),
            ("model.safetensors", save({"a": np.zeros(9)})[:-1], "model.safetensors is corrupt"),
            ("model.safetensors", save({}), "model.safetensors holds no tensors"),
            ("text.safetensors", b"1234", "text.safetensors is corrupt"),
            ("README.md", b"# no metadata", "no metadata block that names a license"),
            ("README.md", b"---\ntags: [a]\n---\n", "no metadata block that names a license"),
            ("README.md", b"---\nlicense: [\n---\n", "cannot be parsed"),
            ("config.json", b"{}", "config.json names no model_type"),
            ("config.json", b"{", "config.json is no valid JSON"),
            ("config.json", b"[]", "must hold a JSON object, and holds a list"),
        ],
    )
    def test_a_damaged_file(self, connected: HubServer, checkpoint: Path, name: str, content: bytes, reason: str):
        (checkpoint / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=reason):
            hub.push_folder(checkpoint, "me/x", token=TOKEN)
        assert connected.requests == []

    def test_everything_wrong_is_said_at_once(self, checkpoint: Path):
        (checkpoint / "README.md").unlink()
        (checkpoint / "model.safetensors").write_bytes(b"")
        with pytest.raises(CheckpointError, match=r"README.md is missing; model.safetensors is corrupt"):
            hub.check_publishable(checkpoint)

    def test_no_folder(self, tmp_path: Path):
        with pytest.raises(CheckpointError, match="There is no folder"):
            hub.push_folder(tmp_path / "nowhere", "me/x")

    def test_no_repo_id(self, checkpoint: Path):
        with pytest.raises(CheckpointNotFoundError, match="nor a repo id"):
            hub.push_folder(checkpoint, "me/x y")

    @pytest.mark.parametrize("token", [None, "hf_wrong"])
    def test_the_hub_wants_a_token(self, connected: HubServer, checkpoint: Path, token: str | None):
        with pytest.raises(CheckpointError, match=r"could not be published.*token that may write there: pass token="):
            hub.push_folder(checkpoint, "me/x", token=token)
        assert connected.repos == {}

    def test_the_hub_is_away(self, connected: HubServer, checkpoint: Path):
        connected.stop()
        with pytest.raises(CheckpointError, match=r"could not be published.*cannot be reached"):
            hub.push_folder(checkpoint, "me/x", token=TOKEN)

    def test_other_files_are_left_out_aloud(self, connected: HubServer, checkpoint: Path, caplog):
        expected = contents(checkpoint)
        (checkpoint / "notes.docx").write_bytes(b"private")
        shutil.copytree(checkpoint, checkpoint / ".writing-abc")  # what an interrupted save leaves
        hub.push_folder(checkpoint, "me/x", token=TOKEN)
        assert connected.files("me/x") == expected
        assert "notes.docx" in caplog.text
        assert ".writing" not in caplog.text


class TestListing:
    def test_what_a_checkpoint_says_of_itself(self, bundled: Path):
        cca, dscmr = hub.list_checkpoints()
        assert (dscmr.repo_id, dscmr.method, dscmr.dataset) == ("cmr/dscmr-emoji", "dscmr", "emoji")
        assert (dscmr.license, dscmr.image_input, dscmr.text_input) == ("apache-2.0", "efficientnet-lite0", "glove")
        assert dscmr.accepts_raw_images
        assert [(result.metric_type, result.metric_value) for result in dscmr.metrics] == [("map_i2t", 0.62)]
        assert (cca.repo_id, cca.accepts_raw_images, cca.accepts_raw_texts) == ("cmr/cca-wiki", False, True)

    @pytest.mark.parametrize("pattern", ["cca*", "cmr/*wiki", "*-wiki"])
    def test_a_pattern_matches_name_or_id(self, bundled: Path, pattern: str):
        assert [info.repo_id for info in hub.list_checkpoints(pattern)] == ["cmr/cca-wiki"]

    def test_nothing_bundled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(hub, "bundled_folder", lambda: tmp_path / "absent")
        assert hub.list_checkpoints() == []

    @pytest.mark.parametrize("name", ["README.md", "processor_config.json"])
    def test_a_damaged_one_is_named(self, bundled: Path, name: str):
        (bundled / "cca-wiki" / name).unlink()
        with pytest.raises(CheckpointError, match=f"cca-wiki .*{name}"):
            hub.list_checkpoints()


def test_the_loopback_hub_serves_ranges(hub_server: HubServer):
    hub_server.add_repo("me/x", {"model.safetensors": b"0123456789"})
    request = urllib.request.Request(
        f"{hub_server.url}/me/x/resolve/main/model.safetensors", headers={"Range": "bytes=4-"}
    )
    with urllib.request.urlopen(request) as response:
        assert (response.status, response.read()) == (206, b"456789")
