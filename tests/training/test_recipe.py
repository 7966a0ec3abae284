from pathlib import Path

import pytest
import yaml

import cmr_hub.methods
from cmr_hub.cli.main import main
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.methods import METHODS
from cmr_hub.results import Published
from cmr_hub.training.recipe import CitedFigures, load_recipe, methods_with_recipe, recipe_path


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_a_recipe_with_its_paper(method):
    recipe = load_recipe(method)
    assert recipe.title
    assert recipe.paper.citation.startswith("@")
    assert set(recipe.encoders) == {"image", "text"}


def test_a_data_set_changes_what_it_names_and_no_more():
    general, wiki = load_recipe("dscmr"), load_recipe("dscmr", "wiki")
    assert wiki.encoders["image"] == EncoderSpec("precomputed", {"transform": "hellinger"})
    assert (wiki.config, wiki.training) == (general.config, general.training)


def test_the_papers_optimiser_is_spelled_out():
    training = load_recipe("dscmr").training
    assert (training["learning_rate"], training["adam_beta1"], training["adam_beta2"]) == (1e-4, 0.5, 0.999)
    assert (training["weight_decay"], training["max_grad_norm"], training["lr_scheduler_type"]) == (0, 0, "constant")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"loss_lamda": 1}}, "no config field named 'loss_lamda'. Did you mean 'loss_lambda'"),
        ({"training": {"learning_rat": 1}}, "no training argument named 'learning_rat'. Did you mean 'learning_rate'"),
        (
            {"training": {"optim": "adamw_torhc"}},
            "no value of .*'optim' named 'adamw_torhc'. Did you mean",
        ),
        ({"encoders": {"text": "glvoe"}}, "no text encoder named 'glvoe'. Did you mean 'glove'"),
        ({"encoders": {"txt": "glove"}}, "no modality named 'txt'. Did you mean 'text'"),
        ({"encoders": {"text": {"name": "bow", "min_cuont": 1}}}, "no option of bow named 'min_cuont'"),
    ],
)
def test_misspelled_settings(changes, message):
    with pytest.raises(UnknownNameError, match=message):
        load_recipe("dscmr").changed(**changes)


def test_unknown_method():
    with pytest.raises(UnknownNameError, match="Did you mean 'dscmr'"):
        load_recipe("dscmrr")


def test_a_code_length_is_a_setting():
    assert load_recipe("sh").with_bits(24).config["embed_dim"] == 24


def test_code_lengths_that_cannot_be():
    with pytest.raises(InputError, match=r"'dscmr' is real-valued and has no code length. Hashing methods: .*\bsh\b"):
        load_recipe("dscmr").with_bits(64)
    with pytest.raises(InputError, match=r"embed_dim is 20. The nearest is 16"):
        load_recipe("sh").with_bits(20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"hidden_dim": "wide"}}, "config field 'hidden_dim' must be a whole number, and is 'wide'"),
        ({"config": {"hidden_dim": 2.5}}, "must be a whole number, and is 2.5"),
        ({"config": {"loss_eta": True}}, "config field 'loss_eta' must be a number, and is True"),
        ({"training": {"learning_rate": "1e-3"}}, "is '1e-3'. YAML reads this as text: write 0.001"),
        ({"encoders": {"text": {"name": "bow", "min_count": "2"}}}, "must be a whole number, and is '2'. .* write 2"),
        ({"encoders": {"text": {"min_count": 2}}}, "An encoder is a name, or a mapping of `name` and its options"),
    ],
)
def test_settings_of_another_type(changes, message):
    with pytest.raises(InputError, match=message):
        load_recipe("dscmr").changed(**changes)


def test_published_figures_are_those_of_the_code_length():
    figures = {16: {"image_to_text/map": 0.1}, 32: {"image_to_text/map": 0.2}}
    cited = CitedFigures(source="Someone, 2010", protocol="djsrh", bits=figures)
    recipe = load_recipe("sh").changed(published=cited)
    expected = Published("Someone, 2010", protocol="djsrh", metrics={"image_to_text/map": 0.2})
    assert recipe.with_bits(32).published_here == expected
    assert recipe.with_bits(64).published_here == Published()
    assert load_recipe("cca", "wiki").published_here.metrics["image_to_text/map"] == pytest.approx(0.249)


