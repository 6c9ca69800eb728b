"""The caption that a person has put into a photo, wherever their program keeps it.

    found = find_description(path.read_bytes())
    if found:
        print(found.place, found.text)      # IPTC Caption-Abstract  Grandmother, 1962

What a camera or a program writes there by itself is no caption. docs/formats.md lists the places.
"""

from __future__ import annotations

import binascii
import contextlib
import importlib
import io
import itertools
import json
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from captioner.errors import PhotoError
from captioner.photos import Limits
from captioner.photos.decode import DECODERS
from captioner.photos.sniff import kind_of

from . import iptc
from .containers import BrokenFileError, Part, file_type, parts, tiff_tags
from .older_places import EXIF_START, is_exif, is_photoshop
from .xmp import DEFAULT, DESCRIPTION, is_packet, packet_of, values

XMP_PLACES = {
    DESCRIPTION: "XMP dc:description",
    "{http://ns.adobe.com/tiff/1.0/}ImageDescription": "XMP tiff:ImageDescription",
    "{http://ns.adobe.com/exif/1.0/}UserComment": "XMP exif:UserComment",
    "{http://ns.acdsee.com/iptc/1.0/}caption": "XMP acdsee:caption",
    "{http://ns.acdsee.com/iptc/1.0/}notes": "XMP acdsee:notes",
}
EXIF_PLACES = {
    "0/270": "EXIF ImageDescription",
    "0/34665.0/0/37510": "EXIF UserComment",
    "0/40092": "EXIF XPComment",
}
MAX_TEXT = 1 << 24
"""Bytes of a compressed text, unpacked."""


class Description(NamedTuple):
    place: str
    """Such as "IPTC Caption-Abstract"."""
    text: str


def find_description(data: bytes) -> Description | None:
    """The first caption of a person in a photo's file, given its bytes."""
    return next(descriptions(data), None)


def descriptions(data: bytes) -> Iterator[Description]:
    """All captions of people in a photo's file. Parts of it that cannot be read give none."""
    for place, raw in _places(data):
        text = " ".join(raw.replace("\0", " ").split())
        if not _is_automatic(text):
            yield Description(place, text)


def texts(data: bytes) -> dict[str, str]:
    """The first text in each place of a photo's file, whoever wrote it; blank ones are none."""
    found: dict[str, str] = {}
    for place, raw in _places(data):
        if text := " ".join(raw.replace("\0", " ").split()):
            found.setdefault(place, text)
    return found


