"""Which files the page may open, and how large they may be.

Only what a browser or client uploaded, which lies in this server's own folder, is ever opened; a
path that leads elsewhere is refused before the file is touched.
"""

import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any

from captioner.errors import CaptionerError, PhotoError
from captioner.images import PHOTO_SUFFIXES, Limits

MAX_UPLOAD = 256 << 20
"""Bytes of one uploaded file."""
PHOTO_LIMITS = Limits(max_bytes=128 << 20, max_pixels=120_000_000, max_side=50_000)
MAX_PHOTOS = 500
"""Photos captioned at once on the Folder tab."""
MAX_UNPACKED = 1 << 30
"""Bytes of all photos of a zip together."""
MAX_MEMBERS = 10_000
"""Entries of a zip, photos or not."""


@dataclass(frozen=True)
class Upload:
    """A file that may be opened, and the name that its owner gave it (with folders, in a zip)."""

    path: Path
    name: str
    error: PhotoError | None = None


def upload_folder() -> Path:
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder()).resolve()


def uploaded(path: Any) -> Path:
    """The path, when it is a file in the upload folder. Raises PhotoError when it is not."""
    try:
        if isinstance(path, str) and path:
            real = Path(path).resolve()
            if real.is_file() and real.is_relative_to(upload_folder()):
                return real
    except (OSError, ValueError):
        pass
    raise PhotoError("That file was not uploaded here, or is no longer held; upload it again.")


def unpack(uploads: Iterable[Upload]) -> list[Upload]:
    """Uploads with every zip among them replaced by the photos in it, in the order of their names.

    A photo that a zip cannot give, or that is too large, is in the list with its error. Raises
    CaptionerError when there are too many photos, or none.
    """
    found: list[Upload] = []
    for upload in uploads:
        if upload.path.suffix.lower() == ".zip" or upload.name.lower().endswith(".zip"):
            found += _members(upload)
        else:
            found.append(upload)
        if len(found) > MAX_PHOTOS:
            raise CaptionerError(
                f"These are more than {MAX_PHOTOS} photos. Bring them in parts, or caption the "
                "folder with the command: captioner caption FOLDER"
            )
    if not found:
        raise CaptionerError("There is no photo among these files.")
    return found


def _members(archive: Upload) -> list[Upload]:
    try:
        with zipfile.ZipFile(archive.path) as file:
            if len(file.namelist()) > MAX_MEMBERS:
                raise CaptionerError(
                    f"{archive.name} has {len(file.namelist()):,} entries; {MAX_MEMBERS:,} are "
                    "allowed."
                )
            photos = sorted((i for i in file.infolist() if _is_photo(i)), key=lambda i: i.filename)
            if len(photos) > MAX_PHOTOS:
                return [Upload(archive.path, i.filename) for i in photos]  # refused by the caller
            if sum(i.file_size for i in photos) > MAX_UNPACKED:
                raise CaptionerError(
                    f"{archive.name} holds more than {MAX_UNPACKED >> 20} MB of photos."
                )
            folder = Path(mkdtemp(prefix="zip-", dir=upload_folder()))
            return [_take(file, info, folder / f"{n}") for n, info in enumerate(photos)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CaptionerError(f"{archive.name} is not a zip file that can be read.") from error


def _is_photo(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    shown = [part for part in path.parts if part not in (".", "..")]
    hidden = any(part.startswith((".", "__MACOSX")) for part in shown)
    return not info.is_dir() and not hidden and path.suffix.lower() in PHOTO_SUFFIXES


def _take(file: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Upload:
    """One photo out of a zip, under a name of ours: its own name is only ever shown."""
    target = target.with_suffix(PurePosixPath(info.filename).suffix.lower())
    if info.file_size > PHOTO_LIMITS.max_bytes:
        wrong = f"{info.filename} is larger than {PHOTO_LIMITS.max_bytes >> 20} MB."
        return Upload(target, info.filename, PhotoError(wrong))
    try:
        # No more comes out than the header says, even where that lies.
        with file.open(info) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
    except Exception as error:  # encrypted, damaged, or packed in a way that is not known here
        target.unlink(missing_ok=True)
        wrong = f"{info.filename} cannot be taken out of the zip: {error}."
        return Upload(target, info.filename, PhotoError(wrong))
    return Upload(target, info.filename)


def told(error: CaptionerError, upload: Upload) -> str:
    """The error's sentence with the file called what its owner calls it."""
    return str(error).replace(str(upload.path), upload.name)
