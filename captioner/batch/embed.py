"""A part of metadata put into a photo's file, without a touch to anything else: every other byte
stays, and what is addressed from the beginning of the file (the pages of a TIFF, a maker's notes)
stays where it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

from .containers import BrokenFileError, Part, Tiff, parts

MAX_SEGMENT = 65_533
"""Bytes of a JPEG's segment, without the two of its length."""
IsOld = Callable[[Part], bool]
"""Whether a part is the one whose place the new one takes."""


def in_jpeg(
    data: bytes, is_old: IsOld, marker: int, content: bytes, behind: tuple[str, ...], what: str
) -> bytes:
    """A segment in place of the old one, else behind the first segments that are such as `behind`.

    Raises BrokenFileError for more than a segment holds; `what` is then what there is too much of.
    """
    if len(content) > MAX_SEGMENT:
        raise BrokenFileError(f"its {what} would be more than a JPEG has room for")
    start = end = 2
    first = True
    for part in parts(data):
        if is_old(part):
            start, end = part.start, part.end
            break
        first = first and part.kind in behind
        if first:
            start = end = part.end
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
    return data[:start] + segment + data[end:]


def in_png(data: bytes, is_old: IsOld, kind: bytes, content: bytes) -> bytes:
    """A chunk in place of the old one, else before the picture."""
    every = list(parts(data))
    old = next(filter(is_old, every), None)
    picture = next((part.start for part in every if part.kind == "IDAT"), None)
    if picture is None:
        raise BrokenFileError("it has no picture")
    start, end = (old.start, old.end) if old else (picture, picture)
    chunk = kind + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:start] + chunk + data[end:]


def in_webp(data: bytes, is_old: IsOld, name: bytes, content: bytes, flag: int) -> bytes:
    """A chunk in place of the old one, else as the last. `flag` says in the header of the extended
    format that it is there (RFC 9649, section 2.7)."""
    *chunks, rest = parts(data)
    if not chunks:
        raise BrokenFileError("it has no picture")
    new = _chunk(name, content)
    known = chunks[0].kind == "VP8X"
    header = bytearray(chunks.pop(0).content if known else _extended(chunks[0]))
    header[0] |= flag
    body = [_chunk(b"VP8X", bytes(header))]
    old = next(filter(is_old, chunks), None)
    body += [new if chunk is old else data[chunk.start : chunk.end] for chunk in chunks]
    body += [] if old else [new]
    whole = b"WEBP" + b"".join(body)
    return b"RIFF" + struct.pack("<I", len(whole)) + whole + data[rest.start :]


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _extended(picture: Part) -> bytes:
    """The extended format's header for a file that is a picture alone."""
    content, clear = picture.content, 0
    if picture.kind == "VP8L":
        bits: int = struct.unpack_from("<I", content, 1)[0]
        width, height, clear = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    elif picture.kind == "VP8 ":
        width, height = ((side & 0x3FFF) - 1 for side in struct.unpack_from("<HH", content, 6))
    else:
        raise BrokenFileError("it has no picture")
    size = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return bytes((clear << 4, 0, 0, 0)) + size


def in_tiff(data: bytes, tags: Mapping[int, tuple[int, bytes]]) -> bytes:
    """Tags of the first page of a TIFF, or of Exif, in place of old ones: (type, of one byte a
    value; content) each. They and a new first directory go to the end; nothing is moved."""
    tiff = Tiff.of(memoryview(data))
    entries = tiff.entries(tiff.read(tiff.offset, tiff.pointer))
    old = [(tiff.read("H", at), data[at : at + entries.step]) for at in entries]
    width = 8 if tiff.big else 4
    behind, added = bytes(len(data) % 2), []
    for tag, (kind, content) in tags.items():
        value = content.ljust(width, b"\0")  # a short one stands in its entry
        if len(content) > width:
            value = struct.pack(tiff.order + tiff.offset, len(data) + len(behind))
            behind += content + bytes(len(content) % 2)
        form = f"{tiff.order}HH{tiff.offset}"
        added.append((tag, struct.pack(form, tag, kind, len(content)) + value))
    directory = len(data) + len(behind)
    table = sorted([*(e for e in old if e[0] not in tags), *added], key=lambda entry: entry[0])
    if not tiff.big and directory + 12 * (len(table) + 1) >= 1 << 32:
        raise BrokenFileError("it would be more than the 4 GiB that a TIFF may have")
    return b"".join(
        (
            data[: tiff.pointer],
            struct.pack(tiff.order + tiff.offset, directory),
            data[tiff.pointer + width :],
            behind,
            struct.pack(tiff.order + ("Q" if tiff.big else "H"), len(table)),
            *(entry for _, entry in table),
            data[entries.stop : entries.stop + width],
        )
    )
