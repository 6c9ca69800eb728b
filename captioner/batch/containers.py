"""What a photo's file is made of: the segments of a JPEG, the chunks of a PNG or WebP, the tags of
a TIFF or of Exif.

    for part in parts(data):
        print(part.kind, len(part.content))

Image and metadata libraries give what they know of a file. Here is everything, so that two files
can be held against each other. The bytes are foreign: no length and no offset is trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Part(NamedTuple):
    kind: str
    """"FFE1" for a segment of a JPEG, "tEXt" for a chunk, "0/270" for tag 270 of the first page of
    a TIFF, "rest" for what follows."""
    content: memoryview
    start: int
    """Where it stands in the file, its header included."""
    end: int


class BrokenFileError(ValueError):
    """A file whose parts do not fit together, or of another kind."""


def file_type(data: bytes) -> str | None:
    """JPEG, PNG, WebP or TIFF; None for any other."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    return "TIFF" if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") else None


def parts(data: bytes) -> Iterator[Part]:
    """The parts of a JPEG, PNG, WebP or TIFF in their order.

    Raises BrokenFileError, perhaps after some parts.
    """
    walks = {"JPEG": _segments, "PNG": _png_chunks, "WebP": _webp_chunks, "TIFF": tiff_tags}
    walk = walks.get(file_type(data) or "")
    if walk is None:
        raise BrokenFileError("it is no JPEG, PNG, WebP or TIFF")
    try:
        yield from walk(memoryview(data))
    except (struct.error, IndexError, OverflowError):
        raise BrokenFileError("it ends too early") from None


def _segments(data: memoryview) -> Iterator[Part]:
    """ITU T.81, B.1. All from the first scan on is one part, the rest."""
    at = 2
    while True:
        start = at
        if data[at] != 0xFF:
            raise BrokenFileError("a segment does not end where it says")
        while data[at] == 0xFF:  # any number of fill bytes
            at += 1
        marker = data[at]
        at += 1
        if marker in (0xD9, 0xDA):  # the end, or a scan
            yield Part("rest", data[start:], start, len(data))
            return
        size = 0
        if marker != 0x01 and not 0xD0 <= marker <= 0xD7:
            size = struct.unpack_from(">H", data, at)[0]
            if size < 2 or at + size > len(data):
                raise BrokenFileError("a segment does not end where it says")
        yield Part(f"FF{marker:02X}", data[at + 2 : at + size], start, at + size)
        at += size


def _png_chunks(data: memoryview) -> Iterator[Part]:
    at, kind = 8, ""
    while kind != "IEND":
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            raise BrokenFileError("it ends too early")
        kind = name.decode("latin-1")
        yield Part(kind, data[at + 8 : at + 8 + size], at, end)
        at = end
    yield Part("rest", data[at:], at, len(data))


def _webp_chunks(data: memoryview) -> Iterator[Part]:
    at, last = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    if last > len(data):
        raise BrokenFileError("it ends too early")
    while at + 8 <= last:
        name, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if end > last:
            raise BrokenFileError("a chunk does not end where it says")
        yield Part(name.decode("latin-1"), data[at + 8 : at + 8 + size], at, end)
        at = end
    yield Part("rest", data[at:], at, len(data))


# TIFF ---------------------------------------------------------------------------------------------

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
         16: 8, 17: 8, 18: 8}  # fmt: skip
"""Bytes of a value, by its type."""
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
DIRECTORIES = (330, 34665, 34853, 40965)
"""Tags that lead to further directories: reduced and further pictures, Exif, GPS, its own."""
DATA = {273: 279, 324: 325, 513: 514}
"""Tags that say where data are, and those that say how long: strips, tiles, a JPEG."""


class Tiff(NamedTuple):
    """How the numbers of a TIFF are to be read. BigTIFF has offsets of 8 bytes in place of 4."""

    data: memoryview
    order: str
    big: bool

    @classmethod
    def of(cls, data: memoryview) -> Tiff:
        return cls(data, "<" if data[0] == 0x49 else ">", bytes(data[2:4]) in (b"+\0", b"\0+"))

    @property
    def pointer(self) -> int:
        """Where the offset of the first directory stands."""
        return 8 if self.big else 4

    @property
    def offset(self) -> str:
        """An offset, for `struct`."""
        return "Q" if self.big else "I"

    def read(self, form: str, at: int) -> int:
        number: int = struct.unpack_from(self.order + form, self.data, at)[0]
        return number

    def entries(self, at: int) -> range:
        """Where the entries of a directory stand."""
        width, first = (20, at + 8) if self.big else (12, at + 2)
        entries = range(first, first + width * self.read("Q" if self.big else "H", at), width)
        if entries.stop > len(self.data):
            raise BrokenFileError("a directory leads out of the file")
        return entries

    def value(self, at: int) -> tuple[int, int, int, int]:
        """The tag and type of an entry, and where its value begins and ends; a damaged one may lead
        out of the file."""
        tag, kind, count = (
            self.read("H", at), self.read("H", at + 2), self.read(self.offset, at + 4)
        )  # fmt: skip
        size, start = count * SIZES.get(kind, 1), at + (12 if self.big else 8)
        if size > (8 if self.big else 4):
            start = self.read(self.offset, start)
        return tag, kind, start, start + size

    def integers(self, kind: int, content: memoryview) -> tuple[int, ...]:
        if kind not in INTEGERS:
            return ()
        number = len(content) // SIZES[kind]
        return struct.unpack(f"{self.order}{number}{INTEGERS[kind]}", content)


def tiff_tags(data: memoryview) -> Iterator[Part]:
    """The tags of all pages and of the directories that they lead to: "0/270" for one of the first
    page, "0/34665.0/37510" for one of its Exif. In place of offsets come the data that they lead
    to. (TIFF 6.0, section 2.)

    Raises BrokenFileError, struct.error, IndexError, OverflowError.
    """
    tiff = Tiff.of(data)
    yield from _directories(tiff, "", tiff.read(tiff.offset, tiff.pointer), set())


def _directories(tiff: Tiff, path: str, at: int, seen: set[int]) -> Iterator[Part]:
    """The directory at an offset and those that follow it. seen: so that a circle ends."""
    page = 0
    while at and at not in seen:
        seen.add(at)
        entries = tiff.entries(at)
        yield from _directory(tiff, f"{path}{page}", entries, seen)
        at = tiff.read(tiff.offset, entries.stop)
        page += 1


def _directory(tiff: Tiff, path: str, entries: range, seen: set[int]) -> Iterator[Part]:
    values = {tag: rest for tag, *rest in map(tiff.value, entries)}
    for tag, (kind, start, end) in sorted(values.items()):
        name, content = f"{path}/{tag}", tiff.data[start:end]
        if tag in DIRECTORIES or kind in (13, 18):
            for number, at in enumerate(tiff.integers(kind, content)):
                yield from _directories(tiff, f"{name}.{number}/", at, seen)
        elif tag in DATA and DATA[tag] in values:
            size_kind, size_start, size_end = values[DATA[tag]]
            sizes = tiff.integers(size_kind, tiff.data[size_start:size_end])
            for at, size in zip(tiff.integers(kind, content), sizes, strict=False):
                yield Part(name, tiff.data[at : at + size], at, at + size)
        else:
            yield Part(name, content, start, end)
