"""The files of a new method: in a checkout, and in a package that is built and installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from cmr_hub.cli.main import main
from cmr_hub.errors import InputError
from cmr_hub.experiments.new_method import new_method

REPOSITORY = Path(__file__).resolve().parents[2]
ENCODER = '''
    """The first letter of a text."""

    import torch

    from cmr_hub.encoders import register_encoder
    from cmr_hub.encoders.base import TextEncoder


    @register_encoder("text", "first_letter")
    class FirstLetterEncoder(TextEncoder):
        dim = 26

        def encode(self, inputs):
            letters = torch.tensor([ord(text[0]) - ord("a") for text in inputs])
            return torch.nn.functional.one_hot(letters, self.dim).float()

        def to_dict(self):
            return {"name": self.name, "modality": self.modality}

        @classmethod
        def from_dict(cls, config, folder=None):
            return cls()
'''
TRAINING = """
    import sys

    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
    from PIL import Image as Images

    import cmr_hub
    from cmr_hub.training.recipe import load_recipe
    from cmr_hub.training.train import train

    COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "turquoise": (0, 200, 200)}
    features = Features(
        id=Value("string"), image=Image(), texts=List(Value("string")), label=ClassLabel(names=list(COLOURS))
    )

    def make_split(n, prefix):
        names = [list(COLOURS)[row % 3] for row in range(n)]
        images = [Images.new("RGB", (32, 32), COLOURS[name]) for name in names]
        columns = {"id": [f"{prefix}-{row}" for row in range(n)], "image": images, "texts": [[name] for name in names]}
        return Dataset.from_dict({**columns, "label": names}, features=features)

    assert "toy" in cmr_hub.METHODS and list(cmr_hub.METHODS)[-1] == "toy"
    assert "cmr_toy" not in sys.modules
    splits = DatasetDict(train=make_split(30, "a"), validation=make_split(9, "b"), test=make_split(9, "c"))
    encoders = {"image": {"name": "pixels", "size": 4}, "text": "first_letter"}
    training = {"num_train_epochs": 20, "learning_rate": 0.05}
    recipe = load_recipe("toy").changed(encoders=encoders, config={"embed_dim": 4}, training=training)
    run = train(recipe, splits, "colours", "trained")
    assert run.results[0]["metrics"]["map"] > 0.9, run.results

    retriever = cmr_hub.from_pretrained("trained")
    assert type(retriever.model).__module__ == "cmr_toy.toy.modeling_toy"
    assert type(retriever.processor.text_encoder).__name__ == "FirstLetterEncoder"
    gallery = cmr_hub.Gallery.from_dataset(splits["test"], retriever)
    gallery.save_pretrained("gallery")
    (hit,) = cmr_hub.Gallery.from_pretrained("gallery", retriever=retriever).search(text="turquoise", k=1)
    assert hit.labels == ("turquoise",), hit
"""
LOADING = """
    import cmr_hub
    from cmr_hub.encoders import list_encoders
    from transformers import AutoModel, AutoProcessor

    assert type(AutoModel.from_pretrained("trained")).__name__ == "ToyModel"
    assert AutoProcessor.from_pretrained("trained").text_encoder.name == "first_letter"
    assert "first_letter" in list_encoders("text")
    (info,) = cmr_hub.list_methods("toy")
    assert (info.title, info.supervision) == ("Toy", "supervised")

    # The method's own test, in this process since starting another takes seconds.
    import pytest

    raise SystemExit(pytest.main(["--rootdir", "cmr-toy", "cmr-toy/tests/test_toy.py"]))
"""


# Each in a process of its own that has imported the libraries already, which takes seconds.
PROGRAM = f"""
import os
import sys

import datasets
import transformers.trainer

assert not [name for name in sys.modules if name.startswith(("cmr_hub", "cmr_toy"))]
child = os.fork()
if child == 0:
    exec({textwrap.dedent(TRAINING)!r})
    sys.stdout.flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
