"""Publishing, with the real huggingface_hub client against a Hub on the loopback."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from cmr_hub import hub
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError
from hub_server import TOKEN, HubServer, run_client
from small_checkpoints import contents


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
            (
                "README.md",
                b"---\nlicense: mit\nweights_xxh3_128: 0f\n---\n",
                "README.md gives the figures of other weights: write it again with `cmr publish`",
            ),
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
    def test_pickles_and_training_state(self, connected: HubServer, checkpoint: Path, name: str):
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_bytes(save({"a": np.zeros(1)}))
        with pytest.raises(CheckpointError, match=f"training state, which are never published: {name}"):
            hub.push_folder(checkpoint, "me/x", token=TOKEN)
        assert connected.requests == []
