"""What holds for every method of the registry, whatever its idea."""

from __future__ import annotations

import copy
import functools
import logging
import pickle

import numpy as np
import pytest
import torch
from datasets import ClassLabel, DatasetDict
from torch.nn import functional as F

import cmr_hub
from closeness import assert_alike
from cmr_hub.errors import InputError, UnknownArgumentError
from cmr_hub.methods import METHODS
from cmr_hub.modeling.modeling_cmr import unit_rows
from cmr_hub.training.recipe import load_recipe
from cmr_hub.training.train import train
from toys import feature_dataset, raw_dataset

BY_GRADIENT = [name for name in sorted(METHODS) if not issubclass(METHODS[name], cmr_hub.ClosedFormCMRModel)]
SUPERVISED = [method.name for method in cmr_hub.list_methods() if method.supervision == "supervised"]
NEEDS_LABELS = [name for name in SUPERVISED if METHODS[name].needs_labels()]
UNSUPERVISED = [method.name for method in cmr_hub.list_methods() if method.supervision == "unsupervised"]


BITS = 8
DIMS = {"image_dim": 12, "text_dim": 9}


def toy_width(method, real_valued=3):
    """A code of a byte; else, by default, as wide as there are classes, which all allow."""
    return BITS if METHODS[method].is_hashing else real_valued


def eats_vectors(method):
    return (METHODS[method].image_input, METHODS[method].text_input) == ("image_features", "text_features")


def toy_recipe(method, embed_dim=3):
    """The recipe with two epochs on the toy data, on their features where that is what the method eats."""
    recipe = load_recipe(method).changed(config={"embed_dim": toy_width(method, embed_dim)})
    if recipe.training:
        recipe = recipe.changed(training={"num_train_epochs": 2, "per_device_train_batch_size": 32})
    if not eats_vectors(method):
        return recipe
    return recipe.changed(encoders={"image": "precomputed", "text": "precomputed"}, captions="set")


def toy_inputs(method, rows):
    """What a method's model eats, made from `(n, sum(DIMS.values()))` rows: vectors, or four regions and two words."""
    image, text = rows.split(list(DIMS.values()), dim=1)
    if eats_vectors(method):
        return {"image_features": image, "text_features": text}
    return {"region_features": image[:, None].repeat(1, 4, 1), "input_ids": torch.ones(len(rows), 2).long()}


def make_model(method):
    torch.manual_seed(0)
    model_class = METHODS[method]
    settings = {**load_recipe(method).config, "embed_dim": toy_width(method), "num_labels": 3}
    return model_class(model_class.config_class(**DIMS, **settings))


@pytest.fixture
def method(request):
    """The parameter of a test; named here so that its data can follow it."""
    return request.param


