"""XMP packets: what they say, and where they are in a photo's file.

A packet is put into a file without a touch to anything else: every other byte stays, and what is
addressed from the beginning of the file (the pages of a TIFF, a maker's notes) stays where it is.
Adobe's XMP specification, part 3, says where packets go.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

from .containers import BrokenFileError, Part, Tiff, file_type, parts

JPEG_START = b"http://ns.adobe.com/xap/1.0/\0"
PNG_START = b"XML:com.adobe.xmp\0"
TAG = 700
"""Of a TIFF."""
MAX_SEGMENT = 65_533
"""Bytes of a JPEG's segment, without the two of its length."""

DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
ALT_TEXT = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}AltTextAccessibility"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
META = "{adobe:ns:meta/}"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
DEFAULT = ("", "x-default")
"""The languages of what is meant for everybody."""

BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
END = '\n<?xpacket end="w"?>'


class Value(NamedTuple):
    """A text of a packet: the properties that lead to it, `{namespace}name` each; its language, ""
    where none is given."""

    path: tuple[str, ...]
    language: str
    text: str


def values(packet: bytes) -> list[Value]:
    """All texts of a packet that are not blank, in the order of the packet. It does not matter in
    which of RDF's many ways they are written.

    Raises ValueError for what is no XMP.
    """
    root = _tree(packet)
    try:
        return [] if root is None else list(_values(root, (), ""))
    except RecursionError:
        raise ValueError("its XMP is too deep") from None


def with_texts(packet: bytes, texts: Mapping[str, str]) -> bytes:
    """The packet with these texts as its properties, for everybody; texts of these properties in a
    language of their own stay, and so does everything else.

    Raises ValueError for what is no XMP.
    """
    root = _tree(packet)
    if root is None:
        root = ElementTree.Element(f"{META}xmpmeta")
        ElementTree.SubElement(root, f"{RDF}RDF")
    rdf = root if root.tag == f"{RDF}RDF" else root.find(f"{RDF}RDF")
    if rdf is None:
        raise ValueError("its XMP is damaged")
    nodes = rdf.findall(f"{RDF}Description")
    if not nodes:
        nodes = [ElementTree.SubElement(rdf, f"{RDF}Description", {f"{RDF}about": ""})]
    for name, text in texts.items():
        _set(nodes, name, text)
    for prefix, uri in _prefixes(packet):
        with contextlib.suppress(ValueError):  # a prefix that ElementTree keeps for itself
            ElementTree.register_namespace(prefix, uri)
    body = ElementTree.tostring(root, encoding="unicode")
    return f"{BEGIN}{body}{END}".encode()


def _tree(packet: bytes) -> ElementTree.Element | None:
    content = packet.strip(b"\0 \r\n\t")
    if not content:
        return None
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("its XMP has a document type, which no XMP has")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, RecursionError):
        raise ValueError("its XMP is damaged") from None


def _prefixes(packet: bytes) -> list[tuple[str, str]]:
    """The prefixes that the packet has for its namespaces, for it to keep them."""
    own = [("x", META[1:-1]), ("Iptc4xmpCore", ALT_TEXT[1:].partition("}")[0])]
    content = packet.strip(b"\0 \r\n\t")
    events = ElementTree.iterparse(io.BytesIO(content), ["start-ns"]) if content else ()
    return own + [(prefix, uri) for _, (prefix, uri) in events if prefix]


def _set(nodes: list[ElementTree.Element], name: str, text: str) -> None:
    alternatives = ElementTree.Element(f"{RDF}Alt")
    ElementTree.SubElement(alternatives, f"{RDF}li", {LANGUAGE: "x-default"}).text = text
    for node in nodes:
        node.attrib.pop(name, None)
        for old in node.findall(name):
            node.remove(old)
            alternatives.extend(
                li for li in old.iter(f"{RDF}li") if li.get(LANGUAGE, "") not in DEFAULT
            )
    ElementTree.SubElement(nodes[0], name).append(alternatives)


def _values(element: ElementTree.Element, path: tuple[str, ...], language: str) -> Iterator[Value]:
    if not element.tag.startswith((RDF, META)):
        path = (*path, element.tag)
    language = element.get(LANGUAGE, language)
    for name, text in element.attrib.items():
        if name == f"{RDF}resource":
            yield Value(path, language, text)
        elif not name.startswith((RDF, META, LANGUAGE)) and text.strip():
            yield Value((*path, name), language, text.strip())
    if not len(element) and (element.text or "").strip():
        yield Value(path, language, (element.text or "").strip())
    for child in element:
        yield from _values(child, path, language)


# In a file ----------------------------------------------------------------------------------------


