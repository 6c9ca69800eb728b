"""XMP packets: what they say, and where they are in a photo's file.

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

from .containers import BrokenFileError, Part, file_type
from .embed import in_jpeg, in_png, in_tiff, in_webp

JPEG_START = b"http://ns.adobe.com/xap/1.0/\0"
PNG_START = b"XML:com.adobe.xmp\0"
TAG = 700
"""Of a TIFF."""

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
    try:
        kind = file_type(data)
        if kind == "JPEG":
            content = JPEG_START + packet
            return in_jpeg(data, is_packet, 0xE1, content, ("FFE0", "FFE1"), "XMP")
        if kind == "PNG":
            return in_png(data, is_packet, b"iTXt", PNG_START + bytes(4) + packet)
        if kind == "WebP":
            return in_webp(data, is_packet, b"XMP ", packet, 0x04)
        if kind == "TIFF":
            return in_tiff(data, {TAG: (1, packet)})
    except (struct.error, IndexError, OverflowError):
        pass
    raise BrokenFileError("its parts do not fit together")
