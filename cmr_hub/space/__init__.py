"""The Gradio Space: search galleries in the browser, and over an API. One module per view."""

from cmr_hub.utils.extras import require

for _package in ("gradio", "plotly", "sklearn", "joblib"):
    require(_package, "space", "The Space")

from .app import build_app, launch  # noqa: E402

__all__ = ["build_app", "launch"]
