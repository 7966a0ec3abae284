import json
import re
from pathlib import Path

import pytest
from datasets import DatasetDict
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import cmr_hub
from cmr_hub.cli.main import main as cmr
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, InputError
from cmr_hub.experiments import publish as publish_module
from cmr_hub.experiments.publish import Terms, credits_of, publish, refresh_cards, reproduced
from cmr_hub.experiments.table import Checkpoint
from cmr_hub.hub.weights import weights_digest
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.train import train
from hub_server import TOKEN
from small_checkpoints import contents
from small_results import small_results, small_row
from toys import feature_dataset, feature_retriever


@pytest.fixture
def checkpoint(tmp_path):
    dataset = DatasetDict(train=feature_dataset(60), test=feature_dataset(30, 1, "test"))
    recipe = load_recipe("cca", "wiki").changed(config={"embed_dim": 3})
    train(recipe, dataset, "wiki", tmp_path / "run", command="cmr train --method cca --dataset wiki")
    return tmp_path / "run"


def test_a_finished_repo_in_a_folder(checkpoint, tmp_path):
    folder = publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "repo")
    assert folder == str(tmp_path / "repo")
    names = {path.relative_to(folder).as_posix() for path in (tmp_path / "repo").rglob("*") if path.is_file()}
    assert names == {
        ".eval_results/wiki.yaml",
        "README.md",
        "checksums.json",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "training_run.json",
    }
    card = ModelCard.load(tmp_path / "repo" / "README.md")
    assert card.data.tags[:3] == ["cross-modal-retrieval", "image-text-retrieval", "cca"]
    measured = TrainingRun.load(checkpoint).results[0]["metrics"]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == measured
    for said in ("cmr train --method cca --dataset wiki", "Hotelling", "0.249", "Rasiwasia"):
        assert said in card.text
    assert not (checkpoint / "README.md").exists()


def test_the_card_gives_the_digest_of_the_weights_that_were_measured(checkpoint, tmp_path):
    folder = Path(publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "repo"))
    assert ModelCard.load(folder / "README.md").data["weights_xxh3_128"] == weights_digest(checkpoint)
    retrained = load_file(checkpoint / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in retrained.items()}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"training_run\.json is of other weights"):
        publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_folder_that_holds_something_else_is_left_as_it_is(checkpoint, tmp_path):
    publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "repo")
    publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "repo")  # the same again
    retriever = cmr_hub.from_pretrained(checkpoint)
    other = tmp_path / "other"
    feature_retriever("dscmr").save_pretrained(other)
    digest = weights_digest(other)
    with pytest.raises(InputError, match=r"other holds another checkpoint than .*run: give another folder"):
        publish(checkpoint, "cmr/cca-wiki", output_dir=other)
    assert weights_digest(other) == digest
    cmr_hub.Gallery.from_dataset(feature_dataset(9), retriever).save_pretrained(tmp_path / "gallery")
    with pytest.raises(InputError, match="gallery holds a gallery: give another folder"):
        publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "gallery")
    assert not (tmp_path / "gallery" / "README.md").exists()


def test_to_the_hub_and_back(checkpoint, hub_server, tmp_path, monkeypatch):
    hub_server.connect(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish(checkpoint, "me/cca-wiki")
    loaded = cmr_hub.from_pretrained("me/cca-wiki")
    assert loaded.fingerprint == cmr_hub.from_pretrained(checkpoint).fingerprint
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in hub_server.files("me/cca-wiki"))


def measured_again(monkeypatch, checkpoint, method="cca", **changes):
    """Let the repository have results of the recipe of a checkpoint, with other settings where they are given."""
    settings = {**Checkpoint(checkpoint, TrainingRun.load(checkpoint)).settings, **changes.pop("settings", {})}
    row = small_row(method, 0.4, seeds=(), settings=settings, **changes.pop("row", {}))
    monkeypatch.setattr(publish_module, "stored_results", lambda dataset: small_results(dataset, [row], **changes))


