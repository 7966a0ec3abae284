"""What a process that serves the Space sets before the libraries are imported."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Threads that wait by spinning take the cores from the next visitor's query. For its dashboard Gradio sums up, after
# each question, all that was ever asked.
SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "100",
}


def prepare_environment() -> None:
    """Set what is read when torch, Gradio and the Hub's client are first imported, as far as nobody has set it."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    # A host may give no home, or one that is not to be written to.
    if not _is_writable(Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()):
        os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="huggingface-")


def _is_writable(folder: Path) -> bool:
    """Whether files can be kept in a folder, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