def read_photo(file: Path, limits: Limits) -> bytes:
    """The bytes of a photo's file.

    Raises OSError; PhotoError for what is no ordinary file, or too large.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer for ever
        raise PhotoError(f"{file} is no ordinary file.")
    if status.st_size > limits.max_bytes:
        raise PhotoError(f"{file} is too large a file: more than {limits.max_bytes:,} bytes.")
    return file.read_bytes()


# Places -------------------------------------------------------------------------------------------


def _places(data: bytes) -> Iterator[tuple[str, str]]:
    """(place, text) wherever there is a text."""
    kind = file_type(data)
    if kind is None:
        yield from _of_other(data)
        return
    every: list[Part] = []
    with contextlib.suppress(BrokenFileError):  # what is there before the damage counts
        every.extend(parts(data))
    for part in filter(is_packet, every):
        with contextlib.suppress(BrokenFileError):
            yield from _of_xmp(packet_of(part))
    if kind == "TIFF":
        yield from _of_tags(every, data)
    elif kind == "JPEG":
        yield from _of_jpeg(every)
    elif kind == "PNG":
        yield from _of_png(every)
    else:
        yield from itertools.chain(*(_of_exif(p.content) for p in every if p.kind == "EXIF"))


def _of_jpeg(every: list[Part]) -> Iterator[tuple[str, str]]:
    photoshop = b""
    for part in every:
        if is_exif(part):
            yield from _of_exif(part.content)
        elif is_photoshop(part):
            photoshop += part.content[len(iptc.START) :]
    yield from _of_photoshop(photoshop)
    yield from (("JPEG comment", _text(bytes(p.content))) for p in every if p.kind == "FFFE")


def _of_png(every: list[Part]) -> Iterator[tuple[str, str]]:
    for part in every:
        if part.kind == "eXIf":
            yield from _of_exif(part.content)
        elif part.kind in ("tEXt", "zTXt", "iTXt"):
            yield from _of_png_text(part.kind, bytes(part.content))


def _of_png_text(kind: str, content: bytes) -> Iterator[tuple[str, str]]:
    keyword, _, rest = content.partition(b"\0")
    packed = kind == "zTXt" or (kind == "iTXt" and rest[:1] == b"\1")
    if kind == "zTXt":
        rest = rest[1:]
    elif kind == "iTXt":
        rest = rest[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, MAX_TEXT)
        except zlib.error:
            return
    name = keyword.decode("latin-1")
    if name.lower() in ("description", "comment", "caption"):
        yield f"PNG {name}", _text(rest)
    elif name.startswith("Raw profile type "):  # as ImageMagick keeps what PNG had no place for
        with contextlib.suppress(binascii.Error, ValueError):
            profile = binascii.unhexlify(b"".join(rest.split()[2:]))
            if name.endswith(("exif", "APP1")):
                yield from _of_exif(memoryview(profile))
            elif name.endswith(("iptc", "8bim")):
                yield from _of_photoshop(profile.removeprefix(iptc.START))


def _of_other(data: bytes) -> Iterator[tuple[str, str]]:
    """What Pillow finds in GIF, HEIC, AVIF and JPEG 2000."""
    kind = kind_of(data[:512])
    if kind not in ("GIF", "HEIC", "AVIF", "JPEG 2000"):
        return
    module, name = DECODERS[kind]
    try:
        info = getattr(importlib.import_module(module), name)(io.BytesIO(data), "").info
    except Exception:  # whatever a decoder raises on foreign bytes; it is told when it is decoded
        return
    if isinstance(packet := info.get("xmp"), bytes):
        yield from _of_xmp(packet)
    if isinstance(exif := info.get("exif"), bytes):
        yield from _of_exif(memoryview(exif))
    if comment := info.get("comment"):
        yield f"{kind} comment", comment if isinstance(comment, str) else _text(bytes(comment))


def _of_xmp(packet: bytes) -> Iterator[tuple[str, str]]:
    try:
        found = [v for v in values(packet) if len(v.path) == 1 and v.path[0] in XMP_PLACES]
    except ValueError:
        return
    # In the order of the places, and what is for everybody before what is in one language.
    order = list(XMP_PLACES)
    found.sort(key=lambda v: (order.index(v.path[0]), v.language not in DEFAULT))
    yield from ((XMP_PLACES[value.path[0]], value.text) for value in found)


def _of_exif(content: memoryview) -> Iterator[tuple[str, str]]:
    if bytes(content[:6]) == EXIF_START:
        content = content[6:]
    every: list[Part] = []
    with contextlib.suppress(BrokenFileError, struct.error, IndexError, OverflowError):
        every.extend(tiff_tags(content))
    yield from _of_tags(every, content)


def _of_tags(every: list[Part], data: bytes | memoryview) -> Iterator[tuple[str, str]]:
    for kind, content, *_ in every:
        if kind in EXIF_PLACES:
            yield EXIF_PLACES[kind], _exif_text(kind, bytes(content), data[0] == 0x4D)
        elif kind == "0/33723":
            yield from _of_iptc(bytes(content))
        elif kind == "0/34377":
            yield from _of_photoshop(bytes(content))


def _exif_text(kind: str, content: bytes, big_endian: bool) -> str:
    if kind == "0/40092":
        return content.decode("utf-16-le", "replace")
    if kind == "0/270":
        return _text(content)
    # Exif 2.3, 4.6.5: the first 8 bytes say which code it is.
    code, text = content[:8].rstrip(b"\0 ").upper(), content[8:]
    if code == b"UNICODE":
        even, odd = text[::2].count(0), text[1::2].count(0)  # programs differ in the order
        big = even > odd if even != odd else big_endian
        return text.decode("utf-16-be" if big else "utf-16-le", "replace")
    if code in (b"ASCII", b""):
        return _text(text)
    return text.decode("iso2022_jp", "replace") if code == b"JIS" else _text(content)


def _of_photoshop(content: bytes) -> Iterator[tuple[str, str]]:
    for one in iptc.resources(content):
        if one.number == iptc.IPTC:
            yield from _of_iptc(one.content)


def _of_iptc(content: bytes) -> Iterator[tuple[str, str]]:
    for one in iptc.data_sets(content):
        if one.name == iptc.CAPTION:
            yield "IPTC Caption-Abstract", _text(one.content)


def _text(content: bytes) -> str:
    """Text whose encoding nobody names: UTF-8 where it is that, else as Windows has it."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


