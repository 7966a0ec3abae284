"""The model card, read back with huggingface_hub's own parsers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from PIL import Image

import cmr_hub
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.evaluation import get_protocol
from cmr_hub.hub.card import CardContent, DatasetFacts, Paper, Reproduced, ReproducedFigure, ResultRow, write_card
from toys import feature_retriever

CONTENT = CardContent(
    repo_id="cmr/dscmr-emoji",
    method_title="Deep supervised cross-modal retrieval (DSCMR)",
    method_summary="Two branches share one linear layer.",
    paper=Paper(
        title="Deep Supervised Cross-modal Retrieval",
        authors="Zhen et al., CVPR 2019",
        url="https://example.org/dscmr",
        citation="@inproceedings{zhen2019,\n  title = {Deep Supervised Cross-modal Retrieval}\n}",
    ),
    dataset=DatasetFacts(
        name="emoji",
        title="Emoji",
        license="CC-BY 4.0 (images), MIT (names)",
        homepage="https://example.org/emoji",
        citation="@misc{emoji}",
    ),
    results=(
        ResultRow(
            protocol="dscmr",
            description="all ranks, test against test",
            split="test",
            metrics={"map_i2t": 0.62345678, "map_t2i": 0.61},
            seeds=(0, 1, 2),
            published={"map_i2t": 0.71},
            published_in="Zhen et al., Table 2",
        ),
        ResultRow("djsrh", "top 50", "test", {"map_i2t": 0.5}),
    ),
    training_command="cmr train --method dscmr --dataset emoji",
    hyperparameters={"learning_rate": 1e-4, "betas": (0.5, 0.999)},
    versions={"torch": "2.15", "transformers": "5.23"},
    limits="Emoji names are English.",
    license="cc-by-4.0",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, *, image: str = "efficientnet-lite0", text: str = "glove") -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "dscmr", "image_dim": 128, "text_dim": 10}))
    encoders = {"image_encoder": {"name": image}, "text_encoder": {"name": text}}
    (folder / "processor_config.json").write_text(json.dumps(encoders))


def written(folder: Path, **changes) -> ModelCard:
    path = write_card(folder, dataclasses.replace(CONTENT, **changes))
    assert path == folder / "README.md"
    return ModelCard(path.read_text(encoding="utf-8"))


class TestMetadata:
    def test_it_is_what_the_hub_expects(self, folder: Path):
        data = written(folder).data
        assert (data.license, data.library_name, data.pipeline_tag) == (
            "cc-by-4.0",
            "cmr_hub",
            "feature-extraction",
        )
        assert data.tags == ["cross-modal-retrieval", "image-text-retrieval", "dscmr"]
        assert data.datasets == ["cmr/emoji"]

    def test_codes_are_tagged_hashing(self, folder: Path):
        card = written(folder, hashing=True)
        assert "hashing" in card.data.tags
        assert "binary codes" in card.text

    def test_what_attends_is_shown_to_explain(self, folder: Path):
        assert "retriever.explain(" in written(folder, has_attention=True).text
        assert "retriever.explain(" not in written(folder).text

    def test_the_model_index_holds_every_figure(self, folder: Path):
        data = written(folder).data
        assert data.model_name == "dscmr-emoji"
        first, _, last = data.eval_results
        assert (first.dataset_type, first.dataset_split, first.metric_type) == ("emoji", "test", "map_i2t")
        assert first.metric_value == 0.6235
        assert first.metric_args == {"protocol": "dscmr", "seeds": [0, 1, 2]}
        assert (last.metric_value, last.metric_args["protocol"]) == (0.5, "djsrh")

    def test_eval_results_follow_the_hubs_format(self, folder: Path):
        written(folder)
        entries = parse_eval_result_entries(yaml.safe_load((folder / ".eval_results/emoji.yaml").read_text()))
        assert [(entry.dataset_id, entry.task_id, entry.value) for entry in entries] == [
            ("cmr/emoji", "dscmr-test-map_i2t", 0.6235),
            ("cmr/emoji", "dscmr-test-map_t2i", 0.61),
            ("cmr/emoji", "djsrh-test-map_i2t", 0.5),
        ]
        assert entries[0].notes == "protocol dscmr: all ranks, test against test; seeds: 0, 1, 2"
        assert entries[0].source_url == "https://huggingface.co/cmr/dscmr-emoji"

    def test_a_dataset_may_live_elsewhere_on_the_hub(self, folder: Path):
        dataset = dataclasses.replace(CONTENT.dataset, name="rsicd", repo_id="arampacha/rsicd")
        assert written(folder, dataset=dataset).data.datasets == ["arampacha/rsicd"]
        assert (folder / ".eval_results/rsicd.yaml").exists()

    def test_without_results_it_says_so(self, folder: Path):
        card = written(folder, results=())
        assert card.data.eval_results is None
        assert "None measured." in card.text
        assert not (folder / ".eval_results").exists()


class TestText:
    def test_the_table_gives_measured_beside_published(self, folder: Path):
        text = written(folder).text
        assert "| dscmr | test | map_i2t | 0.623 | 0.710 | 0, 1, 2 |" in text
        assert "| dscmr | test | map_t2i | 0.610 | not given | 0, 1, 2 |" in text
        assert "| djsrh | test | map_i2t | 0.500 | not given | none |" in text
        assert "Published under **dscmr** (test): Zhen et al., Table 2" in text
        assert text.count("Protocol **dscmr**: all ranks, test against test") == 1

    def test_it_says_all_that_a_reader_needs(self, folder: Path):
        text = written(folder).text
        for said in (
            CONTENT.training_command,
            CONTENT.paper.citation,
            CONTENT.dataset.citation,
            "| betas | (0.5, 0.999) |",
            "torch 2.15, transformers 5.23",
            "CC-BY 4.0 (images), MIT (names)",
            "Emoji names are English.",
        ):
            assert said in text

    def test_raw_input(self, folder: Path):
        text = written(folder).text
        assert 'cmr_hub.from_pretrained("cmr/dscmr-emoji")' in text
        assert 'encode_images(["first.jpg", "second.jpg"])' in text
        assert "frozen encoder `glove`" in text

    def test_released_features(self, folder: Path):
        configure(folder, image="precomputed", text="precomputed")
        text = written(folder, image_features="SIFT bag of words").text
        assert "image_features = np.random.rand(2, 128)  # in the place of your own, (n, 128)" in text
        assert "text_features = np.random.rand(1, 10)  # in the place of your own, (n, 10)" in text
        assert "(SIFT bag of words), not images" in text

    def test_own_data_have_no_link_and_are_on_no_hub(self, folder: Path):
        own = DatasetFacts("folder", "my stamps", "", "", is_own=True)
        card = written(folder, dataset=own)
        assert "Trained on my stamps, whose licence is: not stated." in card.text
        assert "]()" not in card.text
        assert card.data.get("datasets") is None
        assert not (folder / ".eval_results").exists()
        named = dataclasses.replace(own, homepage="https://a.org", repo_id="me/stamps")
        card = written(folder, dataset=named)
        assert "Trained on [my stamps](https://a.org), whose" in card.text
        assert card.data.datasets == ["me/stamps"]

    def test_encoders_are_credited(self, folder: Path):
        text = written(folder, credits={"image": "A <network>, MIT"}).text
        assert "- Images: A &lt;network&gt;, MIT.\n" in text
        assert "the work of others" not in written(folder).text

    @pytest.mark.parametrize(
        ("method", "takes_raw"), [("dscmr", True), ("dscmr", False), ("sh", False)], ids=["raw", "features", "codes"]
    )
    def test_the_example_runs(self, tmp_path: Path, monkeypatch, method: str, takes_raw: bool):
        retriever = feature_retriever(method)
        if takes_raw:
            image, text = create_encoder("image", "pixels", size=4), create_encoder("text", "bow").fit(["image shows"])
            config = cmr_hub.DSCMRConfig(image_dim=image.dim, text_dim=text.dim, hidden_dim=8, embed_dim=5)
            retriever = cmr_hub.Retriever(cmr_hub.DSCMRModel(config), cmr_hub.CMRProcessor(image, text))
        retriever.save_pretrained(tmp_path / "me" / "x")
        for name in ("first.jpg", "second.jpg"):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        text = written(tmp_path / "me" / "x", repo_id="me/x", hashing=method == "sh").text
        monkeypatch.chdir(tmp_path)  # where "me/x" is a folder, as it is a repo of the Hub elsewhere
        names: dict = {}
        exec(text.split("```python\n")[1].split("```")[0], names)
        assert names["distances" if method == "sh" else "scores"].shape == (2, 1)

    def test_the_example_is_valid_python(self, folder: Path):
        for image, text, hashing in (("a", "b", False), ("precomputed", "precomputed", False), ("a", "b", True)):
            configure(folder, image=image, text=text)
            code = written(folder, hashing=hashing).text.split("```python\n")[1].split("```")[0]
            compile(code, "card", "exec")
            assert ("scores = images @ texts.T" in code) is not hashing

    def test_text_from_elsewhere_cannot_break_out(self, folder: Path):
        card = written(
            folder,
            limits="<script>alert(1)</script>",
            hyperparameters={"a|b": "c\nd"},
            training_command="echo ```\n# not a heading",
        )
        assert "<script>" not in card.text
        assert r"| a\|b | c d |" in card.text
        assert "````bash\necho ```\n# not a heading\n````" in card.text

    def test_writing_again_gives_the_same_bytes(self, folder: Path):
        written(folder)
        before = (folder / "README.md").read_bytes()
        written(folder)
        assert (folder / "README.md").read_bytes() == before


class TestBadInput:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_figure_that_is_none(self, value: float):
        with pytest.raises(InputError, match="map under protocol 'dscmr' is"):
            ResultRow("dscmr", "all ranks", "test", {"map": value})

    def test_a_published_figure_without_source(self):
        with pytest.raises(InputError, match="need their source"):
            ResultRow("dscmr", "all ranks", "test", {"map": 0.5}, published={"map": 0.6})

    def test_a_protocol_given_twice(self):
        with pytest.raises(InputError, match="'dscmr' on split 'test' has more than one row"):
            dataclasses.replace(CONTENT, results=(CONTENT.results[0],) * 2)

    def test_no_configuration(self, tmp_path: Path):
        with pytest.raises(CheckpointError, match=r"it has no config\.json"):
            write_card(tmp_path, CONTENT)
        assert list(tmp_path.iterdir()) == []


class TestTrainedAgain:
    """What the recipe gives over seeds, where that was measured."""

    def reproduced(self, **changes) -> Reproduced:
        figures = [("dscmr", "map", ".500 ± .020"), ("dscmr-test-selected", "image_to_text/map", ".600 ± .020")]
        measured = Reproduced(
            figures=tuple(ReproducedFigure(*figure, 3) for figure in figures),
            protocols={name: get_protocol(name).describe() for name, _, _ in figures},
            seeds=(0, 1, 2),
            dtype="float32",
            command="cmr reproduce --dataset wiki",
        )
        return dataclasses.replace(measured, **changes)

    def test_mean_and_deviation_stand_with_their_protocol_and_the_command(self, folder: Path):
        card = written(folder, reproduced=self.reproduced())
        section = card.text.split("## Trained again")[1].split("## Training")[0]
        for said in (
            "The same recipe with seeds 0, 1, 2: mean ± sample deviation over the runs.",
            "| dscmr | map | .500 ± .020 | 3 |",
            "| dscmr-test-selected | image_to_text/map | .600 ± .020 | 3 |",
            "- Protocol **dscmr-test-selected**: mAP@all",
            "epoch chosen on the test split",
            "```bash\ncmr reproduce --dataset wiki\n```",
        ):
            assert said in section
        assert card.data == written(folder).data  # what machines read is of these weights alone
        assert "Trained again" not in written(folder).text

    def test_a_protocol_that_is_described_already_is_not_again(self, folder: Path):
        reproduced = self.reproduced()
        described = dataclasses.replace(CONTENT.results[0], description=reproduced.protocols["dscmr"])
        text = written(folder, results=(described,), reproduced=reproduced).text
        assert text.count("Protocol **dscmr**: ") == 1
        assert text.count("Protocol **dscmr-test-selected**: ") == 1

    def test_a_closed_form_has_no_seeds(self, folder: Path):
        text = written(folder, reproduced=self.reproduced(seeds=())).text
        assert "The same recipe; chance has no part in this method." in text

    def test_another_precision_is_said(self, folder: Path):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
        for dtype, said in (("float32", True), ("float16", False)):
            text = written(folder, reproduced=self.reproduced(dtype=dtype)).text
            assert ("(in float32; these weights are stored in float16)." in text) is said