def test_the_card_has_what_its_recipe_gives_over_seeds(checkpoint, tmp_path, monkeypatch):
    measured_again(monkeypatch, checkpoint, settings={"dtype": "float16"})  # the same recipe, stored otherwise
    publish(checkpoint, "cmr/cca-wiki", output_dir=tmp_path / "repo")
    text = (tmp_path / "repo" / "README.md").read_text()
    assert "## Trained again" in text
    assert "| dscmr | map | .400 | 1 |" in text
    assert "cmr reproduce --dataset wiki" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"embed_dim": 4}},
        {"settings": {"another": 1}},
        {"settings": {"image": "vgg19"}},
        {"method": "gma"},
        {"row": {"bits": 16}},
        {"complete": False},
    ],
)
def test_figures_of_another_recipe_or_of_other_data_are_not_its_own(checkpoint, monkeypatch, changes):
    trained = Checkpoint(checkpoint, TrainingRun.load(checkpoint))
    measured_again(monkeypatch, checkpoint)
    assert reproduced(trained).figures
    measured_again(monkeypatch, checkpoint, **changes)
    assert reproduced(trained) is None
    monkeypatch.setattr(publish_module, "stored_results", lambda dataset: None)
    assert reproduced(trained) is None


def test_cards_are_refreshed_and_nothing_else(checkpoint, tmp_path, monkeypatch):
    folder = tmp_path / "cards" / "cca-wiki"
    publish(checkpoint, "cmr/cca-wiki", output_dir=folder)
    elsewhere = tmp_path / "cards" / "cca-emoji"
    publish(checkpoint, "cmr/cca-emoji", output_dir=elsewhere)
    record = json.loads((elsewhere / "training_run.json").read_text())
    (elsewhere / "training_run.json").write_text(json.dumps({**record, "dataset": "emoji"}))
    before = {path: path.read_bytes() for path in (tmp_path / "cards").rglob("*") if path.is_file()}
    measured_again(monkeypatch, checkpoint)
    known = {"cmr/cca-emoji": elsewhere, "cmr/cca-wiki": folder}
    monkeypatch.setattr(publish_module, "bundled_checkpoints", lambda: known)
    assert refresh_cards("wiki") == [folder / "README.md"]
    after = {path: path.read_bytes() for path in (tmp_path / "cards").rglob("*") if path.is_file()}
    assert [path for path in after if after[path] != before.get(path)] == [folder / "README.md"]
    assert refresh_cards("wiki") == [folder / "README.md"]
    assert {path: path.read_bytes() for path in after} == after


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"training_run\.json"):
        publish(tmp_path, "me/nothing")
    (tmp_path / "training_run.json").write_text(json.dumps({"method": "cca"}))
    with pytest.raises(CheckpointError, match="another version"):
        publish(tmp_path, "me/nothing")
    with pytest.raises(CheckpointNotFoundError, match=r"'me and you/nothing' is neither"):
        publish(tmp_path, "me and you/nothing", output_dir=tmp_path / "finished")


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys, caplog):
    folder = str(tmp_path / "cca-emoji")
    training = ["train", "--method", "cca", "--dataset", "emoji", "--output-dir", folder]
    with caplog.at_level("INFO"):
        assert cmr(training) == 0
    assert "protocol dscmr" in caplog.text
    assert f"Saved in {folder}." in caplog.text
    figures = tmp_path / "figures.json"
    again = ["--dataset", "emoji", "--protocols", "djsrh", "--record", "--json", str(figures)]
    assert cmr(["evaluate", "--checkpoint", folder, *again]) == 0
    assert [entry["weights"] for entry in json.loads(figures.read_text())] == [weights_digest(tmp_path / "cca-emoji")]
    assert [entry["protocol"] for entry in TrainingRun.load(tmp_path / "cca-emoji").results] == ["dscmr", "djsrh"]
    repo = tmp_path / "repo"
    with caplog.at_level("INFO"):
        assert cmr(["publish", "--checkpoint", folder, "--repo-id", "cmr/x", "--output-dir", str(repo)]) == 0
    assert f"Written to {repo}. Read its README.md; without --output-dir it goes to the Hub as cmr/x." in caplog.text
    assert "djsrh" in (repo / "README.md").read_text()
    capsys.readouterr()
    assert cmr(training) == 1
    assert "holds a finished run: give another folder, add --resume to leave it" in capsys.readouterr().err
    assert cmr(["train", "--method", "dscrm", "--dataset", "emoji", "--output-dir", folder]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("UnknownNameError: There is no method named 'dscrm'. Did you mean")


def test_the_card_of_a_hashing_method_speaks_of_codes(tmp_path):
    dataset = DatasetDict(train=feature_dataset(60), test=feature_dataset(30, 1, "test"))
    recipe = load_recipe("sh", "wiki").changed(encoders={"image": "precomputed", "text": "precomputed"})
    train(recipe.with_bits(16), dataset, "wiki", tmp_path / "run")
    publish(tmp_path / "run", "cmr/sh-wiki", output_dir=tmp_path / "repo")
    card = ModelCard.load(tmp_path / "repo" / "README.md")
    assert "hashing" in card.data.tags
    for said in ("np.bitwise_count", "packed eight bits a byte", "A Hamming distance has few values"):
        assert said in card.text


class TestOwnData:
    @pytest.fixture
    def own(self, tmp_path):
        """A checkpoint that was trained on somebody's own folder."""
        dataset = DatasetDict(train=feature_dataset(60), test=feature_dataset(30, 1, "test"))
        recipe = load_recipe("semantic_matching", "folder")
        recipe = recipe.changed(encoders={"image": "precomputed", "text": "precomputed"})
        command = "cmr train --dataset folder --data-dir '/home/ann/my stamps' --output-dir ~/runs/stamps"
        train(recipe, dataset, "folder", tmp_path / "run", command=command, data_dir=Path("/home/ann/my stamps"))
        return tmp_path / "run"

    def published(self, own, tmp_path, **terms):
        publish(own, "ann/stamps", output_dir=tmp_path / "repo", terms=Terms(**{"license": "cc-by-4.0", **terms}))
        return ModelCard.load(tmp_path / "repo" / "README.md")

    def test_the_licence_is_asked_for_and_nothing_is_written(self, own, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        for output_dir in (None, tmp_path / "repo"):
            with pytest.raises(InputError, match="licence they are under is for you to say: add --license"):
                publish(own, "ann/stamps", output_dir=output_dir)
        assert sorted(tmp_path.rglob("*")) == before

    def test_what_it_says_is_right(self, own, tmp_path):
        card = self.published(own, tmp_path)
        assert card.data.license == "cc-by-4.0"
        assert card.data.get("datasets") is None
        for said in (
            "trained on the author's own images and texts: it embeds",
            "whose licence is: not stated. The weights are under `cc-by-4.0`.",
            "author's own images and texts alone (a, b, c): what lies outside these classes",
        ):
            assert said in card.text
        assert "]()" not in card.text

    def test_the_data_are_named_as_their_owner_names_them(self, own, tmp_path):
        url = "https://huggingface.co/datasets/ann/stamps"
        card = self.published(own, tmp_path, data_title="Ann's stamps", data_license="CC0", data_url=url)
        assert card.data.datasets == ["ann/stamps"]
        assert f"Trained on [Ann's stamps]({url}), whose licence is: CC0." in card.text

    def test_nothing_private_is_in_it(self, own, tmp_path):
        self.published(own, tmp_path)
        for path in (tmp_path / "repo").rglob("*"):
            if path.is_file():
                assert not re.search(rb"/home|/ann/my|~/|" + str(tmp_path).encode(), path.read_bytes()), path
        run = TrainingRun.load(tmp_path / "repo")
        assert run.command == "cmr train --dataset folder --data-dir 'my stamps' --output-dir stamps"
        assert "/home/ann" in TrainingRun.load(own).command  # the checkpoint itself stays as it is

    @pytest.mark.parametrize(
        ("terms", "message"),
        [({"license": "Apache 2"}, "no identifier of the Hub"), ({"data_url": "stamps"}, "starts with https")],
    )
    def test_terms_that_are_none(self, terms, message):
        with pytest.raises(InputError, match=message):
            Terms(**terms)


def test_a_refused_publish_leaves_the_checkpoint_as_it_was(checkpoint, hub_server, tmp_path, monkeypatch):
    hub_server.connect(monkeypatch, tmp_path / "home")
    before = contents(checkpoint)
    with pytest.raises(CheckpointError, match="asks for an access token"):
        publish(checkpoint, "me/cca-wiki")
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    with pytest.raises(CheckpointError, match="never published: optimizer"):
        publish(checkpoint, "me/cca-wiki", output_dir=tmp_path / "repo")
    (checkpoint / "optimizer.pt").unlink()
    assert contents(checkpoint) == before
    assert not (tmp_path / "repo").exists()


def test_encoders_are_credited():
    processor = {"image_encoder": {"name": "efficientnet-lite0"}, "text_encoder": {"name": "bow"}}
    assert list(credits_of(processor)) == ["image"]
    processor["text_encoder"]["name"] = "concat/minilm+transformers/me/x"
    assert "Apache-2.0" in credits_of(processor)["image"]
    assert "all-MiniLM-L6-v2" in (credit := credits_of(processor)["text"])
    assert "[me/x](https://huggingface.co/me/x), under the licence that its own card names" in credit
