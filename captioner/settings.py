"""Settings declared once: the fields of a frozen dataclass, each with its help and its bounds.

    @dataclass(frozen=True)
    class Request:
        beams: int | None = setting(None, "How many captions the search follows.", least=1, most=10)

The command makes its options from such a class (`options.with_settings`), the page its controls,
and whatever comes from the other side of the net is checked against it (`checked`).
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .errors import SettingError

T = TypeVar("T")
MOST_WORDS = 20
"""How many words a setting that takes words accepts from the net."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is said of a field where it is declared.

    help: one sentence. least, most: what the page offers and the API accepts of a number; of a text
    or a word, `most` is the length. label: its name on the page, where it has a control there.
    flag: its option on the command line, where that is not `--field-name`: the name that sentences
    use first ("--model -m"), a word without dashes for what is given without an option, "" for
    neither. value: the word that stands for its value in the command's help. otherwise: what holds
    without it, in words, where the default does not say so itself. group: the heading in the
    command's help of this and of those after it.
    """

    help: str
    least: float = 0
    most: float = 0
    label: str = ""
    flag: str | None = None
    value: str | None = None
    otherwise: str = ""
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Known:
    """A declared setting with what its field says: name, type (int, float, bool, str; `many` for a
    tuple of these) and default."""

    name: str
    type: type
    many: bool
    default: Any
    about: Setting

    @property
    def flag(self) -> str:
        """The option on the command line; "" for none."""
        own = f"--{self.name.replace('_', '-')}"
        return own if self.about.flag is None else self.about.flag

    @property
    def otherwise(self) -> str:
        """What holds where it is not given, in words."""
        if self.about.otherwise or self.default in (None, "", (), False):
            return self.about.otherwise or ("off" if self.type is bool else "none")
        return f"{self.default:g}" if self.type is float else str(self.default)


def setting(default: Any, help: str | Setting, **about: Any) -> Any:
    """A dataclass field with its `Setting`, which several fields may share."""
    made = help if isinstance(help, Setting) else Setting(help, **about)
    return dataclasses.field(default=default, metadata={"setting": made})


@functools.cache
def settings_of(kind: type) -> dict[str, Known]:
    """The settings that a dataclass declares, by name, in order."""
    hints = typing.get_type_hints(kind)
    return {
        f.name: Known(f.name, *_plain(hints[f.name]), f.default, f.metadata["setting"])
        for f in dataclasses.fields(kind)
        if "setting" in f.metadata
    }


def _plain(hint: Any) -> tuple[type, bool]:
    """(type, whether there may be many) of a field: int | None -> (int, False)."""
    if isinstance(hint, types.UnionType):
        [hint] = [one for one in typing.get_args(hint) if one is not types.NoneType]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False


def checked(kind: Callable[..., T], values: object) -> T:
    """The dataclass `kind` from values out of JSON: known names, the right types, within bounds.
    None stands for "not given".

    Raises SettingError, which names the setting.
    """
    if not isinstance(values, Mapping):
        raise SettingError('Options are an object, such as {"beams": 5}.')
    known = settings_of(typing.cast(type, kind))
    good = {}
    for name, value in values.items():
        if value is None:
            continue
        if name not in known:
            raise SettingError(f"There is no option {name!r}.")
        good[name] = _checked(known[name], value)
    return kind(**good)


def _checked(known: Known, value: Any) -> Any:
    name, about = known.name, known.about
    if known.many:
        if not isinstance(value, list) or len(value) > MOST_WORDS or not all(
            isinstance(one, str) and len(one) <= about.most for one in value
        ):  # fmt: skip
            raise SettingError(
                f"`{name}` is a list of at most {MOST_WORDS} words, each of at most "
                f"{about.most:g} letters."
            )
        return tuple(value)
    if known.type is bool:
        if not isinstance(value, bool):
            raise SettingError(f"`{name}` is true or false, not {value!r}.")
    elif known.type is str:
        if not isinstance(value, str) or len(value) > about.most:
            raise SettingError(f"`{name}` is a text of at most {about.most:g} letters.")
    else:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not about.least <= value <= about.most or known.type(value) != value:
            least, most = f"{about.least:g}", f"{about.most:g}"
            raise SettingError(f"`{name}` is a number from {least} to {most}, not {value!r}.")
        value = known.type(value)
    return value
