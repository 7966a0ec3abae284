"""What a visitor may hand to a function of the page or the API: checked here for all of them, before any sees it.

Gradio lets pass what its page would never send: any JSON where a text is expected, and the path of any file where the
function takes it unopened. A value that a component of the page could not have is refused with a message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import gradio as gr
from gradio.components.api_component import Api

from cmr_hub.errors import InputError

from ..services.received_files import name_of, received_file
from ..services.upload_tables import printable
from .answers import readable_errors
from .downloads import download_public, is_address

MAX_FILES = 5_000
MAX_CHOICES = 100
MAX_FILE_NAME = 255  # characters; of a longer one the end stays, which has the extension
# What functions read of an event, by its type, and what they find where an event has none.
EVENT_FIELDS: dict[str, tuple[type, Any]] = {
    "text": (str, None),
    "model": (str, None),
    "item": (str, ""),
    "modality": (str, ""),
    "row": (int, -1),
    "value": (str, ""),
}


class CheckedBlocks(gr.Blocks):
    """`gr.Blocks` whose functions get checked values only, and whose errors are all messages."""

    async def process_api(
        self,
        block_fn: Any,
        inputs: Sequence[Any],
        *arguments: Any,
        request: Any = None,
        event_data: Any = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a function for a request: of the page, the API, or a tool."""
        with readable_errors(request):
            function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
            options |= {"request": request, "event_data": admit_event(event_data)}
            return await super().process_api(function, await admit(function, inputs), *arguments, **options)


async def admit(function: Any, values: Sequence[Any]) -> list[Any]:
    """The values of a function's inputs, checked.

    Raises:
        InputError: there are too few, or one is nothing that its component could have.
    """
    if function.fn is None:
        raise InputError("This function runs in the browser only.")
    components = function.inputs
    if len(values) < len(components):
        raise InputError(f"{len(components)} values are expected, and {len(values)} were sent. Send all of them.")
    return [
        value if component.stateful else await _admit_one(component, value, name)
        for component, value, name in zip(components, values, _names(function), strict=False)
    ]


async def _admit_one(component: Any, value: Any, name: str) -> Any:
    if isinstance(component, gr.Image) and isinstance(value, Mapping) and is_address(value.get("path")):
        return _file_data(str(await download_public(value["path"])), value)
    return check_of(component)(component, value, name)


def _names(function: Any) -> list[str]:
    """What messages call the inputs of a function: of the API's its arguments, of the page's their labels."""
    if function.api_visibility != "private":
        return list(inspect.signature(function.fn).parameters)
    return [component.label or type(component).__name__ for component in function.inputs]


def check_of(component: Any) -> Callable[[Any, Any, str], Any]:
    """The check of a kind of component.

    Raises:
        InputError: no function takes values of this kind.
    """
    for kind, check in CHECKS.items():
        if isinstance(component, kind):
            return check
    raise InputError(f"A {type(component).__name__} takes no value.")


def admit_event(event: gr.EventData | None) -> gr.EventData | None:
    """The event with what functions read of it, checked, and nothing else.

    Raises:
        InputError: a part of it has another type.
    """
    if event is None:
        return None
    sent = event._data if isinstance(event._data, Mapping) else {}
    data: dict[str, Any] = {"index": None}
    for name, (kind, missing) in EVENT_FIELDS.items():
        value = sent.get(name)
        is_expected = is_text(value) if kind is str else isinstance(value, kind) and not isinstance(value, bool)
        if value is not None and not is_expected:
            raise _unexpected(name, "a text" if kind is str else "a whole number", value)
        data[name] = missing if value is None else value
    return gr.EventData(event.target, data)


def _file(component: Any, value: Any, name: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _unexpected(name, "an uploaded file", value)
    return _file_data(str(received_file(value.get("path"))), value)


def _file_data(path: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """A file as Gradio describes it, of which only the sender's name for it comes from the sender."""
    called = sent.get("orig_name")
    called = called[-MAX_FILE_NAME:] if is_text(called) and called else name_of(path)
    return {"path": path, "orig_name": called, "meta": {"_type": "gradio.FileData"}}


def _files(component: gr.File, value: Any, name: str) -> Any:
    if component.file_count == "single" or value is None:
        return _file(component, value, name)
    if not isinstance(value, list) or len(value) > MAX_FILES:
        raise _unexpected(name, f"a list of at most {MAX_FILES:,} uploaded files", value)
    return [_file(component, each, name) for each in value if each is not None]


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text that can be sent back: halves of letters cannot."""
    return isinstance(value, str) and value == printable(value)


def _text(component: Any, value: Any, name: str) -> str:
    if value is not None and not is_text(value):
        raise _unexpected(name, "a text", value)
    return value or ""


def _number(component: Any, value: Any, name: str) -> int | float | None:
    """A number; a whole one where the component has no others, and none where it may be empty."""
    if not _is_whole(component):
        return _fraction(component, value, name)
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise _unexpected(name, "a whole number", value)
    return int(value)


def _is_whole(component: gr.Number | gr.Slider | Api) -> bool:
    if isinstance(component, Api):
        return component.api_info().get("type") == "integer"
    return (component.precision == 0) if isinstance(component, gr.Number) else float(component.step).is_integer()


def _fraction(component: Any, value: Any, name: str) -> float | None:
    if value is None and component.value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unexpected(name, "a number", value)
    return value


def _flag(component: gr.Checkbox, value: Any, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _unexpected(name, "true or false", value)
    return bool(value)


def _choice(component: Any, value: Any, name: str) -> str | None:
    if value is not None and not is_text(value):
        raise _unexpected(name, "one of its choices", value)
    return value


def _choices(component: gr.Dropdown, value: Any, name: str) -> Any:
    if not component.multiselect:
        return _choice(component, value, name)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_CHOICES or not all(map(is_text, value)):
        raise _unexpected(name, "a list of its choices", value)
    return value


def _argument(component: Api, value: Any, name: str) -> Any:
    """Of a function that `gr.api` exposes: a text, a choice or a number, which may be none where that is allowed."""
    info: Any = component.api_info()
    kinds = {each.get("type") for each in info.get("oneOf", [info])}
    return (_number if kinds & {"integer", "number"} else _text)(component, value, name)


def _weights(component: gr.JSON, value: Any, name: str) -> dict[str, float] | None:
    """Texts or ids and their weights; none where it may be empty."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or len(value) > MAX_CHOICES or not all(map(is_text, value)):
        raise _unexpected(name, "an object of texts and their weights", value)
    for text, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise _unexpected(f"{name}: the weight of {text[:60]!r}", "a number", weight)
    return dict(value)


# In this order: some are kinds of others.
CHECKS: dict[type, Callable[[Any, Any, str], Any]] = {
    gr.Image: _file,
    gr.UploadButton: _file,
    gr.File: _files,
    gr.Textbox: _text,
    gr.JSON: _weights,
    gr.Number: _number,
    gr.Slider: _number,
    gr.Checkbox: _flag,
    gr.Radio: _choice,
    gr.Dropdown: _choices,
    Api: _argument,
}


def _unexpected(name: str, expected: str, value: Any) -> InputError:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    sent = kinds.get(type(value), "a number")
    if sent == expected:  # halves of letters
        sent = "one with invalid characters"
    return InputError(f"{name}: {expected} is expected, and {sent} was sent.")
