"""The command line's options: those that several commands share, and those made from settings."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from .settings import Known, Setting, settings_of

MODEL = Setting(
    "The folder of a model, or a name of the Hugging Face hub.",
    flag="--model -m", value="MODEL", otherwise="the one in the box",
)  # fmt: skip
DEVICE = Setting(
    "Where the model computes: cpu, cuda, cuda:1 or mps.", value="NAME",
    otherwise="the best there is",
)  # fmt: skip
SERVER = Setting(
    "Use the --model behind this OpenAI chat interface, such as http://localhost:8000/v1; "
    "OPENAI_API_KEY is its key.", value="URL", otherwise="none",
)  # fmt: skip
DTYPE = Setting(
    "The numbers it computes with: float32, bfloat16 or float16.", value="NAME",
    otherwise="the quickest",
)  # fmt: skip

RUNTIME = Setting(
    "What runs the encoder: torch, or openvino, which is quicker on a CPU (an extra).",
    value="NAME", otherwise="torch",
)  # fmt: skip


def _typer(about: Setting, flags: list[str], otherwise: str, group: str = "") -> Any:
    if not flags[0].startswith("-"):
        return typer.Argument(help=about.help, show_default=False)
    return typer.Option(
        *flags, help=f"{about.help} [{otherwise}]", metavar=about.value,
        show_default=False, envvar=environment(flags), show_envvar=False,
        rich_help_panel=group or None,
    )  # fmt: skip


def environment(flags: list[str]) -> str:
    """The variable that an option has its default from: CAPTIONER_BATCH_SIZE of --batch-size."""
    long = max(flags, key=len)
    return f"CAPTIONER_{long.removeprefix('--').replace('-', '_').upper()}"


class GroupedCommand(TyperCommand):
    """A command whose help has its options below the headings of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if row := parameter.get_help_record(ctx):
                group = getattr(parameter, "rich_help_panel", None)
                group = group or ("Options" if isinstance(parameter, TyperOption) else "Arguments")
                groups.setdefault(group, []).append(row)
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows)


ModelOption = Annotated[str | None, _typer(MODEL, ["--model", "-m"], MODEL.otherwise)]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter whose type is a dataclass of settings replaced by one option
    for each of its settings; the dataclass is made of what was given. A field that is such a
    dataclass itself is made in the same way.

        @with_settings
        def caption(paths: list[str], request: Request) -> None: ...
    """
    signature = inspect.signature(command, eval_str=True)
    hints: dict[str, Any] = {n: p.annotation for n, p in signature.parameters.items()}
    kinds: dict[str, Any] = {n: hint for n, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in kinds:
            group = ""
            for known in options_of(kinds[name]):
                group = known.about.group or group
                parameters.append(_option(known, group))
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        made = {name: _made(kind, given) for name, kind in kinds.items()}
        command(**{name: given[name] for name in hints if name not in kinds}, **made)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def options_of(kind: type) -> list[Known]:
    """The settings of a dataclass that are options on the command line, and those of the
    dataclasses that are its fields."""
    settings, inner, found = settings_of(kind), _inner(kind), []
    for field in fields(kind):
        if field.name in inner:
            found += options_of(inner[field.name])
        elif field.name in settings and settings[field.name].flag:
            found.append(settings[field.name])
    return found


def flags(kind: type) -> dict[str, str]:
    """The option of each setting, by name: for `SettingError.with_names`."""
    return {known.name: known.flag.split()[0] for known in options_of(kind)}


def _inner(kind: type) -> dict[str, type]:
    """The fields of a dataclass that are dataclasses of settings."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if is_dataclass(hints[f.name])}


def _made(kind: Any, given: Mapping[str, Any]) -> Any:
    """The dataclass, of the options that were given."""
    values = {name: _made(inner, given) for name, inner in _inner(kind).items()}
    for name, known in settings_of(kind).items():
        if known.flag and given[name] is not None:
            values[name] = tuple(given[name]) if known.many else given[name]
    return kind(**values)


def _option(known: Known, group: str) -> inspect.Parameter:
    hint: Any = list[known.type] if known.many else known.type  # type: ignore[name-defined]
    if known.default is None or known.many:
        hint = hint | None
    about = _typer(known.about, known.flag.split(), known.otherwise, group)
    return inspect.Parameter(
        known.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if known.many else known.default,
        annotation=Annotated[hint, about],
    )
