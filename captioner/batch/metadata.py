"""The caption inside the photo: XMP's dc:description, written by exiv2 (the extra `metadata`).

Only metadata changes: exiv2 copies the compressed picture as it is. The work is done on a copy that
then takes the photo's place in one step, and the photo as it was stays beside it as
`photo.jpg_original` (as ExifTool calls it; a second run does not touch that again).

exiv2 parses foreign bytes in C++, so all of this runs in a process of `pool.Pool`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, PhotoError

DESCRIPTION = "Xmp.dc.description"
ALT_TEXT = "Xmp.iptc.AltTextAccessibility"
WRITABLE = ("image/jpeg", "image/png", "image/webp", "image/tiff")
KEPT = "_original"


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
        keys = [DESCRIPTION, ALT_TEXT] if self.alt_text else [DESCRIPTION]
        file = Path(os.path.realpath(photo.file))  # a link stays a link
        part = file.with_name(f".{file.name}.part{file.suffix}")
        try:
            shutil.copy2(file, part)
            if self._change(part, keys, photo):
                _swap(part, file)
        except OSError as error:
            raise PhotoError(
                f"The caption was not written into {photo.name}: {error.strerror or error}."
            ) from error
        except RuntimeError as error:  # exiv2's own
            words = " ".join(str(error).split()).rstrip(".")
            raise PhotoError(f"The caption was not written into {photo.name}: {words}.") from error
        finally:
            part.unlink(missing_ok=True)

    def _change(self, part: Path, keys: list[str], photo: Described) -> bool:
        """Write into the copy; False when it holds the caption already."""
        with _open(part) as image:
            if image.get_mime_type() not in WRITABLE:
                raise PhotoError(
                    f"The caption was not written into {photo.name}: that can be done in JPEG, "
                    "PNG, WebP and TIFF photos."
                )
            xmp = image.read_xmp()
            present = {key: _text(xmp.get(key)) for key in keys}
            if all(text == photo.caption for text in present.values()):
                return False
            other = next((t for t in present.values() if t and t != photo.caption), "")
            if other and not self.overwrite:
                raise PhotoError(
                    f"The caption was not written into {photo.name}: it has a description already "
                    f"({other[:60]!r}). --overwrite replaces it, --skip-captioned leaves it out."
                )
            for key in keys:
                # Descriptions in other languages stay.
                others = xmp[key] if isinstance(xmp.get(key), dict) else {}
                image.modify_xmp({key: {**others, 'lang="x-default"': photo.caption}})
        return True


def has_description(file: Path) -> bool:
    """Whether a photo has a description in its XMP; False where that cannot be read."""
    try:
        with _open(file) as image:
            return bool(_text(image.read_xmp().get(DESCRIPTION)))
    except (RuntimeError, OSError, UnicodeDecodeError):
        return False


def has_metadata() -> bool:
    """Whether the extra is installed."""
    return find_spec("pyexiv2") is not None


def check_metadata() -> None:
    """Raises CaptionerError when the extra is not installed."""
    if not has_metadata():
        raise CaptionerError('Metadata needs exiv2: run pip install "captioner[metadata]".')


def _swap(part: Path, file: Path) -> None:
    """The copy takes the file's place; the file as it was stays under another name."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    kept = file.with_name(file.name + KEPT)
    if not kept.exists():
        try:
            kept.hardlink_to(file)
        except OSError:  # a file system without links
            shutil.copy2(file, kept)
    part.replace(file)


def _text(value: Any) -> str:
    """A text that may come in several languages: the default one."""
    if isinstance(value, dict):
        value = value.get('lang="x-default"') or next(iter(value.values()), "")
    return value.strip() if isinstance(value, str) else ""


def _open(path: Path) -> Any:
    import pyexiv2

    return pyexiv2.Image(_Name(path))


class _Name(str):
    """A file's name, which need not be UTF-8, for pyexiv2, which encodes it itself."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return os.fsencode(str(self))
