"""The Space's entry point: `python space_app.py`, on a machine of one's own or on Hugging Face."""

import os
import tempfile
from pathlib import Path


def is_writable(folder: Path) -> bool:
    """Whether files can be kept in a folder, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


# All are read when the libraries are first imported or used. Threads that wait by spinning take the cores from the
# next visitor's query; Gradio sums up, for its dashboard, all that was ever asked, and does so after each question;
# and a host may give no home, or one that is not to be written to.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "100")
if not is_writable(Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()):
    os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="huggingface-")

from cmr_hub.space import build_app, launch  # noqa: E402
from cmr_hub.space.services.preparation import names_to_prepare  # noqa: E402

PREPARED_WHEN_HOSTED = ("pascal", "wiki")

demo = build_app(prepare=names_to_prepare(PREPARED_WHEN_HOSTED))

if __name__ == "__main__":
    launch(demo)
