"""Text that is drawn into a picture: a font that has its letters, and lines that fit."""

import contextlib
import functools
import unicodedata
from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow's own font has English letters only. Other text is set in the first of these that the
# machine has and that has all of its letters (Linux, Windows, macOS).
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "Hiragino Sans GB.ttc",
)


def font_for(text: str, size: int) -> Font:
    """A font of `size` pixels for the text; boxes stand for letters that no font here has."""
    name = None if text.isascii() else _system_font(frozenset(text) - set("… "))
    return _load_font(size, name)


@functools.lru_cache(maxsize=128)
def _load_font(size: int, name: str | None) -> Font:
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)


@functools.lru_cache(maxsize=128)
def _system_font(letters: frozenset[str]) -> str | None:
    """The file name of a font that has all the letters; None: Pillow's own has, or none here."""
    for name in _fonts_here():
        if all(_has(name, letter) for letter in letters):
            return name
    return None


@functools.cache
def _fonts_here() -> tuple[str | None, ...]:
    found: list[str | None] = [None]
    for name in SYSTEM_FONTS:
        with contextlib.suppress(OSError):  # not on this machine
            _load_font(24, name)
            found.append(name)
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _has(name: str | None, letter: str) -> bool:
    return bytes(_load_font(24, name).getmask(letter)) != _missing(name)


@functools.lru_cache(maxsize=16)
def _missing(name: str | None) -> bytes:
    """How a font draws what it does not have."""
    return bytes(_load_font(24, name).getmask("\U0010ffff"))


def clean(text: str) -> str:
    """One line that can be drawn: no line ends, controls or lone surrogates."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not text.isascii() and _system_font(frozenset(text) - set("… ")) is None:
        # Without a font for them, letters lose their accents rather than become boxes.
        text = "".join(
            c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)
        )
    return text


def squeeze(text: str, size: int, room: float) -> tuple[Font, str]:
    """A font and a text that fit into `room` pixels: set smaller first, then shortened."""
    least = max(9, round(size * 0.65))
    while size > least and font_for(text, size).getlength(text) > room:
        size -= 1
    font = font_for(text, size)
    if font.getlength(text) <= room:
        return font, text
    kept = _beginning(text, "…", font, room)
    return font, text[:kept].rstrip() + "…" if kept else ""


def _beginning(text: str, end: str, font: Font, room: float) -> int:
    """How many characters of the text fit with `end` after them, found by halving."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle] + end) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def wrap(text: str, font: Font, room: float) -> list[str]:
    """Lines of at most `room` pixels; a word longer than a line is broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= room:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while font.getlength(word) > room and len(word) > 1:
            cut = max(1, _beginning(word, "-", font, room))
            lines[-1] = word[:cut] + "-"
            lines.append("")
            word = word[cut:]
        lines[-1] = word
    return lines
