"""Names of image files, and ids, as different programs and systems write them."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_NUMBER = re.compile(r"\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,2})?", re.ASCII)


def parts_of(name: str) -> list[str]:
    """The folders of a name and the name itself, none of which leads outside.

    >>> parts_of("../val2014/./1.jpg")
    ['val2014', '1.jpg']
    """
    return [part for part in re.split(r"[/\0]", name) if part not in ("", ".", "..")]


def base_name(name: str) -> str:
    """The last part of a name, whichever slashes it has, composed (NFC): macOS decomposes the
    names of files (NFD), and what is typed is composed."""
    parts = parts_of(name.replace("\\", "/"))
    return composed(parts[-1]) if parts else ""


def composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def file_number(name: str) -> str:
    """The last number in the name of a file, without leading zeros; "" when there is none."""
    stem, dot, _ = base_name(name).rpartition(".")
    numbers = re.findall(r"\d+", stem if dot else base_name(name))
    return str(numbers[-1]).lstrip("0") if numbers else ""


def plain_number(text: str) -> str:
    """A whole number as spreadsheets write it, plainly: 12.0 and 1.2E+01 are 12. Other texts stay
    as they are."""
    if text.isdecimal() or not _NUMBER.fullmatch(text):
        return text
    value = Decimal(text)
    return str(int(value)) if value == value.to_integral_value() else text
