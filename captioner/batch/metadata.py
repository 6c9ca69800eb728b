"""The caption inside the photo, as XMP's dc:description, where photo programs look for it.

Nothing else of the photo changes, and that is checked: all its parts (pages, frames, colour
profile, Exif, previews) are counted and compared before the new file takes the old one's place, in
one step. The photo as it was stays beside it as `photo.jpg_original` (as ExifTool calls it; a
second run does not touch that again).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import PhotoError
from captioner.files import fitted, replacing
from captioner.photos import PHOTO_SUFFIXES, Limits
from captioner.photos.walk import KEPT

from .containers import Part, file_type, parts
from .descriptions import descriptions, read_photo
from .xmp import ALT_TEXT, DEFAULT, DESCRIPTION, embed, is_packet, packet_of, values, with_texts


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
            new = self._written(data, photo, file.suffix)
            if new is not None:
                _replace(file, new)
        except OSError as error:
            raise _not_written(photo, error.strerror or str(error)) from error
        except ValueError as error:
            raise _not_written(photo, str(error)) from error

    def _written(self, data: bytes, photo: Described, suffix: str) -> bytes | None:
        """The file with the caption in it; None when it is there already."""
        kind = file_type(data)
        if kind is None or (kind == "TIFF" and suffix.lower() not in PHOTO_SUFFIXES):
            # Cameras' raw files are TIFFs with names of their own.
            raise _not_written(
                photo,
                "that can be done in JPEG, PNG, WebP and TIFF photos; --sidecar works for any",
            )
        packet = next(map(packet_of, filter(is_packet, parts(data))), b"")
        texts = {DESCRIPTION: photo.caption}
        if self.alt_text:
            texts[ALT_TEXT] = photo.caption
        present = {
            v.path[0]: v.text
            for v in reversed(values(packet))
            if len(v.path) == 1 and v.path[0] in texts and v.language in DEFAULT
        }
        if present == texts:
            return None
        if not self.overwrite:
            _check_free(data, photo, present)
        new = embed(data, with_texts(packet, texts))
        if lost := _content(data, texts) - _content(new, texts):
            names = ", ".join(sorted({name for name, _ in lost}))
            raise _not_written(photo, f"parts of the file would be lost ({names})")
        return new


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


def _content(data: bytes, replaced: Mapping[str, str]) -> Counter[tuple[str, object]]:
    """All that is in a photo's file but these properties of its XMP."""
    return Counter(found for part in parts(data) for found in _of_part(part, data, replaced))


def _of_part(part: Part, data: bytes, replaced: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    if is_packet(part):
        for value in values(packet_of(part)):
            ours = len(value.path) == 1 and value.path[0] in replaced
            if not (ours and value.language in DEFAULT):
                yield "XMP", value
    elif part.kind == "VP8X":
        # Its first bits say what there is, XMP among it.
        yield part.kind, (part.content[0] & ~0x04, bytes(part.content[4:]))
    else:
        yield part.kind, part.content
        if part.kind == "FFE2" and bytes(part.content[:4]) == b"MPF\0":
            # The further pictures of a JPEG are addressed from here.
            yield part.kind, len(data) - part.end


def _replace(file: Path, data: bytes) -> None:
    """The new file takes the place of the old one, which stays under another name."""
    with replacing(file) as stream:
        shutil.copystat(file, stream.name)
        stream.write(data)
        kept = file.with_name(fitted(file.name, KEPT))
        if not kept.exists():
            try:
                kept.hardlink_to(file)
            except OSError:  # a file system without links
                shutil.copy2(file, kept)
