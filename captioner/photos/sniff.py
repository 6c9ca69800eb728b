"""What kind of file it is, by its first bytes: the decoder they ask for, or what they look like."""

import codecs


def kind_of(head: bytes) -> str | None:
    """Which decoder the first bytes ask for."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _kind_of_heif(head)
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"BM"):
        return "BMP"
    if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG 2000"
    if head[:1] == b"P" and head[1:2] in b"123456fF7" and head[2:3].isspace():
        return "PPM"
    return None


def _kind_of_heif(head: bytes) -> str | None:
    """AVIF and HEIC share a container; the brands in its first box tell them apart."""
    box = head[: min(int.from_bytes(head[:4], "big"), len(head))]
    brands = {box[8:12], *(box[at : at + 4] for at in range(16, len(box) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "HEIC"
    return None


def webp_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) of an extended WebP's canvas; the simple kinds end at 16383x16383."""
    if head[12:16] != b"VP8X" or len(head) < 30:
        return None
    return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1


LOOKS = (
    (b"%PDF", "is a PDF document"),
    (b"PK\x03\x04", "is a ZIP archive or an office document"),
    (b"\x1f\x8b", "is a gzip archive"),
    (b"8BPS", "is a Photoshop document"),
    (b"%!PS", "is a PostScript document"),
    (b"\xff\x0a", "is a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "is a JPEG XL picture"),
    (b"FUJIFILMCCD-RAW", "is a camera's raw file"),
    (b"\0\0\x01\0", "is an icon"),
    (b"RIFF", "is a sound or a video"),
    (b"\x1aE\xdf\xa3", "is a video"),
    (b"\x7fELF", "is a program"),
)


def looks_like(head: bytes) -> str:
    for start, what in LOOKS:
        if head.startswith(start):
            return what
    if head[4:8] == b"ftyp":
        return "is a camera's raw file" if head[8:12] == b"crx " else "is a video"
    if not head.strip(b"\0"):
        return "holds zeros only"
    try:
        # An incremental decoder lets the last character be cut in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = ""
    if text and all(sign.isprintable() or sign.isspace() for sign in text):
        what = "an SVG drawing" if "<svg" in text else "a text file"
        return f"is {what} that starts with {' '.join(text.split())[:40]!r}"
    return f"starts with the bytes {head[:8].hex(' ')}"
