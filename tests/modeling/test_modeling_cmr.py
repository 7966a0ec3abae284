import errno
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

import cmr_hub
from closeness import assert_alike
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, InputError, NotFittedError, UnsupportedError
from cmr_hub.methods import METHODS
from cmr_hub.modeling.configuration_hashing import HashingConfig
from cmr_hub.modeling.modeling_hashing import HashingMixin
from toys import feature_retriever


@pytest.fixture(params=["dscmr", "cca"])
def saved(request, tmp_path):
    retriever = feature_retriever(request.param)
    retriever.save_pretrained(tmp_path / "checkpoint")
    return retriever, tmp_path / "checkpoint"


def test_round_trip_keeps_every_weight(saved):
    retriever, folder = saved
    loaded = type(retriever.model).from_pretrained(folder)
    for name, tensor in retriever.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not list(folder.glob("*.bin"))


def test_auto_classes_know_every_method(saved):
    retriever, folder = saved
    assert type(AutoConfig.from_pretrained(folder)) is type(retriever.model.config)
    assert type(AutoModel.from_pretrained(folder)) is type(retriever.model)
    assert type(AutoProcessor.from_pretrained(folder)) is cmr_hub.CMRProcessor


@pytest.mark.parametrize("method", ["dscmr", "cca", "sh"])
def test_its_output_has_the_rows_of_the_retriever(tmp_path, method):
    retriever = feature_retriever(method)
    retriever.save_pretrained(tmp_path)
    features = np.random.default_rng(0).normal(size=(5, 10))
    images, texts = features[:, :6], features[:, 6:]
    processor, model = AutoProcessor.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        output = model(**processor(images=images, text=texts, return_tensors="pt"))
    assert_alike(output.image_embeds.numpy(), retriever.encode_images(images, real_valued=True))
    assert_alike(output.text_embeds.numpy(), retriever.encode_texts(texts, real_valued=True))


@pytest.mark.parametrize("task", ["feature-extraction", "zero-shot-image-classification"])
def test_pipelines_say_what_works_in_their_place(saved, task):
    _, folder = saved
    with pytest.raises(
        UnsupportedError, match=r"do not work with .* cmr_hub\.from_pretrained\('.*checkpoint'\) has enc"
    ):
        pipeline(task, model=str(folder))


def test_a_checkpoint_has_no_tokenizer(saved):
    with pytest.raises(UnsupportedError, match="Tokenizers of transformers, and pipelines with them, do not work"):
        AutoTokenizer.from_pretrained(saved[1])


def test_half_precision_on_disk_is_float32_in_memory(tmp_path):
    model = feature_retriever("dscmr").model
    expected = model.shared.weight.half().float()
    model.half().save_pretrained(tmp_path)
    assert safetensors.torch.load_file(tmp_path / "model.safetensors")["shared.weight"].dtype == torch.float16
    assert torch.equal(cmr_hub.DSCMRModel.from_pretrained(tmp_path).shared.weight, expected)
    assert cmr_hub.DSCMRModel.from_pretrained(tmp_path, dtype=torch.float16).dtype == torch.float16


def change_weights(folder, change):
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    change(weights)
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(sorted(weights)[0]), "missing keys: "),
        (lambda weights: weights.update(surplus=torch.zeros(1)), "unexpected keys: surplus"),
        (lambda weights: weights.update({sorted(weights)[0]: torch.zeros(99, 3)}), "99, 3"),
    ],
    ids=["missing", "unexpected", "other shape"],
)
def test_weights_that_do_not_fit_are_refused(saved, change, message):
    retriever, folder = saved
    change_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        type(retriever.model).from_pretrained(folder, verify=False)


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"\x00" * 64, lambda data: b""])
def test_corrupt_weights_are_refused(saved, spoil):
    retriever, folder = saved
    path = folder / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=str(folder)):
        type(retriever.model).from_pretrained(folder, verify=False)


def test_weights_that_are_absent(saved):
    retriever, folder = saved
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors"):
        type(retriever.model).from_pretrained(folder, verify=False)


def test_pickled_weights_are_never_read(saved):
    retriever, folder = saved
    (folder / "model.safetensors").unlink()
    torch.save(retriever.model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        type(retriever.model).from_pretrained(folder, verify=False)


def test_config_of_another_method(tmp_path):
    feature_retriever("dscmr").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="of the method 'dscmr', not 'cca'"):
        cmr_hub.CCAModel.from_pretrained(tmp_path)


