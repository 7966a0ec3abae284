"""Render the Space's HTML from the Jinja2 templates in `space/templates`. Every value is escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"

_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    cache_size=-1,
)
_environment.filters["thousands"] = "{:,}".format
_environment.filters["percent"] = "{:.0%}".format


def render(template: str, **values: object) -> Markup:
    """Render one template.

    Args:
        template: name of a file in `space/templates`, without `.html`.
        **values: what the template uses. Text is escaped; the result of another `render` is inserted as it is.

    Returns:
        HTML.

    Example:
    ```python
    >>> from cmr_hub.space.components.rendering import render
    >>> print(render("notice", message="x < y"))
    <div class="cmr-notice" role="alert">x &lt; y</div>
    ```
    """
    return Markup(_environment.get_template(f"{template}.html").render(**values))
