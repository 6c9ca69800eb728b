"""The server's side of `server.NAME(question)` in the scripts.

The page's questions are such calls and no events of gradio's: the answer to a call belongs to its
question, and a connection that is lost fails the one call instead of reloading the page.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from .accounts import user_of
from .messages import Question


def plain(method: Callable[[Question], Any]) -> Callable[[Any], Any]:
    """A method as the plain function that gradio serves, by the same name."""

    def call(question: Any) -> Any:
        return method(_object(question))

    call.__name__ = method.__name__
    return call


def plain_async(method: Callable[[Question], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """The same of a method that waits without holding a thread."""

    async def call(question: Any) -> Any:
        return await method(_object(question))

    call.__name__ = method.__name__
    return call


def with_user(method: Callable[[Question, str | None], Any]) -> Callable[[Any, gr.Request], Any]:
    """The same of a method that must know who is logged in."""

    def call(question: Any, request: gr.Request) -> Any:
        return method(_object(question), asked_by(request))

    call.__name__ = method.__name__
    return call


def asked_by(request: gr.Request) -> str | None:
    """Who is logged in. Gradio gives server functions the bare request, without `username`."""
    return user_of(request)  # type: ignore[arg-type]


def _object(question: Any) -> Question:
    return question if isinstance(question, dict) else {}
