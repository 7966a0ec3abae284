"""Write the files of a new method: a folder that trains as it is, and a test module."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from cmr_hub.errors import InputError
from cmr_hub.methods import METHODS

PACKAGE = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "method_template"


@dataclass(frozen=True)
class NewMethod:
    """What was written.

    Attributes:
        name: the method's name.
        folder: its folder.
        test: its test module.
        entry_point: the lines that a `pyproject.toml`, which was there before, still lacks; "" where it needs none.
        written: all files.
    """

    name: str
    folder: Path
    test: Path
    entry_point: str = ""
    written: tuple[Path, ...] = field(default=())


def new_method(name: str, project: Path | None = None, *, checkout: Path = PACKAGE.parent) -> NewMethod:
    """Write configuration, model, recipe, README and test of a method that trains, for you to change.

    Args:
        name: of the method: its `model_type`, and its folder.
        project: folder of a package of its own, which an entry point makes known to cmr_hub; it may exist already.
            None: in the checkout of cmr_hub.
        checkout: where cmr_hub's repository is.

    Raises:
        InputError: the name cannot be used or is taken, files would be overwritten, or there is no checkout.
    """
    check_new_name(name)
    if project is None:
        return _write_in_checkout(name, checkout)
    return _write_in_project(name, project.expanduser().absolute())


def check_new_name(name: str) -> None:
    """Refuse a name that a new method cannot have.

    Raises:
        InputError: it is no module name, or a method or another model of transformers has it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise InputError(
            f"{name!r} cannot name a method: use lower-case letters, digits and single underscores, as in "
            f"{suggested_name(name)!r}."
        )
    if name in METHODS:
        raise InputError(f"There is a method named {name!r}: {METHODS.find(name).origin}. Choose another name.")
    from transformers import CONFIG_MAPPING  # takes seconds, so it comes last

    if name in CONFIG_MAPPING:
        raise InputError(
            f"{name!r} is the model_type of another model ({CONFIG_MAPPING[name].__module__}), whose checkpoints "
            "AutoModel would then load as yours. Choose another name."
        )


def suggested_name(name: str) -> str:
    """A name that can be used and looks like the one that cannot.

    Example:
    ```python
    >>> suggested_name("My-Method 2"), suggested_name("2nd"), suggested_name("class")
    ('my_method_2', 'method_2nd', 'class_method')
    ```
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    if not words:
        return "my_method"
    if keyword.iskeyword("_".join(words)):
        words.append("method")
    return "_".join(words if words[0][0].isalpha() else ["method", *words])


def _write_in_checkout(name: str, checkout: Path) -> NewMethod:
    package, tests = checkout / "cmr_hub", checkout / "tests" / "methods"
    if not (package.is_dir() and tests.is_dir()):
        raise InputError(
            f"{checkout} is no checkout of cmr_hub's repository: give --package DIR to write the method into a "
            "package of its own."
        )
    folder, test = package / "methods" / name, tests / f"test_{name}.py"
    values = {**_values(name, f"cmr_hub.methods.{name}"), "package": ""}
    written = _write(_method_files(name, folder, test), values)
    # In a process of its own: this one has read the names already.
    subprocess.run([sys.executable, "-m", "cmr_hub.stub"], cwd=checkout, check=True)
    return NewMethod(name, folder, test, written=(*written, package / "__init__.pyi"))


def _write_in_project(name: str, project: Path) -> NewMethod:
    package = suggested_name(project.name)
    folder, test = project / package / name, project / "tests" / f"test_{name}.py"
    values = {**_values(name, f"{package}.{name}"), "project": project.name, "package": package}
    files = _method_files(name, folder, test)
    pyproject, package_file = project / "pyproject.toml", project / package / "__init__.py"
    entry_point = f'[project.entry-points."cmr_hub.methods"]\n{name} = "{package}.{name}:{values["class_name"]}Model"'
    if not pyproject.exists():
        files[pyproject] = "pyproject.toml.jinja"
        entry_point = ""
    written = _write(files, values)
    if not package_file.exists():
        package_file.write_text('"""Methods for cmr_hub."""\n', encoding="utf-8")
        written = (*written, package_file)
    return NewMethod(name, folder, test, entry_point, written)


def _method_files(name: str, folder: Path, test: Path) -> dict[Path, str]:
    """File -> its template."""
    return {
        folder / "__init__.py": "__init__.py.jinja",
        folder / f"configuration_{name}.py": "configuration.py.jinja",
        folder / f"modeling_{name}.py": "modeling.py.jinja",
        folder / "recipe.yaml": "recipe.yaml.jinja",
        folder / "README.md": "README.md.jinja",
        test: "test.py.jinja",
    }


def _values(name: str, module: str) -> dict[str, str]:
    class_name = "".join(word.capitalize() for word in name.split("_"))
    return {"name": name, "class_name": class_name, "module": module, "year": str(date.today().year)}


def _write(files: Mapping[Path, str], values: Mapping[str, str]) -> tuple[Path, ...]:
    """Fill the templates, all or none: nothing is overwritten."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    if taken := [path for path in files if path.exists()]:
        raise InputError(f"{taken[0]} exists already; nothing was written. Remove it, or choose another name.")
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    for path, template in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(templates.get_template(template).render(values), encoding="utf-8")
    return tuple(files)