def is_packet(part: Part) -> bool:
    """Whether a part of a file is its XMP."""
    if part.kind == "FFE1":
        return bytes(part.content[: len(JPEG_START)]) == JPEG_START
    if part.kind == "iTXt":
        return bytes(part.content[: len(PNG_START)]) == PNG_START
    return part.kind in ("XMP ", f"0/{TAG}")


def packet_of(part: Part) -> bytes:
    """The packet in a part that `is_packet`. Raises BrokenFileError."""
    content = bytes(part.content)
    if part.kind == "FFE1":
        return content[len(JPEG_START) :]
    if part.kind != "iTXt":
        return content
    # Compressed or not, its method, and the text in the language named before it.
    compressed, _, rest = content[len(PNG_START)], content[len(PNG_START) + 1], content[20:]
    *_, text = rest.split(b"\0", 2)
    if not compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, 1 << 24)
    except zlib.error:
        raise BrokenFileError("its XMP cannot be unpacked") from None


def embed(data: bytes, packet: bytes) -> bytes:
    """The file with this packet in place of its own.

    Raises BrokenFileError, also when a JPEG has no room for it.
    """
    place = {"JPEG": _in_jpeg, "PNG": _in_png, "WebP": _in_webp, "TIFF": _in_tiff}
    try:
        return place[file_type(data) or ""](data, packet)
    except (KeyError, struct.error, IndexError, OverflowError):
        raise BrokenFileError("its parts do not fit together") from None


def _in_jpeg(data: bytes, packet: bytes) -> bytes:
    """In place of the old one, else behind the JFIF and Exif segments."""
    content = JPEG_START + packet
    if len(content) > MAX_SEGMENT:
        raise BrokenFileError("its XMP would be more than a JPEG has room for")
    start = end = 2
    first = True
    for part in parts(data):
        if is_packet(part):
            start, end = part.start, part.end
            break
        first = first and part.kind in ("FFE0", "FFE1")
        if first:
            start = end = part.end
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    return data[:start] + segment + data[end:]


def _in_png(data: bytes, packet: bytes) -> bytes:
    """In place of the old one, else before the picture."""
    every = list(parts(data))
    old = next(filter(is_packet, every), None)
    picture = next((part.start for part in every if part.kind == "IDAT"), None)
    if picture is None:
        raise BrokenFileError("it has no picture")
    start, end = (old.start, old.end) if old else (picture, picture)
    content = PNG_START + bytes(4) + packet
    chunk = b"iTXt" + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:start] + chunk + data[end:]


def _in_webp(data: bytes, packet: bytes) -> bytes:
    """In place of the old one, else as the last chunk. The header of the extended format says that
    it is there (RFC 9649, section 2.7)."""
    *chunks, rest = parts(data)
    if not chunks:
        raise BrokenFileError("it has no picture")
    new = _chunk(b"XMP ", packet)
    body = []
    if chunks[0].kind == "VP8X":
        header = bytearray(chunks.pop(0).content)
        header[0] |= 0x04
        body.append(_chunk(b"VP8X", bytes(header)))
    else:
        body.append(_chunk(b"VP8X", _extended(chunks[0])))
    old = next(filter(is_packet, chunks), None)
    body += [new if chunk is old else data[chunk.start : chunk.end] for chunk in chunks]
    body += [] if old else [new]
    content = b"WEBP" + b"".join(body)
    return b"RIFF" + struct.pack("<I", len(content)) + content + data[rest.start :]


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
    return bytes((0x04 | clear << 4, 0, 0, 0)) + size


def _in_tiff(data: bytes, packet: bytes) -> bytes:
    """The packet and a new first directory go to the end; nothing that is there is moved."""
    tiff = Tiff.of(memoryview(data))
    old = tiff.read(tiff.offset, tiff.pointer)
    entries = tiff.entries(old)
    kept = [(tiff.read("H", at), data[at : at + entries.step]) for at in entries]
    start = len(data) + len(data) % 2
    directory = start + len(packet) + len(packet) % 2
    if not tiff.big and directory + 12 * (len(kept) + 2) >= 1 << 32:
        raise BrokenFileError("it would be more than the 4 GiB that a TIFF may have")
    form = f"{tiff.order}HH{tiff.offset}{tiff.offset}"
    new = TAG, struct.pack(form, TAG, 1, len(packet), start)
    table = sorted([*(e for e in kept if e[0] != TAG), new], key=lambda entry: entry[0])
    after = data[entries.stop : entries.stop + (8 if tiff.big else 4)]
    return b"".join(
        (
            data[: tiff.pointer],
            struct.pack(tiff.order + tiff.offset, directory),
            data[tiff.pointer + (8 if tiff.big else 4) :],
            bytes(start - len(data)),
            packet,
            bytes(len(packet) % 2),
            struct.pack(tiff.order + ("Q" if tiff.big else "H"), len(table)),
            *(entry for _, entry in table),
            after,
        )
    )
