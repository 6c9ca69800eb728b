"""The command line's options: those that several commands share, and those made from settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Annotated, Any

import typer

from .settings import Known, settings_of

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="A model folder; default: the model in the box.")
]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best.")
]
DtypeOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; default: what suits.")
]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter whose type is a dataclass of settings replaced by one option
    for each of its settings; the dataclass is made of what was given.

        @with_settings
        def caption(paths: list[str], request: Request) -> None: ...
    """
    signature = inspect.signature(command, eval_str=True)
    hints: dict[str, Any] = {n: p.annotation for n, p in signature.parameters.items()}
    kinds: dict[str, Any] = {n: hint for n, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in kinds:
            parameters += [_option(known) for known in options_of(kinds[name])]
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        made = {}
        for name, kind in kinds.items():
            values = {known.name: given.pop(known.name) for known in options_of(kind)}
            made[name] = kind(**{n: tuple(v) if isinstance(v, list) else v
                                 for n, v in values.items() if v is not None})  # fmt: skip
        command(**given, **made)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def options_of(kind: type) -> list[Known]:
    """The settings of a dataclass that are options on the command line."""
    return [known for known in settings_of(kind).values() if known.flag]


def flags(kind: type) -> dict[str, str]:
    """The option of each setting, by name: for `settings.renamed`."""
    return {known.name: known.flag for known in options_of(kind)}


def _option(known: Known) -> inspect.Parameter:
    hint: Any = list[known.type] if known.many else known.type  # type: ignore[name-defined]
    if known.default is None or known.many:
        hint = hint | None
    option = typer.Option(
        *known.flag.split(), help=known.about.help, metavar=known.about.value,
        show_default=known.default not in (None, "", (), False),
    )  # fmt: skip
    return inspect.Parameter(
        known.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if known.many else known.default,
        annotation=Annotated[hint, option],
    )