def test_config_of_no_method(tmp_path):
    feature_retriever("dscmr").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert', which is no method"):
        cmr_hub.from_pretrained(tmp_path, verify=False)


def test_unknown_checkpoint():
    with pytest.raises(CheckpointNotFoundError):
        cmr_hub.DSCMRModel.from_pretrained("./no/such/folder")


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_keeps_the_old_checkpoint(saved, monkeypatch, failure):
    retriever, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fail)
    with pytest.raises(type(failure)):
        feature_retriever(retriever.model.config.model_type, seed=5).save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_unfitted_closed_form_is_refused():
    model = cmr_hub.CCAModel(cmr_hub.CCAConfig(image_dim=6, text_dim=4, embed_dim=3))
    with pytest.raises(NotFittedError):
        model(image_features=torch.zeros(1, 6))


def test_a_method_without_a_config_class_is_refused():
    with pytest.raises(TypeError, match="Nameless must name its config_class"):

        class Nameless(cmr_hub.CMRModel):
            pass


def test_config_fields_that_make_no_sense():
    with pytest.raises(Exception, match="embed_dim must be at least 1"):
        cmr_hub.DSCMRConfig(embed_dim=0)
    assert {"image_dim", "hidden_dim"} <= set(cmr_hub.DSCMRConfig.own_fields())
    assert "architectures" not in cmr_hub.DSCMRConfig.own_fields()


def test_a_hashing_method_needs_a_hashing_configuration():
    with pytest.raises(TypeError, match="gives codes: its config_class must be a HashingConfig"):

        class Codes(HashingMixin, cmr_hub.DSCMRModel):
            config_class = cmr_hub.DSCMRConfig


def test_a_method_that_calls_itself_binary_must_be_a_hashing_method():
    with pytest.raises(TypeError, match="Codes gives codes: derive it from HashingMixin"):

        class Codes(cmr_hub.DSCMRModel):
            config_class = cmr_hub.DSCMRConfig
            representation = "binary"


def test_hashing_methods_are_those_whose_configuration_has_a_code_length():
    for model in METHODS.values():
        assert model.is_hashing == issubclass(model.config_class, HashingConfig)
        assert model.representation == ("binary" if model.is_hashing else "real-valued")


def test_a_base_of_methods_says_that_it_is_abstract():
    class Base(cmr_hub.CMRModel, abstract=True):
        pass

    with pytest.raises(TypeError, match="Method must say its title"):

        class Method(Base):
            config_class = cmr_hub.DSCMRConfig


@pytest.mark.parametrize("missing", ["image", "text"])
def test_pairs_are_needed_to_fit(missing):
    pairs = {"image_features": torch.randn(9, 6), "text_features": torch.randn(9, 4), f"{missing}_features": None}
    model = cmr_hub.SHModel(cmr_hub.SHConfig(image_dim=6, text_dim=4, embed_dim=8))
    with pytest.raises(InputError, match=f"sh learns from pairs of an image and a text, and no {missing} features"):
        model.fit(**pairs)
    with pytest.raises(InputError, match="9 images against 8 texts: pairs are needed"):
        model.fit(torch.randn(9, 6), torch.randn(8, 4))


def test_a_method_without_unified_codes_says_so():
    model = cmr_hub.SHModel(cmr_hub.SHConfig(image_dim=6, text_dim=4, embed_dim=8))
    with pytest.raises(InputError, match="sh embeds each side by itself and defines nothing for a pair"):
        model.get_pair_features(torch.randn(2, 6), torch.randn(2, 4))


def test_a_method_of_one_part_refuses_a_focus():
    model = cmr_hub.SHModel(cmr_hub.SHConfig(image_dim=6, text_dim=4, embed_dim=8))
    assert not model.has_focus
    assert not model.accepts_focus
    with pytest.raises(InputError, match="sh embeds each input as one part, and a focus weighs two"):
        model.with_focus(np.zeros((1, 1), np.uint8), 0.5)


class Recorder(cmr_hub.CMRModel):
    """Embeds features as they are, and records what its loss is given."""

    title, paper, supervision = "Recorder", "none", "supervised"
    config_class = cmr_hub.CMRConfig

    def __init__(self):
        super().__init__(cmr_hub.CMRConfig(image_dim=3, text_dim=3, embed_dim=3))
        self.given = None

    def get_image_features(self, image_features=None, pixel_values=None):
        return image_features if pixel_values is None else pixel_values.flatten(1)

    def get_text_features(self, text_features):
        return text_features

    def compute_loss(self, output, labels, rows=None):
        self.given = {"labels": labels, "rows": rows}
        return {"first": output.image_embeds.sum(), "second": output.text_embeds.sum()}

    @property
    def loss_weights(self):
        return {"second": 10.0}


