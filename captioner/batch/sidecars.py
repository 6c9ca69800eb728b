"""The caption in an XMP file beside the photo, `photo.jpg.xmp`, where digiKam, darktable and immich
look for it: the photo itself is not touched.

A sidecar that is there already keeps all that it has: `photo.jpg.xmp`, or `photo.xmp` as Lightroom
calls it, where no other photo has that name.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

from captioner import __version__
from captioner.errors import CaptionerError
from captioner.files import fitted, replace
from captioner.outputs import Guard
from captioner.photos import PHOTO_SUFFIXES
from captioner.photos.walk import RAW_SUFFIXES

from .items import Item
from .xmp import ALT_TEXT, DESCRIPTION, META, RDF, values, with_texts

EMPTY = (
    f'<x:xmpmeta xmlns:x="{META[1:-1]}"><rdf:RDF xmlns:rdf="{RDF[1:-1]}"><rdf:Description '
    'rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    f"xmp:CreatorTool={quoteattr(f'captioner {__version__}')}/></rdf:RDF></x:xmpmeta>"
).encode()
MAX_BYTES = 1 << 24


def sidecar_of(photo: Path) -> Path:
    """The sidecar of a photo: the one that is there, else the one to be made."""
    own = photo.with_name(fitted(photo.name, ".xmp"))
    short = photo.with_suffix(".xmp")
    if own.exists() or not short.exists():
        return own
    suffixes = (PHOTO_SUFFIXES | RAW_SUFFIXES) - {photo.suffix.lower()}
    shared = any(
        photo.with_suffix(case).exists() for suffix in suffixes for case in (suffix, suffix.upper())
    )
    return own if shared else short


def description_in(sidecar: Path) -> str:
    """The description that a sidecar has; "" where there is none, or no sidecar.

    Raises ValueError for what is no XMP, OSError.
    """
    if not sidecar.exists():
        return ""
    if sidecar.stat().st_size > MAX_BYTES:
        raise ValueError("it is too large for a sidecar")
    found = values(sidecar.read_bytes())
    return next((value.text for value in found if value.path == (DESCRIPTION,)), "")


class XmpSidecars:
    """Writes captions into sidecars, as the description and the alternative text."""

    def __init__(self, guard: Guard):
        self.guard = guard

    def write(self, item: Item, caption: str) -> None:
        """Raises CaptionerError when the caption was not written; the sidecar is as it was."""
        if item.file is None:
            raise CaptionerError(
                f"{item.name} has no place beside it for a sidecar: it is no file of its own."
            )
        path = sidecar_of(item.file)
        what = f"The sidecar of {item.name}"
        self.guard.check_each(path, what, lambda _: True, photo=item.file)
        try:
            there = description_in(path)
            if there and there != caption and not self.guard.overwrite:
                raise CaptionerError(
                    f"The caption of {item.name} was not written: {path} has a description "
                    f"already ({there[:60]!r}). --overwrite replaces it."
                )
            packet = path.read_bytes() if path.exists() else EMPTY
            described = any(value.path == (ALT_TEXT,) for value in values(packet))
            texts = {DESCRIPTION: caption}
            if not described or self.guard.overwrite:
                texts[ALT_TEXT] = caption
            replace(path, with_texts(packet, texts))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise CaptionerError(
                f"The caption of {item.name} was not written into {path}: {why}."
            ) from error
