"""What is written of a photo: one record, a JSON object. docs/formats.md describes the fields."""

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