exec({textwrap.dedent(LOADING)!r})
"""


def run(command, cwd, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("dscmr", r"There is a method named 'dscmr': cmr_hub\.methods\.dscmr\.modeling_dscmr:DSCMRModel"),
        ("Toy-Net", "'Toy-Net' cannot name a method: .* as in 'toy_net'"),
        ("2nd", "as in 'method_2nd'"),
        ("toy__net", "as in 'toy_net'"),
        ("class", "as in 'class_method'"),
        ("../toy", "as in 'toy'"),
        ("", "as in 'my_method'"),
        ("bert", "'bert' is the model_type of another model"),
        ("dual_encoder", "'dual_encoder' is the model_type of another model"),
    ],
)
def test_names_that_cannot_be_used(name, problem, tmp_path):
    with pytest.raises(InputError, match=problem):
        new_method(name, tmp_path / "package")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    new_method("toy", tmp_path)
    before = {path: path.read_text() for path in tmp_path.rglob("*.*")}
    with pytest.raises(InputError, match="exists already; nothing was written"):
        new_method("toy", tmp_path)
    assert {path: path.read_text() for path in tmp_path.rglob("*.*")} == before


def test_where_there_is_no_checkout(tmp_path):
    with pytest.raises(InputError, match=r"is no checkout .*give --package DIR"):
        new_method("toy", checkout=tmp_path)


def test_a_second_method_of_a_package_says_what_its_project_lacks(tmp_path):
    first, second = new_method("toy", tmp_path / "cmr-toys"), new_method("other_toy", tmp_path / "cmr-toys")
    assert first.entry_point == ""
    assert second.entry_point == (
        '[project.entry-points."cmr_hub.methods"]\nother_toy = "cmr_toys.other_toy:OtherToyModel"'
    )
    assert second.folder == tmp_path / "cmr-toys" / "cmr_toys" / "other_toy"


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path, caplog):
    caplog.set_level("INFO")
    assert main(["new-method", "toy", "--package", str(tmp_path / "cmr-toy")]) == 0
    assert str(tmp_path / "cmr-toy" / "cmr_toy" / "toy" / "modeling_toy.py") in caplog.text
    assert "cmr train --method toy" in caplog.text


@pytest.mark.slow
def test_a_method_in_a_checkout_passes_its_test_and_the_linter(tmp_path, monkeypatch):
    shutil.copytree(REPOSITORY / "cmr_hub", tmp_path / "cmr_hub", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "methods").mkdir(parents=True)
    assert new_method.__kwdefaults__["checkout"] == REPOSITORY
    monkeypatch.setitem(new_method.__kwdefaults__, "checkout", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["new-method", "toy"]) == 0
    assert "ToyConfig, ToyModel" in (tmp_path / "cmr_hub" / "__init__.pyi").read_text()
    passed = run(
        [sys.executable, "-m", "pytest", "--override-ini=pythonpath=.", "tests/methods/test_toy.py"], tmp_path
    )
    assert "4 passed" in passed
    changed = ["cmr_hub/__init__.pyi", "cmr_hub/methods/toy", "tests/methods/test_toy.py"]
    run([sys.executable, "-m", "ruff", "check", *changed], tmp_path)
    run([sys.executable, "-m", "ruff", "format", "--check", *changed], tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[Path, Path]:
    """The Python of a fresh environment in which a package with a method and an encoder is installed; a folder."""
    folder = tmp_path_factory.mktemp("outside")
    project = folder / "cmr-toy"
    new_method("toy", project)
    (project / "cmr_toy" / "letters.py").write_text(textwrap.dedent(ENCODER))
    with (project / "pyproject.toml").open("a") as file:
        file.write('\n[project.entry-points."cmr_hub.encoders.text"]\n')
        file.write('first_letter = "cmr_toy.letters:FirstLetterEncoder"\n')
    environment = folder / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment], folder)
    # The libraries of this environment, and the package under test, without copying either.
    (site,) = environment.glob("lib/python*/site-packages")
    shared = dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib"))
    (site / "shared.pth").write_text("\n".join([*shared, str(REPOSITORY)]))
    python = environment / "bin" / "python"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", site]
    run([python, "-m", "pip", "install", *options, project], folder)
    return python, folder


@pytest.mark.slow
def test_an_outside_package_trains_saves_loads_and_searches_and_passes_its_test(installed):
    python, folder = installed
    assert "4 passed" in run([python, "-c", PROGRAM], folder, CMR_HUB_CACHE=str(folder / "cache"))