# What nobody wrote --------------------------------------------------------------------------------

AUTOMATIC = frozenset((
    "binary comment", "default", "dcf 1.0", "digital camera", "digital still camera", "image",
    "iclarified", "minolta dsc", "none", "null", "picasa", "picture", "samsung",
    "samsung camera pictures", "scanner", "screenshot", "sony dsc", "unknown", "untitled",
    # What Huawei and Honor phones write: the mode of the camera.
    "bface", "bright", "btf", "btfhdr", "btfmdn", "btr", "btrhdr", "btrmdn", "btrozco", "burst",
    "cof", "dav", "edf", "fairlight", "fbt", "fbthdr", "fbtmdn", "fptbty", "frem", "frontbhdp",
    "fshbty", "hdr", "hdrb", "hdrbface", "hdrpl", "mde", "mde_soft", "mon", "nor", "oznor",
    "oznorco", "oznorwo", "ptr", "qrf", "rbt", "rbthdr", "rbtmdn", "rbtozco", "rhdr", "rpt",
    "sdr", "sdr_hdrb", "vivid",
))  # fmt: skip
"""Texts, in lower case, that cameras and programs put where captions go. All were seen in photos:
a longer list would pass over what people wrote."""

AUTOMATIC_FORMS = re.compile(
    r"""(?ix)
    (agfa|benq|casio|epson|fuji|ge|hp|jenoptik|kodak|(konica\ )?minolta|lg|medion|nikon|olympus
      |panasonic|pentax|polaroid|praktica|ricoh|rollei|samsung|sanyo|sony|vivitar)\b.*
      \ digital\ (still\ )?camera
    | <?digimax\b.* | exif[_ ]jpeg\w* | dvc\ [\d.]+\ hdmi | casio\ computer.* | \W*dcim\b.*
    | (img|img[ep]|dscn?|dscf|dcp|pict|pxl|sam|cimg|hpim|dji|gopr|mvc|mvimg)[-_ ]?\d+\S*
    | p\d{7}(\.\w+)?
    | (created|processed|edited|made|saved|generated|optimi[sz]ed|compressed)\ (with|by|using|in)\ 
      (the\ )?(gimp|imlib|vsco|snapseed|adobe|photoshop|lightroom|picasa|imagemagick|inkscape
      |paint|acdsee|jpeg|ezgif|canva|polarr|picsart)\b.*
    | (file\ )?written\ by\ adobe.* | adobe\ photoshop.* | creator:.* | .*\bgd-jpeg\b.*
    | lead\ technologies.* | intel\(r\)\ jpeg.* | lavc[\d.]+ | applemark
    | o(ppo|plus)_\d+ | (charset=)?ascii | [0-9a-f]{16,}
    | .*\b(fil(e)?terintensity|hw-remosaic|scenemode)\b.*      # what Xiaomi and vivo phones write
    """
)


def _is_automatic(text: str) -> bool:
    """Whether a text is blank, or one that no person wrote as a caption."""
    if not any(sign.isalpha() or sign >= "\u2190" for sign in text):  # arrows, symbols, emoji
        return True
    if any(sign < " " for sign in text):
        return True  # no text
    if text.lower() in AUTOMATIC or AUTOMATIC_FORMS.fullmatch(text):
        return True
    with contextlib.suppress(ValueError, RecursionError):
        return isinstance(json.loads(text), dict | list)
    return False
