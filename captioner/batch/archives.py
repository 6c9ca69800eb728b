"""The files in tar and zip archives, read where they lie (tars are gone through by `tars.py`).

Nothing is written to the disk, so no name in an archive can lead anywhere, and links in it are not
followed.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_tar(path: str) -> bool:
    return path.lower().endswith(TARS)


def is_zip(path: str) -> bool:
    return path.lower().endswith(".zip")


def zip_members(path: str) -> list[str]:
    """The names in a zip; those of folders end with a slash.

    Raises:
        Exception: zipfile raises many kinds on damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        return [member.filename for member in archive.infolist()]


def read_span(path: str, start: int, size: int) -> bytes:
    """`size` bytes of a file from the byte `start`: a member of an uncompressed tar."""
    with Path(path).open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


_zips: dict[str, zipfile.ZipFile] = {}


def read_zip_member(path: str, member: str, max_bytes: int) -> bytes | None:
    """The bytes of a member; None when there are more than `max_bytes`, whatever size the archive
    promises. The archive stays open for the next one."""
    archive = _zips.get(path)
    if archive is None:
        _zips.clear()  # a job goes through its archives one after another
        archive = _zips[path] = zipfile.ZipFile(path)
    with archive.open(member) as stream:
        data = stream.read(max_bytes + 1)
    return data if len(data) <= max_bytes else None