@pytest.fixture
def dataset(method, tmp_path_factory, private_cache):
    if not eats_vectors(method):
        return raw_dataset(tmp_path_factory.mktemp("images"))
    return DatasetDict(
        train=feature_dataset(150, **DIMS),
        validation=feature_dataset(40, 1, "val", **DIMS),
        test=feature_dataset(40, 2, "test", **DIMS),
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS), indirect=True)
def test_it_trains_from_its_recipe_and_survives_saving_bit_for_bit(method, dataset, tmp_path, monkeypatch):
    trained = []
    save = cmr_hub.Retriever.save_pretrained
    monkeypatch.setattr(
        cmr_hub.Retriever, "save_pretrained", lambda self, folder: trained.append(self) or save(self, folder)
    )
    run = train(toy_recipe(method), dataset, "toy", tmp_path)
    loaded = cmr_hub.from_pretrained(tmp_path)
    before, after = trained[0].model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    images = torch.randn(5, DIMS["image_dim"]).numpy() if eats_vectors(method) else dataset["test"]["image"][:5]
    assert_alike(loaded.encode_images(images), trained[0].encode_images(images))
    assert 0 < run.results[0]["metrics"]["map"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("method", UNSUPERVISED, indirect=True)
def test_unsupervised_methods_need_no_classes(method, dataset, tmp_path):
    unlabelled = DatasetDict({name: split.remove_columns("label") for name, split in dataset.items()})
    run = train(toy_recipe(method), unlabelled, "toy", tmp_path, protocols=["instance"])
    assert run.results[0]["metrics"]["image_to_text/recall@10"] > 0


@pytest.mark.parametrize("method", NEEDS_LABELS, indirect=True)
def test_supervised_methods_refuse_pairs_without_classes(method, dataset, tmp_path):
    unlabelled = DatasetDict({name: split.remove_columns("label") for name, split in dataset.items()})
    with pytest.raises(InputError, match=f"{method} learns from classes, and the training data have no label column"):
        # Two is the number of classes of a configuration that has been told none.
        train(toy_recipe(method, embed_dim=2), unlabelled, "toy", tmp_path, protocols=["instance"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", SUPERVISED, indirect=True)
def test_supervised_methods_refuse_a_single_class(method, dataset, tmp_path):
    one = DatasetDict(
        {name: split.filter(lambda label: label == 1, input_columns="label") for name, split in dataset.items()}
    )
    with pytest.raises(InputError, match="two at least must have training items, not 1"):
        train(toy_recipe(method), one, "toy", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", SUPERVISED, indirect=True)
def test_a_class_missing_from_training_is_warned_of(method, dataset, tmp_path, caplog):
    without = dataset["train"].filter(lambda label: label != 2, input_columns="label")
    without = without.cast_column("label", ClassLabel(names=["a", "b", "c"]))
    with caplog.at_level(logging.WARNING):
        run = train(toy_recipe(method), DatasetDict({**dataset, "train": without}), "toy", tmp_path)
    assert "No training item is of the class c" in caplog.text
    assert run.results[0]["metrics"]["map"] > 0


@pytest.mark.parametrize("method", sorted(METHODS), indirect=True)
@pytest.mark.parametrize(
    "rows",
    [
        torch.randn(1, sum(DIMS.values()), generator=torch.Generator().manual_seed(0)),
        torch.ones(8, sum(DIMS.values())),
    ],
    ids=["a batch of one", "constant features"],
)
def test_degenerate_data_are_refused_by_closed_forms_and_give_gradients_that_are_finite(method, rows):
    model = make_model(method)
    inputs = toy_inputs(method, rows)
    labels = torch.eye(3)[torch.arange(len(rows)) % 3]
    if isinstance(model, cmr_hub.ClosedFormCMRModel):
        with pytest.raises(InputError, match="At least two pairs" if len(rows) == 1 else "All rows of the image"):
            model.fit(**inputs, labels=labels)
        return
    loss = model.train()(**inputs, labels=labels).loss
    assert torch.isfinite(loss)
    if loss.requires_grad:
        loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def toy_batch(method, n=8):
    """Inputs and labels of a batch of pairs."""
    rows = torch.randn(n, sum(DIMS.values()), generator=torch.Generator().manual_seed(0))
    return {**toy_inputs(method, rows), "labels": torch.eye(3)[torch.arange(n) % 3]}


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_the_loss_is_the_weighted_sum_of_its_terms(method):
    model = make_model(method).train()
    output = model(**toy_batch(method))
    # The weights are the derivatives of the loss by its terms, whatever the model says that they are.
    terms = output.loss_terms
    weights = dict(zip(terms, torch.autograd.grad(output.loss, list(terms.values())), strict=True))
    expected = sum(weights[name].item() * term.item() for name, term in terms.items())
    assert output.loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for name, weight in weights.items():
        assert model.loss_weights.get(name, 1.0) == pytest.approx(weight.item())


@pytest.mark.parametrize("absent", ["image", "text"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_a_loss_that_lacks_a_modality_is_refused_by_its_name(method, absent):
    model, batch = make_model(method), toy_batch(method)
    argument = getattr(model, f"{absent}_input")
    del batch[argument]
    with pytest.raises(
        InputError, match=rf"{method} computes its loss from pairs: .* but no {absent} \({argument}\)\. Give both"
    ):
        model(**batch)


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_one_modality_alone_is_embedded_without_a_loss(method, modality):
    model, batch = make_model(method).eval(), toy_batch(method)
    argument = getattr(model, f"{modality}_input")
    output = model(**{argument: batch[argument]})
    assert output.loss is None
    embed = getattr(model, f"get_{modality}_features")
    torch.testing.assert_close(output[f"{modality}_embeds"], F.normalize(embed(batch[argument])))
    assert output.get({"image": "text", "text": "image"}[modality] + "_embeds") is None


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_unknown_argument_is_refused_with_the_near_name(method):
    model = make_model(method)
    misspelt = model.image_input.replace("features", "featurse")
    with pytest.raises(
        UnknownArgumentError, match=f"takes no argument '{misspelt}'. Did you mean '{model.image_input}"
    ):
        model(**{misspelt: torch.randn(2, DIMS["image_dim"])})


@pytest.mark.parametrize("method", sorted(METHODS))
def test_forward_belongs_to_the_base(method):
    model_class = METHODS[method]
    assert model_class.forward is cmr_hub.CMRModel.forward
    assert model_class.main_input_name == model_class.image_input
    assert {model_class.image_input, model_class.text_input, "labels"} <= set(model_class.arguments.known)


KERNELS = ("klsh", "seph")  # sums of many kernel values that cancel out: the eight bits of bfloat16 are too few


@functools.cache
def ready_model(method):
    """A model with random weights, or of a closed form with solved ones, large enough that outputs differ."""
    model = make_model(method).eval()
    if isinstance(model, cmr_hub.ClosedFormCMRModel):
        rows = torch.rand(160, sum(DIMS.values()), generator=torch.Generator().manual_seed(0))
        return model.fit(**toy_inputs(method, rows), labels=torch.eye(3)[torch.arange(160) % 3])
    if method == "dbm":  # which starts from weights near zero, so that all hidden units are at one half
        for weight in model.parameters():
            weight.data *= 50
    return model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_half_precision_embeds_float32_features_as_float32_does(method, dtype):
    whole, half = ready_model(method), copy.deepcopy(ready_model(method)).to(dtype)
    inputs = toy_inputs(method, torch.rand(9, sum(DIMS.values()), generator=torch.Generator().manual_seed(1)))
    for modality, (name, rows) in zip(("image", "text"), inputs.items(), strict=True):
        embed = f"get_{modality}_features"
        with torch.inference_mode():
            values = [getattr(model, embed)(rows) for model in (whole, half)]
            output = half(**{name: rows})
        expected, found = map(unit_rows, values)
        assert found.dtype == np.float32
        if dtype == torch.float16 or method not in KERNELS:
            assert (found * expected).sum(axis=1).min() > (0.8 if method in KERNELS else 0.97)
        np.testing.assert_allclose(unit_rows(output[f"{modality}_embeds"]), found, atol=0.02)  # rounded once more
        assert half.as_embeddings(values[1]).dtype == (np.uint8 if half.is_hashing else np.float32)


class ImageHead(torch.nn.Module):
    """What embeds images, as people export it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(**{self.model.image_input: inputs}).image_embeds


def head_and_inputs(method, n=6):
    torch.manual_seed(0)
    model = ready_model(method).eval()
    return ImageHead(model).eval(), toy_inputs(method, torch.randn(n, sum(DIMS.values())))[model.image_input]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_it_is_pickled_copied_and_exported_for_any_number_of_items(method):
    head, inputs = head_and_inputs(method)
    with torch.no_grad():
        expected = head(inputs)
        for same in (pickle.loads(pickle.dumps(head)), copy.deepcopy(head)):
            torch.testing.assert_close(same(inputs), expected)
        exported = torch.export.export(head, (inputs,), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module()
        torch.testing.assert_close(exported(inputs[:4]), expected[:4])


@pytest.mark.parametrize("method", ["cca", "dbm", "unified"])
def test_it_is_compiled(method):
    head, inputs = head_and_inputs(method)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(head, backend="eager")(inputs), head(inputs))


@pytest.mark.parametrize("method", ["cca", "dscmr_hash", "unified"])
def test_onnx_runtime_computes_it(method, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    head, inputs = head_and_inputs(method)
    sizes = ({0: torch.export.Dim.AUTO},)
    torch.onnx.export(head, (inputs,), dynamo=True, dynamic_shapes=sizes, verbose=False).save(tmp_path / "head.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs[:4].numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), head(inputs)[:4], atol=1e-4, rtol=1e-3)
