"""IPTC's data sets (IIM 4.2), as JPEGs hold them among Photoshop's image resources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from .containers import BrokenFileError

START = b"Photoshop 3.0\0"
"""Of the JPEG segment that holds the resources."""
IPTC, DIGEST = 0x0404, 0x0425
"""Numbers of resources: the data sets, and their MD5, by which Photoshop sees that a program which
does not know of XMP has changed them."""
CAPTION = (2, 120)
MAX_CAPTION = 2000
"""Bytes."""
UTF_8 = b"\x1b%G"
NEW = b"\x1c\x01\x5a\x00\x03" + UTF_8 + b"\x1c\x02\x00\x00\x02\x00\x04"
"""Where there are none yet: the coded character set (1:90), and the version of record 2 (2:00)."""


class Resource(NamedTuple):
    number: int
    content: bytes
    raw: bytes
    """All of it, with its header and padding."""


class DataSet(NamedTuple):
    name: tuple[int, int]
    """Record and number: (2, 120) is the caption."""
    content: bytes
    raw: bytes


def resources(content: bytes) -> Iterator[Resource]:
    """Photoshop's resources, up to what is none: 8BIM, number, name, size, data; all padded."""
    at = 0
    while content[at : at + 4] == b"8BIM" and at + 12 <= len(content):
        number = int.from_bytes(content[at + 4 : at + 6], "big")
        start = at + 6 + (content[at + 6] + 2) // 2 * 2 + 4
        size = int.from_bytes(content[start - 4 : start], "big")
        end = start + size + size % 2
        yield Resource(number, content[start : start + size], content[at:end])
        at = end


def data_sets(content: bytes) -> Iterator[DataSet]:
    """The data sets, up to what is none: 1C, record, number, size, data."""
    at = 0
    while at + 5 <= len(content) and content[at] == 0x1C:
        size, start = int.from_bytes(content[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # the size of the size
            start += size & 0x7FFF
            size = int.from_bytes(content[at + 5 : start], "big")
        name = content[at + 1], content[at + 2]
        yield DataSet(name, content[start : start + size], content[at : start + size])
        at = start + size


def with_caption(content: bytes, text: str) -> bytes:
    """Photoshop's resources with this Caption-Abstract among them, in place of the old one.

    Raises BrokenFileError where they are damaged, have no room for it, or letters of their own.
    """
    every = list(resources(content))
    if content[sum(len(one.raw) for one in every) :].strip(b"\0"):
        raise BrokenFileError("its image resources are damaged")
    old = next((one.content for one in every if one.number == IPTC), b"")
    new = _with_caption(old, text)
    digest = hashlib.md5(new, usedforsecurity=False).digest()
    before = hashlib.md5(old, usedforsecurity=False).digest()
    raw = [
        _resource(DIGEST, digest) if one.number == DIGEST and one.content == before else one.raw
        for one in every
        if one.number != IPTC
    ]
    return b"".join([_resource(IPTC, new), *raw])


def _with_caption(content: bytes, text: str) -> bytes:
    sets = list(data_sets(content or NEW))
    if content and b"".join(one.raw for one in sets) != content.rstrip(b"\0"):
        raise BrokenFileError("its IPTC is damaged")
    encoded = text.encode()
    if len(encoded) > MAX_CAPTION:
        raise BrokenFileError("its IPTC has no room for the caption")
    if not text.isascii() and not any(s.name == (1, 90) and s.content == UTF_8 for s in sets):
        raise BrokenFileError("its IPTC has letters of its own")
    kept = [one for one in sets if one.name != CAPTION]
    caption = b"\x1c" + bytes(CAPTION) + len(encoded).to_bytes(2, "big") + encoded
    return b"".join(
        [
            *(one.raw for one in kept if one.name <= CAPTION),
            caption,
            *(one.raw for one in kept if one.name > CAPTION),
        ]
    )


def _resource(number: int, content: bytes) -> bytes:
    head = b"8BIM" + number.to_bytes(2, "big") + b"\0\0" + len(content).to_bytes(4, "big")
    return head + content + bytes(len(content) % 2)
