"""Run README's first example with the installed wheel, without extras; `make check-wheel` starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
EXTRA_PACKAGES = (
    "gradio",
    "matplotlib",
    "plotly",
    "faiss",
    "pymilvus",
    "gensim",
    "h5py",
    "optuna",
)
CHECKS = """
import cmr_hub
assert "site-packages" in cmr_hub.__file__, cmr_hub.__file__
assert texts.shape == (2, 256) and images.shape == (1, 256) and scores.shape == (1, 2)
"""


def main() -> None:
    """Fail with the first thing that does not hold."""
    present = [name for name in EXTRA_PACKAGES if find_spec(name)]
    if present:
        sys.exit(f"The core pulls in packages of the extras: {', '.join(present)}.")
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if example is None:
        sys.exit(f"{README} has no Python example.")
    with tempfile.TemporaryDirectory() as folder:
        from PIL import Image

        Image.new("RGB", (64, 48), "orange").save(Path(folder, "photo.jpg"))
        program = example.group(1) + CHECKS
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, "-c", program], cwd=folder, env=offline, check=True)
        subprocess.run(
            [str(Path(sys.executable).with_name("cmr")), "--help"], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    files = [file for package in distributions() for file in package.files or ()]
    size = sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file())
    print(
        f"README's example runs without extras: {len(list(distributions()))} packages, {size / 1e6:,.0f} MB installed."
    )


if __name__ == "__main__":
    main()
