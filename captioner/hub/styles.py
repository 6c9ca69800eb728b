"""The prompts behind --style, which stand in styles.toml."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from captioner.errors import SettingError
from captioner.request import Request


@functools.cache
def styles(kind: str) -> dict[str, str]:
    """The prompt of each style that a kind of model has."""
    text = (Path(__file__).parent / "styles.toml").read_text(encoding="utf-8")
    found: dict[str, str] = tomllib.loads(text)[kind]
    return found


def prompt_of(request: Request, kind: str, name: str) -> str:
    """What a request asks of a kind of model: its prompt, or that of its style, a plain sentence
    without either. Raises SettingError for a style that this kind does not have."""
    if request.prompt:
        return request.prompt
    known = styles(kind)
    if (request.style or "sentence") not in known:
        raise SettingError(
            f"{name} has no `style` {request.style!r}: it knows {', '.join(known)}. A `prompt` "
            "asks for anything else."
        )
    return known[request.style or "sentence"]
