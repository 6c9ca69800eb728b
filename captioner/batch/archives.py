"""The files in tar and zip archives, read where they lie, on the disk or in a storage (tars are
gone through by `tars.py`).

Nothing is written to the disk, so no name in an archive can lead anywhere, and links in it are not
followed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from . import storage

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_tar(path: str) -> bool:
    return path.lower().endswith(TARS)


def is_zip(path: str) -> bool:
    return path.lower().endswith(".zip")


def open_archive(path: str, ahead: int = 1 << 16) -> BinaryIO:
    """The file at a path or an address of a storage. ahead: bytes that are fetched from there where
    fewer are read."""
    return storage.open_file(path, ahead) if storage.is_storage(path) else Path(path).open("rb")


def zip_members(path: str) -> Iterator[str]:
    """The names in a zip; those of folders end with a slash.

    Raises:
        Exception: zipfile raises many kinds on damaged files; after the last name when there
            are not as many as the archive's end says.
    """
    with open_archive(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    yield from (member.filename for member in members)
    promised = _promised(path)
    if promised is not None and promised != len(members):
        raise zipfile.BadZipFile(f"{len(members)} of the {promised} files that it lists are there")


def _promised(path: str) -> int | None:
    """How many files the end of a zip says there are: zipfile does not look, and one damaged length
    in the table of contents hides the rest of it. None where the end of a larger kind says it.

    PKWARE's APPNOTE 4.3.16: that record is within the last 65,557 bytes.
    """
    with open_archive(path) as stream:
        stream.seek(max(0, stream.seek(0, 2) - 65_557))
        tail = stream.read()
    at = tail.rfind(b"PK\5\6")
    if not 0 <= at <= len(tail) - 22:
        return None
    number = int.from_bytes(tail[at + 10 : at + 12], "little")
    return None if number == 0xFFFF else number


def read_span(path: str, start: int, size: int) -> bytes:
    """`size` bytes of a file from the byte `start`: a member of an uncompressed tar."""
    if storage.is_storage(path):
        return storage.read_span(path, start, size)
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
        archive = _zips[path] = zipfile.ZipFile(open_archive(path))
    with archive.open(member) as stream:
        data = stream.read(max_bytes + 1)
    return data if len(data) <= max_bytes else None
