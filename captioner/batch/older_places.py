"""The caption where programs look that do not read XMP: Exif's ImageDescription, and in JPEGs
IPTC's Caption-Abstract. The guidelines of the Metadata Working Group (2.0, 2010, section 5.4) name
these two and dc:description as the three places of one description.
"""

from __future__ import annotations

from collections.abc import Callable

from . import iptc
from .containers import BrokenFileError, Part, file_type, parts
from .embed import in_jpeg, in_png, in_tiff, in_webp

EXIF_START = b"Exif\0\0"
EMPTY = b"MM\0*\0\0\0\x08" + bytes(6)
"""Exif without a tag."""
IMAGE_DESCRIPTION = 270
ASCII = 2
"""The type of a tag that is a text; the guidelines have UTF-8 written as that."""


def is_exif(part: Part) -> bool:
    """Whether a part of a file is its Exif."""
    if part.kind == "FFE1":
        return bytes(part.content[: len(EXIF_START)]) == EXIF_START
    return part.kind in ("eXIf", "EXIF")


def exif_of(part: Part) -> bytes:
    """The Exif in a part that `is_exif`: a TIFF without a picture."""
    return bytes(part.content).removeprefix(EXIF_START)


def is_photoshop(part: Part) -> bool:
    """Whether a part of a JPEG is Photoshop's image resources, or a piece of them."""
    return part.kind == "FFED" and bytes(part.content[: len(iptc.START)]) == iptc.START


def with_image_description(data: bytes, text: str) -> bytes:
    """The file with this text as Exif's ImageDescription. Raises BrokenFileError."""
    tags = {IMAGE_DESCRIPTION: (ASCII, text.encode() + b"\0")}
    kind = file_type(data)
    if kind == "TIFF":
        return in_tiff(data, tags)
    every = list(parts(data))
    old = next(filter(is_exif, every), None)
    if old is None and any(bytes(p.content[:17]) == b"Raw profile type " for p in every):
        raise BrokenFileError("its Exif is a text")  # ImageMagick's, which this would hide
    before = exif_of(old) if old else EMPTY
    if file_type(before) != "TIFF":
        raise BrokenFileError("its Exif is damaged")
    exif = in_tiff(before, tags)
    if kind == "JPEG":
        return in_jpeg(data, is_exif, 0xE1, EXIF_START + exif, ("FFE0",), "Exif")
    if kind == "PNG":
        return in_png(data, is_exif, b"eXIf", exif)
    return in_webp(data, is_exif, b"EXIF", exif, 0x08)


def with_caption_abstract(data: bytes, text: str) -> bytes:
    """The JPEG with this text as IPTC's Caption-Abstract. Raises BrokenFileError."""
    old = list(filter(is_photoshop, parts(data)))
    if len(old) > 1:
        raise BrokenFileError("its image resources are in pieces")
    content = bytes(old[0].content)[len(iptc.START) :] if old else b""
    new = iptc.START + iptc.with_caption(content, text)
    return in_jpeg(data, is_photoshop, 0xED, new, ("FFE0", "FFE1"), "IPTC")


OLDER_PLACES: dict[str, tuple[tuple[str, ...], Callable[[bytes, str], bytes]]] = {
    "EXIF ImageDescription": (("JPEG", "PNG", "WebP", "TIFF"), with_image_description),
    "IPTC Caption-Abstract": (("JPEG",), with_caption_abstract),
}
"""Each place, as `descriptions` calls it: the types of file that have it, and how it is filled."""
