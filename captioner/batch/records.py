"""What is written of a photo: one record, a JSON object. docs/formats.md describes the fields."""

from typing import TYPE_CHECKING, NotRequired, TypedDict, final

if TYPE_CHECKING:
    from captioner.caption import Caption
    from captioner.captioner import Captioner

    from .items import Item


class Word(TypedDict):
    """given: True for a word of the prefix, which the model did not choose. doubtful: True for one
    that names a thing that may well not be there."""

    text: str
    probability: float | None
    given: NotRequired[bool]
    doubtful: NotRequired[bool]


class Alternative(TypedDict):
    caption: str
    confidence: float | None


@final
class Record(TypedDict):
    """A captioned photo. The fields stand in this order in every format."""

    file: str
    image_id: int | str | None
    caption: str
    confidence: float | None
    words: list[Word]
    alternatives: list[Alternative]
    model: str
    version: str
    width: int
    height: int
    blank: bool
    heatmaps: NotRequired[str]
    seen: NotRequired[list[float]]


@final
class Failure(TypedDict):
    """A photo that could not be captioned, and why."""

    file: str
    image_id: int | str | None
    error: str


FIELDS = tuple(name for name in Record.__annotations__ if name in Record.__required_keys__)
"""Those that every record has, and that tables have columns for."""
FAILURE_FIELDS = tuple(Failure.__annotations__)


def record(item: "Item", caption: "Caption", model: "Captioner") -> Record:
    """The record of a captioned photo."""
    about, content = model.model.about, caption.to_dict()
    made: Record = {
        "file": item.name,
        "image_id": item.image_id,
        "caption": content["caption"],
        "confidence": content["confidence"],
        "words": content["words"],
        "alternatives": content["alternatives"],
        "model": str(about.get("name") or "unnamed"),
        "version": str(about.get("version") or ""),
        "width": caption.photo.width,
        "height": caption.photo.height,
        "blank": caption.blank,
    }
    if caption.maps:
        made["heatmaps"] = caption.maps
        if "seen" in content:
            made["seen"] = content["seen"]
    return made


def failure(item: "Item", sentence: str) -> Failure:
    """The record of a photo that could not be captioned."""
    return {"file": item.name, "image_id": item.image_id, "error": sentence}
