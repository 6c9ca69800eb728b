"""One photo of a job: its name, where its bytes are, and how they are read."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from captioner.errors import CaptionerError, PhotoError
from captioner.photos import Limits, Photo

from . import storage
from .addresses import is_url, redacted
from .archives import read_span, read_zip_member
from .fetch import fetch


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a job: its name, and where its bytes are.

    name: as it is written in results, and what tells photos apart: the path as it was given or
        found, `archive.tar/member.jpg`, or the address.
    image_id: of an annotation file, else None.
    path: the file, or the archive that holds the photo, on the disk.
    span: (first byte, bytes) within the archive, for members of uncompressed tars.
    member: the name within the archive, for members of zips.
    url: the address of the photo or its archive, on the web or in a storage. It may have a password
        in it, which `name` has not.
    data: the bytes themselves, where they cannot be had again (compressed tars). photo: the photo
        itself, where it was decoded before it came here.
    place: where its text file goes below a folder that mirrors the input.
    stem: the name of its text file without ".txt", there or beside the photo, where it is decided
        (`names.with_stems`).
    problem: why there is no photo, as a sentence.
    """

    name: str
    image_id: int | str | None = None
    path: str | None = None
    span: tuple[int, int] | None = None
    member: str | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    photo: Photo | None = field(default=None, repr=False)
    place: str = ""
    stem: str = ""
    problem: str | None = None

    @property
    def file(self) -> Path | None:
        """The photo's own file, where it is one."""
        return Path(self.path) if self.path and not self.span and self.member is None else None


def addressed(path: str) -> Item | None:
    """The photo at an address of the web or of a storage; None where it is none."""
    if not is_url(path) and not storage.is_storage(path):
        return None
    url = path.strip() if is_url(path) else path
    name = redacted(url)
    return Item(name, url=url, place=inside(name.partition("://")[2]))


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in their order, `size` at a time; the last may be fewer."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def inside(name: str) -> str:
    """A foreign name as a place below a folder: it leads nowhere outside."""
    parts = [part for part in re.split(r"[/\0]", name) if part not in ("", ".", "..")]
    return "/".join(parts) or "unnamed"


# Reading ------------------------------------------------------------------------------------------


class NamedBytes(io.BytesIO):
    """Bytes with the name that error sentences are to use."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


def open_item(item: Item, limits: Limits) -> str | NamedBytes | Photo:
    """What `photos.load_photo` takes: the path of a file, or the bytes of anything else.

    Raises PhotoError when there are none.
    """
    if item.problem:
        raise PhotoError(item.problem)
    if item.photo is not None:
        return item.photo
    if item.data is not None:
        return NamedBytes(item.data, item.name)
    source = item.url or item.path
    if item.url and not item.span and item.member is None:
        get = storage.read if storage.is_storage(item.url) else fetch
        return NamedBytes(get(item.url, limits.max_bytes), item.name)
    if source is None:
        raise CaptionerError(f"The item {item.name} has neither a path, nor bytes, nor an address.")
    if item.span:
        start, size = item.span
        if size > limits.max_bytes:
            raise PhotoError(too_large(item.name, limits))
        with _archive_errors(item):
            span = read_span(source, start, size)
        if len(span) < size:
            raise PhotoError(f"{item.name} is cut short: its archive ends within it.")
        return NamedBytes(span, item.name)
    if item.member is not None:
        with _archive_errors(item):
            data = read_zip_member(source, item.member, limits.max_bytes)
        if data is None:
            raise PhotoError(too_large(item.name, limits))
        return NamedBytes(data, item.name)
    return source


def too_large(name: str, limits: Limits) -> str:
    return f"{name} is too large a file: more than the {limits.max_bytes:,} bytes allowed."


@contextlib.contextmanager
def _archive_errors(item: Item) -> Iterator[None]:
    """What reading a member raises, as a sentence."""
    try:
        yield
    except PhotoError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged files
        words = str(error) or type(error).__name__
        raise PhotoError(f"{item.name} cannot be read from its archive: {words}.") from None
