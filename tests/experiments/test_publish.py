import json
from pathlib import Path

import pytest
from datasets import DatasetDict
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import cmr_hub
from cmr_hub.cli.main import main as cmr
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError
from cmr_hub.experiments import publish as publish_module
from cmr_hub.experiments.publish import publish, refresh_cards, reproduced
from cmr_hub.experiments.table import Checkpoint
from cmr_hub.hub.weights import weights_digest
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.run import TrainingRun
from cmr_hub.training.train import train
from hub_server import TOKEN
from small_results import small_results, small_row
from toys import feature_dataset


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
    figures = tmp_path / "figures.json"
    again = ["--dataset", "emoji", "--protocols", "djsrh", "--record", "--json", str(figures)]
    assert cmr(["evaluate", "--checkpoint", folder, *again]) == 0
    assert [entry["weights"] for entry in json.loads(figures.read_text())] == [weights_digest(tmp_path / "cca-emoji")]
    assert [entry["protocol"] for entry in TrainingRun.load(tmp_path / "cca-emoji").results] == ["dscmr", "djsrh"]
    repo = tmp_path / "repo"
    assert cmr(["publish", "--checkpoint", folder, "--repo-id", "cmr/x", "--output-dir", str(repo)]) == 0
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
