"""Which files the page may open, and how large they may be.

Only what a browser or client uploaded, which lies in this server's own folder, is ever opened; a
path that leads elsewhere is refused before the file is touched. Photos in a zip are read where they
lie: nothing is unpacked.
"""

import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import unquote, urlsplit

from captioner.batch.fetch import fetch
from captioner.batch.items import Item
from captioner.batch.sources import find_items
from captioner.errors import CaptionerError, PhotoError
from captioner.photos import Limits

MAX_UPLOAD = 256 << 20
"""Bytes of one uploaded file."""
MAX_REQUEST = MAX_UPLOAD + (1 << 20)
"""Bytes of the files that are uploaded at once, with what stands between them."""
MAX_HELD = 16 << 30
"""Bytes of the uploads that are held, of everybody together."""
MIN_FREE = 1 << 30
"""Bytes of the disk that uploads leave free."""
PHOTO_LIMITS = Limits(max_bytes=128 << 20, max_pixels=120_000_000, max_side=50_000)
MAX_PHOTOS = 500
"""Photos captioned at once on the Folder tab."""
MAX_CONTENTS = 4 << 20
"""Bytes of a zip's table of contents: some 50,000 names. Reading it takes many times its size."""

NOT_UPLOADED = "That file was not uploaded here, or is no longer held; upload it again."


@dataclass(frozen=True)
class Upload:
    """A file that may be opened, and the name that its owner gave it, perhaps with folders."""

    path: Path
    name: str

    @property
    def item(self) -> Item:
        return Item(self.name, path=str(self.path), place=self.name.lstrip("/"))


def upload_folder() -> Path:
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder()).resolve()


def has_room() -> bool:
    """Whether another file may come into the upload folder."""
    folder = upload_folder()
    held = 0
    for path in folder.rglob("*"):
        try:
            held += path.stat().st_size
        except OSError:  # removed in the meantime
            continue
    return held < MAX_HELD and shutil.disk_usage(folder).free > MIN_FREE


def uploaded(path: object) -> Path:
    """The path, when it is a file in the upload folder. Raises PhotoError when it is not."""
    try:
        if isinstance(path, str) and path:
            real = Path(path).resolve()
            if real.is_file() and real.is_relative_to(upload_folder()):
                return real
    except (OSError, ValueError):
        pass
    raise PhotoError(NOT_UPLOADED)


def uploads_of(files: object) -> list[Upload]:
    """The uploads that a page names: [{"path", "name"}]. Raises CaptionerError."""
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise CaptionerError("There is no photo among these files.")
    return [upload_of(file) for file in files]


def upload_of(file: Mapping[str, object]) -> Upload:
    """The upload that a page or a program names. Raises CaptionerError."""
    path = uploaded(file.get("path"))
    return Upload(path, str(file.get("name") or path.name))


def fetched(url: str) -> Upload:
    """The photo at an address, fetched into the upload folder. From public addresses only: nobody
    gets into the network of the server by it. Raises PhotoError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PhotoError("The address of a photo begins with https:// or http://.")
    data = fetch(url, PHOTO_LIMITS.max_bytes, public=True)
    path = Path(mkdtemp(prefix="web-", dir=upload_folder())) / "photo"
    path.write_bytes(data)
    return Upload(path, unquote(parts.path).rsplit("/", 1)[-1] or parts.hostname)


def photos_in(uploads: Iterable[Upload]) -> list[Item]:
    """The photos of the uploads, those in zips included.

    Raises CaptionerError when there are too many photos, or none.
    """
    items = list(islice(_items(uploads), MAX_PHOTOS + 1))
    if len(items) > MAX_PHOTOS:
        raise CaptionerError(
            f"These are more than {MAX_PHOTOS} photos. Bring them in parts, or caption the folder "
            "with the command: captioner caption FOLDER"
        )
    if not items:
        raise CaptionerError("There is no photo among these files.")
    return items


def _items(uploads: Iterable[Upload]) -> Iterator[Item]:
    for upload in uploads:
        if not upload.name.lower().endswith(".zip"):
            yield upload.item
            continue
        if (size := _contents(upload.path)) is not None and size > MAX_CONTENTS:
            yield Item(upload.name, problem=f"{upload.name} has far too many files in it.")
            continue
        for item in find_items([upload.path]):
            if item.problem:
                yield replace(item, name=upload.name, problem=renamed(item.problem, upload))
            else:
                name = f"{upload.name}/{item.member}"
                yield replace(item, name=name)


def _contents(path: Path) -> int | None:
    """Bytes that a zip says its table of contents has; None where that cannot be found.

    PKWARE's APPNOTE 4.3.16: the end record is within the last 65,557 bytes. A zip64 file has the
    greatest number there.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    return struct.unpack_from("<L", tail, at + 12)[0] if 0 <= at <= len(tail) - 22 else None


def renamed(problem: CaptionerError | str, upload: Upload | Item) -> str:
    """The sentence with the file called what its owner calls it."""
    return str(problem).replace(str(upload.path), upload.name) if upload.path else str(problem)
