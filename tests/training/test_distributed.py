import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

import cmr_hub
from cmr_hub import ClosedFormCMRModel
from cmr_hub.methods import METHODS
from cmr_hub.training import distributed as joint_steps
from cmr_hub.training.distributed import EMBEDDING, JointSteps
from cmr_hub.training.recipe import load_recipe
from cmr_hub.utils.processes import Process

BY_GRADIENT = [name for name in sorted(METHODS) if not issubclass(METHODS[name], ClosedFormCMRModel)]
DIMS = {"image_dim": 12, "text_dim": 9}


def make_model(method):
    model_class = METHODS[method]
    settings = {**load_recipe(method).config, "embed_dim": 24, "num_labels": 3}
    torch.manual_seed(0)
    return model_class(model_class.config_class(**DIMS, **settings)).train()


def modality_inputs(model, modality, n):
    if getattr(model, f"{modality}_input") == "input_ids":
        return [torch.arange(n)[:, None] % 2 + 1, torch.ones(n, 1, dtype=torch.long)]
    rows = torch.randn(n, DIMS[f"{modality}_dim"])
    return [rows[:, None].repeat(1, 4, 1) if model.image_input == "region_features" else rows]


class Relay:
    """Stands for the network between processes that take their turns: what the others give is known by then."""

    def __init__(self, monkeypatch, whole):
        self.rows, self.calls = whole, 0
        monkeypatch.setattr(joint_steps.distributed, "all_gather", self.all_gather)

    def all_gather(self, shares, own):
        self.calls += 1
        for share, rows in zip(shares, self.rows.tensor_split(len(shares)), strict=True):
            share[: len(rows)] = rows


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_a_share_embedded_by_itself_is_a_share_of_the_whole(method, modality, monkeypatch):
    model, process = make_model(method), Process(rank=1, count=2)
    inputs = modality_inputs(model, modality, 7)
    torch.manual_seed(1)
    whole = getattr(copy.deepcopy(model), f"get_{modality}_features")(*inputs)
    drawn = torch.get_rng_state()
    relay, steps = Relay(monkeypatch, whole), JointSteps(model, process)
    embed = getattr(model, f"get_{modality}_features")
    own = []
    setattr(model, f"get_{modality}_features", lambda *args: own.append(embed(*args)) or own[-1])
    torch.manual_seed(1)
    with steps.embedding():
        rows = getattr(model, f"get_{modality}_features")(*inputs)
    torch.testing.assert_close(rows, whole)
    if relay.calls:
        torch.testing.assert_close(own[0], whole[4:])
    else:
        normalises = any(isinstance(part, _BatchNorm) for part in model.modules())
        assert normalises or not torch.equal(drawn, torch.Generator().manual_seed(1).get_state())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_mean_of_the_gradients_is_that_of_the_whole_batch(monkeypatch):
    model = cmr_hub.DSCMRModel(cmr_hub.DSCMRConfig(image_dim=6, text_dim=4, hidden_dim=16, embed_dim=8, num_labels=3))
    batch = {
        "image_features": torch.randn(7, 6),
        "text_features": torch.randn(7, 4),
        "labels": torch.eye(3)[[0, 1, 2] * 2 + [0]],
    }
    model(**batch).loss.backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    embedded = [
        embeds.detach()
        for embeds in (
            model.get_image_features(batch["image_features"]),
            model.get_text_features(batch["text_features"]),
        )
    ]
    gradients = []
    for rank in range(3):
        of_process = copy.deepcopy(model)
        of_process.zero_grad()
        in_turn = iter(embedded)

        def all_gather(shares, own, in_turn=in_turn):
            for share, rows in zip(shares, next(in_turn).tensor_split(3), strict=True):
                share[: len(rows)] = rows

        monkeypatch.setattr(joint_steps.distributed, "all_gather", all_gather)
        with JointSteps(of_process, Process(rank, 3)).embedding():
            of_process(**batch).loss.backward()
        gradients.append({name: weight.grad for name, weight in of_process.named_parameters()})
    for name, gradient in expected.items():
        torch.testing.assert_close(sum(of_one[name] for of_one in gradients) / 3, gradient)


def test_a_batch_with_fewer_rows_than_processes_is_embedded_whole(monkeypatch):
    model = make_model("dscmr")
    relay = Relay(monkeypatch, torch.empty(0))
    rows = torch.randn(2, DIMS["image_dim"])
    with JointSteps(model, Process(rank=2, count=3)).embedding():
        embeds = model.get_image_features(rows)
    torch.testing.assert_close(embeds, model.get_image_features(rows))
    assert relay.calls == 0


def test_alone_nothing_is_touched():
    model = make_model("dscmr")
    with JointSteps(model, Process()).embedding():
        assert not set(EMBEDDING) & set(vars(model))
