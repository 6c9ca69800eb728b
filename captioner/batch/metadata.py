"""The caption inside the photo, as XMP's dc:description, where photo programs look for it; and
where others look (`older_places`), if there is nothing yet.

Nothing else of the photo changes, and that is checked: all its parts (pages, frames, colour
profile, Exif, previews) are counted and compared before the new file takes the old one's place, in
one step. The photo as it was stays beside it as `photo.jpg_original` (as ExifTool calls it; a
second run does not touch that again).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import PhotoError
from captioner.files import fitted, replacing
from captioner.photos import PHOTO_SUFFIXES, Limits
from captioner.photos.walk import KEPT

from . import iptc
from .containers import BrokenFileError, Part, file_type, parts, tiff_tags
from .descriptions import descriptions, read_photo, texts
from .older_places import (
    IMAGE_DESCRIPTION,
    OLDER_PLACES,
    exif_of,
    is_exif,
    is_photoshop,
)
from .xmp import ALT_TEXT, DEFAULT, DESCRIPTION, embed, is_packet, packet_of, values, with_texts

EXIF, IPTC = OLDER_PLACES
FIRST_DESCRIPTION = f"0/{IMAGE_DESCRIPTION}"


@dataclass(frozen=True, slots=True)
class Described:
    """A photo's file and its caption."""

    name: str
    file: Path
    caption: str


@dataclass(frozen=True)
class WriteMetadata:
    """Writes captions into photos; for `pool.Pool`, so it pickles.

    alt_text: also as the IPTC "Alt Text (Accessibility)". overwrite: replace another description.
    """

    alt_text: bool = False
    overwrite: bool = False

    def __call__(self, photo: Described) -> None:
        """Raises PhotoError when the caption was not written; the photo is then as it was."""
        file = Path(os.path.realpath(photo.file))  # a link stays a link
        try:
            data = read_photo(file, Limits())
            new = self._written(data, photo, file)
            if new is not None:
                _replace(file, new)
        except OSError as error:
            raise _not_written(photo, error.strerror or str(error)) from error
        except ValueError as error:
            raise _not_written(photo, str(error)) from error

    def _written(self, data: bytes, photo: Described, file: Path) -> bytes | None:
        """The photo with the caption in it; None when it is there already."""
        kind = file_type(data)
        if kind is None or (kind == "TIFF" and file.suffix.lower() not in PHOTO_SUFFIXES):
            # Cameras' raw files are TIFFs with names of their own.
            raise _not_written(
                photo,
                "that can be done in JPEG, PNG, WebP and TIFF photos; --sidecar works for any",
            )
        packet = next(map(packet_of, filter(is_packet, parts(data))), b"")
        wanted = {DESCRIPTION: photo.caption}
        if self.alt_text:
            wanted[ALT_TEXT] = photo.caption
        present = {
            v.path[0]: v.text
            for v in reversed(values(packet))
            if len(v.path) == 1 and v.path[0] in wanted and v.language in DEFAULT
        }
        if present == wanted:
            return None
        if not self.overwrite:
            _check_free(data, photo, present)
        new = embed(data, with_texts(packet, wanted))
        if lost := _content(data, wanted) - _content(new, wanted):
            names = ", ".join(sorted({name for name, _ in lost}))
            raise _not_written(photo, f"parts of the file would be lost ({names})")
        for place in self._free_places(data, present.get(DESCRIPTION), file):
            with contextlib.suppress(BrokenFileError, struct.error, IndexError, OverflowError):
                more = OLDER_PLACES[place][1](new, photo.caption)
                if not _content(new, {place}) - _content(more, {place}):
                    new = more
        return new

    def _free_places(self, data: bytes, before: str | None, file: Path) -> Iterator[str]:
        """The older places that have no text, or one that we have written: the description that is
        now overwritten, where the photo as it was had none."""
        there, kept = texts(data), _kept(file)
        ours = " ".join((before or "").split()) if self.overwrite and kept.exists() else ""
        for place, (kinds, _) in OLDER_PLACES.items():
            free = place not in there
            if not free and there[place] == ours:
                free = place not in texts(read_photo(kept, Limits()))
            if free and file_type(data) in kinds:
                yield place


def _check_free(data: bytes, photo: Described, present: Mapping[str, str]) -> None:
    """Raises PhotoError when a person has captioned the photo otherwise."""
    caption = " ".join(photo.caption.split())
    for place, text in descriptions(data):
        if text != caption:
            remedy = "replaces it" if place == "XMP dc:description" else "writes XMP beside it"
            raise _not_written(
                photo,
                f"it has a description already, in {place} ({text[:60]!r}). --overwrite {remedy}, "
                "--skip-captioned leaves it out",
            )
    if present.get(ALT_TEXT, photo.caption) != photo.caption:
        raise _not_written(
            photo,
            f"it has an alternative text already ({present[ALT_TEXT][:60]!r}). --overwrite "
            "replaces it, and without --alt-text it stays",
        )


def _not_written(photo: Described, why: str) -> PhotoError:
    return PhotoError(f"The caption was not written into {photo.name}: {why.rstrip('.')}.")


# What is in a file --------------------------------------------------------------------------------


def _content(data: bytes, replaced: Collection[str]) -> Counter[tuple[str, object]]:
    """All that is in a photo's file but these: properties of its XMP, or older places."""
    return Counter(found for part in parts(data) for found in _of_part(part, data, replaced))


def _of_part(part: Part, data: bytes, replaced: Collection[str]) -> Iterator[tuple[str, object]]:
    if is_packet(part):
        for value in values(packet_of(part)):
            ours = len(value.path) == 1 and value.path[0] in replaced
            if not (ours and value.language in DEFAULT):
                yield "XMP", value
    elif part.kind == "VP8X":
        # Its first bits say what there is, XMP and Exif among it.
        yield part.kind, (part.content[0] & ~0x0C, bytes(part.content[4:]))
    elif is_exif(part) and EXIF in replaced:
        for tag in tiff_tags(memoryview(exif_of(part))):
            if tag.kind != FIRST_DESCRIPTION:
                yield f"Exif {tag.kind}", bytes(tag.content)
    elif is_photoshop(part) and IPTC in replaced:
        yield from _of_photoshop(bytes(part.content)[len(iptc.START) :])
    elif part.kind == FIRST_DESCRIPTION and EXIF in replaced:
        return
    else:
        yield part.kind, part.content
        if part.kind == "FFE2" and bytes(part.content[:4]) == b"MPF\0":
            # The further pictures of a JPEG are addressed from here.
            yield part.kind, len(data) - part.end


def _of_photoshop(content: bytes) -> Iterator[tuple[str, object]]:
    for one in iptc.resources(content):
        if one.number == iptc.IPTC:
            for found in iptc.data_sets(one.content):
                if found.name != iptc.CAPTION:
                    yield f"IPTC {found.name}", found.content
        elif one.number != iptc.DIGEST:
            yield f"Photoshop {one.number}", one.raw


def _kept(file: Path) -> Path:
    """Where the photo as it was is kept."""
    return file.with_name(fitted(file.name, KEPT))


def _replace(file: Path, data: bytes) -> None:
    """The new file takes the place of the old one, which stays under another name."""
    with replacing(file) as stream:
        shutil.copystat(file, stream.name)
        stream.write(data)
        kept = _kept(file)
        if not kept.exists():
            try:
                kept.hardlink_to(file)
            except OSError:  # a file system without links
                shutil.copy2(file, kept)
