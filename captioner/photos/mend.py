"""Image files whose pixels are whole, though a decoder trips over the rest of them.

`mended` gives the same file without what is broken and is no pixels: texts, profiles, settings of
printers, the end marker of a JPEG. What says how to see the pixels (a palette, transparency, the
colour profile, the orientation) stays where it is sound. Blocks of pixels are kept as they are, for
the decoder to check.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

from PIL import ImageChops

PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
LARGEST_PROFILE = 1 << 20  # as it unpacks; PIL takes no larger one from a PNG


Check = Callable[[tuple[int, int]], None]


def mended(kind: str, data: bytes, check: Check) -> bytes | None:
    """The file without what its decoder may have tripped over; None where there is no such file.

    `check` is asked of the photo's (width, height) before anything is decoded. Raises what it
    raises; ValueError, struct.error or IndexError where the file's own structure is broken; and
    whatever a decoder raises.
    """
    if kind == "JPEG":
        return _jpeg(data, check)
    mend = {"PNG": _png, "GIF": _gif, "WebP": _webp}.get(kind)
    return mend(data) if mend else None


# PNG (ISO/IEC 15948): chunks of length, type, content and CRC -------------------------------------


def _png(data: bytes) -> bytes:
    kept, colours = [data[:8]], 0
    for kind, content, whole in _png_chunks(data):
        if kind == b"IHDR":
            colours = content[9]
        sound = kind in PIXELS or (
            zlib.crc32(kind + content) == struct.unpack(">I", whole[-4:])[0]
            and (
                kind == b"eXIf"
                or (kind == b"tRNS" and len(content) >= {0: 2, 2: 6, 3: 1}.get(colours, 0))
                or (kind == b"iCCP" and _is_profile(content))
            )
        )
        if sound:
            kept.append(whole)
    return b"".join(kept)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(type, content, the whole chunk). Behind one whose length is wrong, the next pixels are
    looked for."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in PIXELS or data[end + 4 : end + 8].isalpha():
            yield kind, data[at + 8 : end - 4], data[at:end]
            at = end
        else:
            found = re.compile(rb"PLTE|IDAT").search(data, at + 8)
            at = found.start() - 4 if found else len(data)


def _is_profile(content: bytes) -> bool:
    _, _, packed = content.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], LARGEST_PROFILE)
    except zlib.error:
        return False
    return packed[:1] == b"\0" and unpacker.eof


# JPEG (ITU T.81): segments of marker, length and content, then scans ------------------------------


def _jpeg(data: bytes, check: Check) -> bytes:
    kept, at = [data[:2]], 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        segment = data[at : at + 2 + length]
        content = segment[4:]
        if (
            not (0xE0 <= marker <= 0xEF or marker == 0xFE)
            or (marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14)
            or (marker == 0xE1 and content.startswith(b"Exif\0\0"))
            or (marker == 0xE2 and content.startswith(b"ICC_PROFILE\0") and len(content) > 14)
            or (marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12)
        ):
            kept.append(segment)
        at += 2 + length
    jpeg = b"".join(kept) + data[at:]
    if jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda"):
        cut = jpeg.rstrip(b"\xff")
        if _has_all_scans(cut) and _last_scan_is_whole(cut, check):
            return cut + b"\xff\xd9"
    return jpeg


MOST_SEGMENTS = 10_000
# Inside a scan 0xFF is followed by 0, or begins a restart marker.
MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")


def _has_all_scans(jpeg: bytes) -> bool:
    """Whether every bit of every coefficient is in some scan (T.81, G.1.1.1)."""
    missing: dict[int, list[int]] = {}
    progressive, at = False, 2
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(jpeg, at)
        if not found:
            return bool(missing) and not any(any(bits) for bits in missing.values())
        marker, at = found[1][0], found.end()
        content = jpeg[at + 2 : at + struct.unpack_from(">H", jpeg, at)[0]]
        at += 2 + len(content)
        if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
            progressive = marker in (0xC2, 0xCA)
            missing = {content[6 + 3 * i]: [1] * 64 for i in range(content[5])}
        elif marker == 0xDA:
            first, last, bits = content[-3:] if progressive else (0, 63, 0)
            for component in content[1 : 1 + 2 * content[0] : 2]:
                missing[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    return False


def _last_scan_is_whole(jpeg: bytes, check: Check) -> bool:
    """Whether nothing is missing but the end marker: then whatever follows is passed over, and
    files that go on differently show the same picture."""
    from PIL.JpegImagePlugin import JpegImageFile

    noise = b"\xaa\x55" + bytes(range(255))
    scan = jpeg[jpeg.rfind(b"\xff\xda") :]
    restart = bytes((0xFF, 0xD0 + len(re.findall(rb"\xff[\xd0-\xd7]", scan)) % 8))
    pictures = []
    for more in (b"", noise, restart + noise):
        picture = JpegImageFile(BytesIO(jpeg + more + b"\xff\xd9"))
        check(picture.size)
        picture.load()
        pictures.append(picture)
        if ImageChops.difference(pictures[0], picture).getbbox(alpha_only=False):
            return False
    return True


# GIF and WebP -------------------------------------------------------------------------------------


def _gif(data: bytes) -> bytes:
    """The first picture with the palettes, and with its control block where that is whole."""
    at = start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    control = b""
    while data[at] == 0x21:
        end = at + 2
        while data[end]:
            end += 1 + data[end]
        if data[at + 1] == 0xF9 and data[at + 2] == 4:
            control = data[at : at + 8]
        at = end + 1
    return data[:start] + control + data[at:]


def _webp(data: bytes) -> bytes:
    """The chunks that are whole, in a file of the size that they have (RFC 9649)."""
    kept, at = [b"WEBP"], 12
    while at + 8 <= len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + length + length % 2
        if end > len(data) + length % 2:
            break
        kept.append(data[at:end].ljust(end - at, b"\0"))
        at = end
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body
