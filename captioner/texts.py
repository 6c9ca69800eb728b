"""Text as it is read from people's files, and as it is written so that other programs read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import DataError

JSON_LINES = (".jsonl", ".ndjson")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        DataError: it is not there, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a name that no file can have
        raise DataError(f"{path} cannot be read: {error}.") from error


def parse_json(where: Path | str, text: str | bytes) -> Any:
    """The value that a JSON text holds. where: the file, for the sentence.

    Raises:
        DataError: the text is empty or not JSON.
    """
    if not text.strip():
        raise DataError(f"{where} is empty.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{where} is not valid JSON ({error}); it may be cut off, so write it again."
        ) from None
    except RecursionError:
        raise DataError(f"{where} is no file of captions: its JSON is nested too deeply.") from None


def json_lines(path: Path, text: str) -> list[tuple[int, Any]]:
    """(number of the line, value) of each line that is not blank.

    Raises:
        DataError: a line is not JSON.
    """
    return [
        (number, parse_json(f"{path}, line {number}", line))
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def has_json_lines(text: str) -> bool:
    """Whether a text is JSON lines: its first line is a whole object, and others follow."""
    first, _, rest = text.lstrip().partition("\n")
    if not first.startswith("{") or not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "NaN" if value != value else f"the number {value}"
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


# Written ------------------------------------------------------------------------------------------


def to_line(content: Mapping[str, Any] | list[Any]) -> str:
    """One line of JSON without its newline. Text is UTF-8, but a file name with bytes that are not
    is escaped (a lone `\\udcXX` for the byte XX, as Python has it), or it would not be JSON."""
    line = json.dumps(content, ensure_ascii=False)
    return line if is_unicode(line) else json.dumps(content)


def is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which no encoding can write."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    """A text that can be written: a byte of a file name that is not UTF-8 becomes `\\xXX`, another
    half of a surrogate pair `\\uXXXX`."""
    return text if is_unicode(text) else re.sub("[\ud800-\udfff]", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_cell(text: str) -> str:
    """A text for a CSV. Spreadsheets run text that begins like a formula, and a file name may be
    anybody's: an apostrophe in front makes it text, as they have it themselves."""
    text = readable(text)
    return "'" + text if text.startswith(_FORMULA) else text


def from_cell(text: str) -> str:
    """The text that `to_cell` wrote."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def percent(probability: float | None) -> str:
    """A probability as people read it; "" for what is none."""
    if probability is None or not 0 <= probability <= 1:  # also NaN
        return ""
    return "<1%" if probability < 0.005 else f"{probability:.0%}"


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """A table as text: columns side by side, the first to the left and the others, numbers, to the
    right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]))
    return "\n".join(lines)
