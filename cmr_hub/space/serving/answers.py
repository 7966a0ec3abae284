"""Errors as answers: each failed request gets a message and a fitting status, none a stack trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmr_hub.errors import CMRError

logger = logging.getLogger(__name__)

REFUSED = "cmr_refused"  # in the state of a request: its sender can correct it


@contextmanager
def readable_errors(request: Any = None) -> Iterator[None]:
    """Show a visitor every error as a message; only what nobody foresaw is logged with a stack trace.

    Args:
        request: the `gr.Request`, whose answer gets the status 422 instead of 500 if it is refused.
    """
    try:
        yield
    except (gr.Error, CMRError) as error:
        if isinstance(request, gr.Request) and request.request is not None:
            setattr(request.request.state, REFUSED, True)
        message = error.message if isinstance(error, gr.Error) else str(error)
        raise gr.Error(message, print_exception=False) from error
    except Exception as error:
        logger.exception("A request failed")
        raise gr.Error("Something went wrong on the server. Try it again.", print_exception=False) from error


class Answers:
    """ASGI middleware: requests that Gradio's routes stumble over are refused, and so is what functions refuse.

    Args:
        app: what answers requests.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_started = False
        state = scope.setdefault("state", {})

        async def answer(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if message["status"] == 500 and state.get(REFUSED):
                    message = {**message, "status": 422}
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except ClientDisconnect:  # there is nobody to be answered
            pass
        except Exception as error:  # an unknown function, a part of another type
            logger.warning("%s %r was refused: %r", scope["method"], scope["path"][:200], error)
            if not has_started:
                refusal = JSONResponse({"error": "There is no such function, or it takes other values."}, 400)
                await refusal(scope, receive, send)
