"""Old paths of modules import what moved, and warn."""

import sys
from importlib import import_module

import pytest

import cmr_hub
from cmr_hub.utils.moved_modules import MOVED


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_an_old_path_is_the_new_module_and_warns(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=rf"^{old} is deprecated .*: import {new} instead"):
        module = import_module(old)
    assert module is import_module(new)


@pytest.mark.parametrize(
    ("line", "old"),
    [
        ("from cmr_hub.gallery import Gallery, Hit", "cmr_hub.gallery"),
        ("from cmr_hub.registry import METHODS, Registry, list_methods", "cmr_hub.registry"),
        ("from cmr_hub.losses import label_loss", "cmr_hub.losses"),
        ("from cmr_hub.features import FeatureStore", "cmr_hub.features"),
        ("from cmr_hub.spreading_vectors import SpreadingVectorsModel", "cmr_hub.spreading_vectors"),
        ("from cmr_hub import retriever; retriever.from_pretrained", "cmr_hub.retriever"),
        ("import cmr_hub; cmr_hub.codes.pack", "cmr_hub.codes"),
        ("from cmr_hub.results.reproduction import read_results", "cmr_hub.results.reproduction"),
        ("from training.train import train", "training.train"),
        ("from training.recipe import load_recipe", "training.recipe"),
    ],
)
def test_what_users_wrote_works_and_warns_where_they_wrote_it(line, old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    monkeypatch.delattr(old, raising=False)
    with pytest.warns(DeprecationWarning, match=rf"^{old} is deprecated") as caught:
        exec(compile(line, "user.py", "exec"), {})
    assert [warning.filename for warning in caught] == ["user.py"]


@pytest.mark.parametrize(
    "name", ["resolve", "list_checkpoints", "push_folder", "bundled_folder", "CheckpointInfo", "read_json"]
)
def test_the_hub_is_a_package_with_the_functions_of_the_module_that_it_was(name):
    assert callable(getattr(cmr_hub.hub, name))