@pytest.fixture
def pairs():
    return {"image_features": torch.ones(2, 3), "text_features": torch.ones(2, 3), "labels": torch.eye(2).long()}


def test_the_loss_gets_what_it_names_and_its_terms_are_weighted(pairs):
    model = Recorder()
    output = model(**pairs, rows=torch.arange(2))
    assert output.loss == 6 + 10 * 6
    assert {name: term.item() for name, term in output.loss_terms.items()} == {"first": 6, "second": 6}
    assert model.given["labels"].dtype == torch.float32
    assert model.given["rows"].tolist() == [0, 1]


def test_no_loss_is_computed_without_what_it_needs(pairs):
    model = Recorder()
    assert model(pairs["image_features"], pairs["text_features"]).loss is None
    assert model(pairs["image_features"]).image_embeds is not None
    assert model.given is None


def test_an_alternative_input_is_the_same_modality(pairs):
    del pairs["image_features"]
    assert Recorder()(**pairs, pixel_values=torch.ones(2, 3, 1)).loss == 66


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (["text_features"], r"no text \(text_features\)\. Give both modalities, or leave out the labels"),
        (["image_features"], r"no image \(image_features\)\. Give both"),
        (["image_features", "text_features"], r"no image \(.*\) and no text \(text_features\)\. Give both"),
    ],
)
def test_labels_without_a_pair_are_refused(pairs, absent, message):
    for name in absent:
        del pairs[name]
    with pytest.raises(InputError, match=message):
        Recorder()(**pairs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1]), r"Labels must be multi-hot, of the shape \(n, 2\), not \(2,\)"),
        (torch.ones(2, 3), r"of the shape \(n, 2\), not \(2, 3\)"),
        (torch.ones(1, 2), r"Labels of 1 items are given, and features of 2"),
        ([[0, 1], [1, 0]], r"of the shape \(n, 2\), not list"),
    ],
)
def test_labels_of_another_shape_are_refused(pairs, labels, message):
    with pytest.raises(InputError, match=message):
        Recorder()(**{**pairs, "labels": labels})


def test_an_argument_of_another_methods_loss_is_refused(pairs):
    with pytest.raises(TypeError, match="Recorder takes no argument 'items'"):
        Recorder()(**pairs, items=None)


def test_a_training_batch_is_reduced_to_what_the_model_takes(pairs):
    batch = {**pairs, "rows": torch.arange(2), "items": torch.arange(2), "matching": torch.eye(2).bool()}
    assert list(Recorder.select_inputs(batch)) == ["image_features", "text_features", "labels", "rows"]
    assert list(cmr_hub.CCAModel.select_inputs(batch)) == ["image_features", "text_features", "labels"]


def test_a_loss_with_keywords_gets_all_that_the_embeddings_are_made_of(pairs):
    class WithBatch(Recorder):
        config_class = cmr_hub.CMRConfig

        def compute_loss(self, output, labels, **batch):
            self.given = batch
            return {}

    model = WithBatch()
    assert model(**pairs).loss is None
    assert model.given.keys() == {"image_features", "text_features"}


def test_a_loss_of_features_alone_needs_no_embeddings(pairs):
    class OfFeatures(Recorder):
        config_class = cmr_hub.CMRConfig

        def embed(self, image_features=None, text_features=None):
            return cmr_hub.CMROutput()

        def compute_loss(self, output, labels, image_features):
            return {"first": (image_features.sum(dim=1) * labels[:, 0]).sum()}

    assert OfFeatures()(**pairs).loss == 3


def test_closed_forms_have_no_loss():
    model = feature_retriever("cca").model
    output = model(torch.randn(2, 6), torch.randn(2, 4), torch.eye(2))
    assert output.image_embeds.shape == output.text_embeds.shape == (2, 3)
    assert output.loss is None
    assert model(torch.randn(2, 6), labels=torch.eye(2)).text_embeds is None


def test_a_method_that_defines_forward_is_refused():
    with pytest.raises(TypeError, match="Own must not define forward, which is CMRModel's: give compute_loss"):

        class Own(Recorder):
            config_class = cmr_hub.CMRConfig

            def forward(self, **inputs):
                return None
