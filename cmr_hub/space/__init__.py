"""The Gradio Space: search galleries in the browser, and over an API. One module a view."""

from .page import build_app, launch

__all__ = ["build_app", "launch"]
