"""What is written of a photo: one record, a JSON object. docs/formats.md describes the fields."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.captioner import Caption, Captioner

    from .items import Item

FIELDS = (
    "file", "image_id", "caption", "confidence", "words", "alternatives", "model", "version",
    "width", "height",
)  # fmt: skip


def record(item: "Item", caption: "Caption", model: "Captioner") -> dict[str, Any]:
    """The record of a captioned photo, with `FIELDS` as its keys."""
    about = model.model.about
    return {
        "file": item.name,
        "image_id": item.image_id,
        **caption.to_dict(),
        "model": str(about.get("name") or "unnamed"),
        "version": str(about.get("version") or ""),
        "width": caption.photo.width,
        "height": caption.photo.height,
    }


def failure(item: "Item", sentence: str) -> dict[str, Any]:
    """The record of a photo that could not be captioned."""
    return {"file": item.name, "image_id": item.image_id, "error": sentence}


def to_line(content: Mapping[str, Any]) -> str:
    """One line of JSON without its newline. Text is UTF-8, but a file name with bytes that are not
    is escaped (a lone `\\udcXX` for the byte XX, as Python has it), or it would not be JSON."""
    line = json.dumps(content, ensure_ascii=False)
    return line if is_text(line) else json.dumps(content)


def is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def readable(name: str) -> str:
    """A file name as Unicode text: bytes that are not UTF-8 become `\\xXX`. For formats that have
    no way to hold them."""
    if is_text(name):
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
