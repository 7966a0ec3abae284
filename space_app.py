"""The Space's entry point, on one's own machine or on Hugging Face: `python space_app.py` is `cmr serve`."""

import sys

from cmr_hub.utils.server_environment import prepare_environment

prepare_environment()  # before Gradio is imported

if __name__ == "__main__":
    from cmr_hub.cli.main import main

    sys.exit(main(["serve", *sys.argv[1:]]))

from cmr_hub.space import build_app  # noqa: E402
from cmr_hub.space.services.preparation import names_to_prepare  # noqa: E402

demo = build_app(prepare=names_to_prepare())  # for `gradio space_app.py`
