"""The public names: at run time, for type checkers, and for transformers' Auto classes."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import cmr_hub
from cmr_hub.exports import SUBPACKAGES, public_homes
from cmr_hub.stub import STUB, stub

CCA = Path(__file__).parents[1] / "model_cards/cca-emoji"


def run(code, *arguments):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_stub_lists_the_public_names():
    assert STUB.read_text() == stub(), "run: python -m cmr_hub.stub"


@pytest.mark.parametrize("name", [*sorted(public_homes()), *SUBPACKAGES])
def test_every_public_name_leads_somewhere(name):
    assert getattr(cmr_hub, name) is not None
    assert name in dir(cmr_hub)


def test_a_star_import_gives_the_public_names():
    names = {}
    exec("from cmr_hub import *", names)
    assert names.keys() >= set(public_homes())


def test_missing_public_name():
    with pytest.raises(AttributeError, match="module 'cmr_hub' has no attribute 'Galery'"):
        cmr_hub.Galery  # noqa: B018


@pytest.mark.slow
def test_a_type_checker_knows_the_public_names_and_no_others(tmp_path):
    (tmp_path / "good.py").write_text(
        "from cmr_hub import DSCMRModel, Gallery\nimport cmr_hub\ncmr_hub.from_pretrained\n"
    )
    (tmp_path / "bad.py").write_text("from cmr_hub import Nonsense\n")
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--cache-dir", str(tmp_path / "cache")]
    for module, code in (("good", 0), ("bad", 1)):
        done = subprocess.run(
            [*command, str(tmp_path / f"{module}.py")], capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        assert done.returncode == code, done.stdout + done.stderr
    assert 'has no attribute "Nonsense"' in done.stdout


def test_importing_the_package_imports_no_heavy_library():
    loaded = run("import sys, cmr_hub; print(*sys.modules)").split()
    assert not {"torch", "transformers", "numpy", "datasets", "huggingface_hub", "PIL", "yaml"} & set(loaded)


AUTO_CLASSES = f"""
    for auto_class in (AutoProcessor, AutoConfig, AutoModel):
        print(type(auto_class.from_pretrained({str(CCA)!r})).__name__)
    print(*(name for name in sys.modules if name.startswith("cmr_hub.methods.") and name.count(".") == 2))
"""
AUTO_CLASSES_GIVE = ["CMRProcessor", "CCAConfig", "CCAModel", "cmr_hub.methods.cca"]


ORDERS = {
    "cmr_hub first": f"""
    import sys, cmr_hub
    from transformers import AutoConfig, AutoModel, AutoProcessor
    {AUTO_CLASSES}
    cmr_hub.from_pretrained("cmr/dscmr-wiki")
    print(*{{name.partition(".")[0] for name in sys.modules}})
    """,
    "transformers first": f"""
    import sys
    from transformers import AutoConfig, AutoModel, AutoProcessor
    import cmr_hub
    {AUTO_CLASSES}
    """,
}
# Runs each program in a fork of a process that has imported torch already, which takes seconds.
FORKS = """
import os, sys
import torch._dynamo, torch.distributed.tensor

assert not {"cmr_hub", "transformers"} & set(sys.modules)
for code in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        exec(code, {})
        print("--", flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def printed():
    """Order of the imports -> what its program prints."""
    codes = [textwrap.dedent(code) for code in ORDERS.values()]
    return dict(zip(ORDERS, run(FORKS, *codes).split("--\n"), strict=False))


@pytest.mark.slow
def test_loading_a_checkpoint_imports_its_method_alone_and_no_library_that_it_does_not_use(printed):
    *given, modules = printed["cmr_hub first"].splitlines()
    assert given == AUTO_CLASSES_GIVE
    unused = {"datasets", "faiss", "gensim", "gradio", "h5py", "matplotlib", "optuna", "pandas", "plotly", "pymilvus"}
    assert not (unused | {"sklearn", "timm"}) & set(modules.split())


@pytest.mark.slow
def test_the_auto_classes_load_a_checkpoint_where_transformers_was_imported_first(printed):
    assert printed["transformers first"].split() == AUTO_CLASSES_GIVE


def test_the_auto_classes_know_a_configuration_that_was_made_directly():
    from transformers import AutoModel

    config = cmr_hub.SHConfig(image_dim=4, text_dim=4, embed_dim=8)
    assert type(AutoModel.from_config(config)) is cmr_hub.SHModel


@pytest.mark.parametrize("model_type", ["dual_encoder", "spreading_vectors"])
def test_the_auto_classes_know_models_that_are_no_method(model_type):
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    assert MODEL_MAPPING[CONFIG_MAPPING[model_type]].config_class.model_type == model_type


def test_transformers_still_refuses_unknown_types():
    from transformers import CONFIG_MAPPING

    assert "cca" in CONFIG_MAPPING
    assert "bert" in CONFIG_MAPPING
    assert "none such" not in CONFIG_MAPPING
    with pytest.raises(KeyError, match="none such"):
        CONFIG_MAPPING["none such"]
