import errno
import json

import pytest
import safetensors.torch
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

import cmr_hub
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, InputError, NotFittedError
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
        type(retriever.model).from_pretrained(folder)


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"\x00" * 64, lambda data: b""])
def test_corrupt_weights_are_refused(saved, spoil):
    retriever, folder = saved
    path = folder / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=str(folder)):
        type(retriever.model).from_pretrained(folder)


def test_weights_that_are_absent(saved):
    retriever, folder = saved
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors"):
        type(retriever.model).from_pretrained(folder)


def test_pickled_weights_are_never_read(saved):
    retriever, folder = saved
    (folder / "model.safetensors").unlink()
    torch.save(retriever.model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        type(retriever.model).from_pretrained(folder)


def test_config_of_another_method(tmp_path):
    feature_retriever("dscmr").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="of the method 'dscmr', not 'cca'"):
        cmr_hub.CCAModel.from_pretrained(tmp_path)


def test_config_of_no_method(tmp_path):
    feature_retriever("dscmr").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert', which is no method"):
        cmr_hub.from_pretrained(tmp_path)


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
