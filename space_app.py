"""The Space's entry point: `python space_app.py`, on a machine of one's own or on Hugging Face."""

import os

# Read when torch is first imported: threads that wait by spinning take the cores from the next visitor's query.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from cmr_hub.space import build_app, launch
from cmr_hub.space.preparation import names_to_prepare

PREPARED_WHEN_HOSTED = ("pascal", "wiki")

demo = build_app(prepare=names_to_prepare(PREPARED_WHEN_HOSTED))

if __name__ == "__main__":
    launch(demo)