class TestFile:
    """A recipe of one's own, by its path."""

    TEXT = """\
method: dscmr
summary: A variant.
paper: {title: A paper, authors: Someone, url: "https://example.org", citation: "@misc{a}"}
encoders: {image: efficientnet-lite0, text: {name: word2vec, window: 3}}
config:
  hidden_dim: 32
  loss_eta: 1
training:
  learning_rate: 1.0e-3
  optim: adamw_torch
protocols: [dscmr]
datasets:
  wiki:
    config: {hidden_dim: 16}
    early_stopping_patience: null
    published: {source: Someone, metrics: {map: 1}}
early_stopping_patience: 3
ablations:
  - title: Width
    rows:
      narrow: {config: {hidden_dim: 8}, published: {map: 0.5}}
"""

    @pytest.fixture
    def path(self, tmp_path) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(self.TEXT)
        return path

    def test_it_is_read_with_numbers_as_their_types_have_them(self, path):
        recipe = load_recipe(path)
        assert (recipe.method, recipe.title, recipe.early_stopping_patience) == ("dscmr", "DSCMR", 3)
        assert recipe.encoders["text"] == EncoderSpec("word2vec", {"window": 3})
        assert [type(recipe.config[name]) for name in ("hidden_dim", "loss_eta")] == [int, float]
        assert recipe.ablations[0].variants(recipe)["narrow"].config["hidden_dim"] == 8

    def test_a_data_set_changes_it(self, path):
        recipe = load_recipe(str(path), "wiki")
        assert (recipe.config["hidden_dim"], recipe.early_stopping_patience) == (16, None)
        assert recipe.published_here == Published("Someone", metrics={"map": 1.0})

    @pytest.mark.parametrize(
        ("old", "new", "line", "message"),
        [
            ("summary:", "sumary:", 2, "no field named 'sumary'. Did you mean 'summary'"),
            ("summary: A variant.\n", "", 1, "lacks the field 'summary'"),
            ("authors: Someone, ", "", 3, "paper lacks the field 'authors'"),
            ("url:", "ulr:", 3, "no field of paper named 'ulr'. Did you mean 'url'"),
            ("text: {", "txt: {", 4, "no field of encoders named 'txt'. Did you mean 'text'"),
            ("word2vec", "word2vecc", 4, "no text encoder named 'word2vecc'. Did you mean 'word2vec'"),
            ("window: 3", "windw: 3", 4, "no option of word2vec named 'windw'. Did you mean 'window'"),
            ("hidden_dim: 32", "hiden_dim: 32", 6, "no config field named 'hiden_dim'. Did you mean 'hidden_dim'"),
            (
                "loss_eta: 1",
                "loss_eta: 1e-3",
                7,
                "'loss_eta' must be a number, and is '1e-3'. YAML reads",
            ),
            ("learning_rate: 1.0e-3", "learning_rate: 1e-3", 9, "training argument 'learning_rate' .* write 0.001"),
            ("adamw_torch", "adamw_torhc", 10, "Did you mean 'adamw_torch"),
            ("protocols: [dscmr]", "protocols: [dscrm]", 11, "no protocol named 'dscrm'. Did you mean 'dscmr'"),
            ("protocols: [dscmr]", "protocols: dscmr", 11, "protocols must be a list, and is"),
            ("  wiki:", "  wikki:", 13, "no data set named 'wikki'. Did you mean 'wiki'"),
            ("config: {hidden_dim: 16}", "config: {hidden_dim: '16'}", 14, "must be a whole number, and is '16'"),
            ("config: {hidden_dim: 16}", "confg: {hidden_dim: 16}", 14, "datasets.wiki named 'confg'. Did you mean"),
            ("source: Someone, ", "", 16, "datasets.wiki.published lacks the field 'source'"),
            ("source: Someone", "source: A, protocol: dscrm", 13, "no protocol named 'dscrm'. Did you mean 'dscmr'"),
            (
                "early_stopping_patience: null",
                "augmentations: [flip_left]",
                13,
                "no augmentation named 'flip_left'. Did you mean 'flip_left_right'",
            ),
            ("protocols: [dscmr]", "augmentations: [flip]", 11, "no augmentation named 'flip'"),
            (
                "early_stopping_patience: null",
                "early_stopping_patience: '3'",
                15,
                "must be a whole number or null, and is '3'",
            ),
            ("metrics: {map: 1}", "metrics: {map: high}", 16, "published.metrics.map must be a number, and is 'high'"),
            ("patience: 3", "patience: three", 17, "early_stopping_patience must be a whole number or null"),
            ("title: Width", "titel: Width", 19, r"field of ablations\[0\] named 'titel'. Did you mean 'title'"),
            (
                "narrow: {config:",
                "narrow: {cofig:",
                21,
                r"rows.narrow named 'cofig'. Did you mean 'config'",
            ),
            ("{hidden_dim: 8}", "{hiden_dim: 8}", 21, "no config field named 'hiden_dim'"),
            ("{map: 0.5}", "{map: .5.}", 21, r"rows.narrow.published.map must be a number, and is '.5.'"),
            ("method: dscmr", "method: dscmrr", 1, "no method named 'dscmrr'. Did you mean 'dscmr'"),
            (
                "  loss_eta: 1\n",
                "  loss_eta: 1\n  hidden_dim: 4\n",
                8,
                "'hidden_dim' is given twice; line 6 has",
            ),
            ("training:\n", "training: [\n", 10, "expected"),
        ],
    )
    def test_a_mistake_is_named_with_its_line(self, path, old, new, line, message):
        assert old in self.TEXT
        path.write_text(self.TEXT.replace(old, new, 1))
        with pytest.raises(InputError, match=rf"mine\.yaml, line {line}: .*{message}"):
            load_recipe(path)

    def test_one_encoder_alone(self, path):
        path.write_text(self.TEXT.replace("image: efficientnet-lite0, ", ""))
        with pytest.raises(InputError, match=r"mine\.yaml, line 4: `encoders` must name one each for image and text"):
            load_recipe(path)

    @pytest.mark.parametrize("content", ["", "- method: dscmr\n"])
    def test_no_mapping(self, path, content):
        path.write_text(content)
        with pytest.raises(InputError, match="must hold a mapping"):
            load_recipe(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(InputError, match=r"There is no file .*none\.yaml"):
            load_recipe(tmp_path / "none.yaml")

    def test_a_method_outside_of_the_package_has_its_recipe_beside_its_module(self, path, monkeypatch):
        beside = path.with_name("recipe.yaml")
        beside.write_text(yaml.safe_dump({**yaml.safe_load(self.TEXT), "summary": "Beside it."}))
        monkeypatch.setattr(cmr_hub.methods.METHODS, "folder", lambda name: path.parent)
        assert recipe_path("dscmr") == beside
        assert load_recipe("dscmr").summary == "Beside it."
        with pytest.raises(InputError, match=r"is next to the module of 'cca', and names the method 'dscmr'"):
            load_recipe("cca")
        beside.unlink()
        with pytest.raises(InputError, match=r"DSCMRModel has no recipe: write .*recipe\.yaml"):
            load_recipe("dscmr")

    def test_a_method_without_a_recipe_is_left_out_where_all_are_meant(self, tmp_path, monkeypatch):
        folder = METHODS.folder
        monkeypatch.setattr(METHODS, "folder", lambda name: tmp_path if name == "cca" else folder(name))
        assert set(METHODS) - set(methods_with_recipe()) == {"cca"}

    def test_a_command_takes_it_as_its_method(self, path, tmp_path, capsys):
        words = ["train", "--dataset", "emoji", "--output-dir", str(tmp_path / "out"), "--method"]
        path.write_text(self.TEXT.replace("hidden_dim: 32", "hiden_dim: 32"))
        assert main([*words, str(path)]) == 1
        assert "mine.yaml, line 6: There is no config field named 'hiden_dim'" in capsys.readouterr().err
        assert main([*words, str(tmp_path / "none.yaml")]) == 1
        assert "There is no recipe" in capsys.readouterr().err


def test_a_token_is_no_part_of_a_recipe():
    with pytest.raises(InputError, match="hub_token would be saved") as error:
        load_recipe("dscmr").changed(training={"hub_token": "hf_secret"})
    assert "hf_secret" not in str(error.value)


@pytest.mark.parametrize(("pairs", "batch"), [(111, 27), (30, 16), (5, 16), (100_000, 128)])
def test_batches_fit_small_data(pairs, batch):
    recipe = load_recipe("contrastive").for_size(pairs)
    assert recipe.training["per_device_train_batch_size"] == batch
    assert recipe.config == load_recipe("contrastive").config


def test_no_documented_data_set_is_so_small_that_its_batches_change():
    for name, pairs in (("emoji", 1316), ("pascal", 800), ("wiki", 2173), ("flickr8k", 6000), ("rsicd", 8734)):
        for method in METHODS:
            recipe = load_recipe(method, name)
            assert recipe.for_size(pairs) == recipe
