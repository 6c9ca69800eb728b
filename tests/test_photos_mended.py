"""A photo whose pixels are whole is read, whatever else of its file is broken; and only then."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from captioner.photos import Limits

from .test_photos import STORED, UPRIGHT, encode, pixels, refusal

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOISE = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)


# PNG ----------------------------------------------------------------------------------------------


def chunk(kind, content, *, crc=None, length=None):
    crc = zlib.crc32(kind + content) if crc is None else crc
    length = len(content) if length is None else length
    return struct.pack(">I", length) + kind + content + struct.pack(">I", crc)


def png(*before, image=UPRIGHT, after=b""):
    """A PNG with further chunks before and after its pixels."""
    data = encode(image, "PNG")
    return data[:33] + b"".join(before) + data[33:-12] + after + data[-12:]


ANCILLARY = {
    b"pHYs": bytes(9), b"iCCP": b"p\0\0" + zlib.compress(SRGB), b"tEXt": b"a\0b",
    b"zTXt": b"a\0\0" + zlib.compress(b"b"), b"gAMA": bytes(4), b"sRGB": b"\0",
    b"tRNS": struct.pack(">3H", 1, 2, 3), b"cHRM": bytes(32), b"tIME": bytes(7),
    b"bKGD": bytes(6), b"eXIf": b"MM\0*\0\0\0\x08\0\0", b"acTL": struct.pack(">II", 1, 0),
    b"fcTL": bytes(26), b"zzZz": b"?",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ANCILLARY)
def test_a_broken_chunk_that_is_no_pixels_does_not_cost_a_png(kind):
    content = ANCILLARY[kind]
    broken = {
        "checksum": chunk(kind, content, crc=1), "one byte": chunk(kind, content[:1]),
        "empty": chunk(kind, b""), "length": chunk(kind, content, length=len(content) + 3),
        "past the end": chunk(kind, content, length=1 << 31),
        "noise": chunk(kind, NOISE.tobytes()[:3000]),
    }  # fmt: skip
    for name, part in broken.items():
        assert (pixels(png(part)) == UPRIGHT).all(), name
        if kind in (b"tEXt", b"zTXt", b"eXIf", b"tIME", b"zzZz"):
            assert (pixels(png(after=part)) == UPRIGHT).all(), name


def test_large_texts_and_profiles_do_not_cost_a_png():
    much = zlib.compress(bytes(50_000_000))  # nothing of it is unpacked
    for part in (
        chunk(b"tEXt", b"c\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"c\0\0" + much),
        chunk(b"iTXt", b"c\0\1\0\0\0" + much),
        chunk(b"iCCP", b"p\0\0" + zlib.compress(SRGB + bytes(2_000_000))),
        chunk(b"iCCP", b"p\0\7what"),
        chunk(b"zTXt", b"p\0\7what"),
    ):
        assert (pixels(png(part)) == UPRIGHT).all()


def test_a_broken_chunk_does_not_cost_a_png_its_transparency_turn_and_colours():
    broken = chunk(b"pHYs", b"?")
    clear = chunk(b"tRNS", struct.pack(">3H", *map(int, UPRIGHT[0, 0])))
    assert (pixels(png(clear, broken))[:12, :20] == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = png(chunk(b"eXIf", exif.tobytes()[6:]), broken, image=STORED[6])
    assert (pixels(turned) == UPRIGHT).all()
    palette = Image.fromarray(UPRIGHT).quantize(5)
    data = encode(palette, "PNG", transparency=0)
    assert (pixels(data[:33] + broken + data[33:]) == pixels(data)).all()


def test_broken_pixels_of_a_png_are_refused():
    data = png(chunk(b"pHYs", b"?"))
    at = data.index(b"IDAT")
    for place in (16, 29, at + 10, len(data) - 20):  # the header, its checksum, the pixels
        bad = bytearray(data)
        bad[place] ^= 4
        assert refusal(bytes(bad))
    assert refusal(data[: at + 20])
    assert "are allowed" in refusal(data, limits=Limits(max_pixels=900))
    huge = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    start = data[:8] + struct.pack(">I", 13) + huge + struct.pack(">I", zlib.crc32(huge))
    assert "are allowed" in refusal(start + data[33:])


# JPEG ---------------------------------------------------------------------------------------------


def segment(marker, content):
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(
    "part",
    [
        segment(0xEE, b"Adobe"), segment(0xEE, b"Adobe\0d\0\0"), segment(0xE0, b"JFIF\0"),
        segment(0xE2, b"ICC_PROFILE\0"), segment(0xE2, b"ICC_PROFILE\0\3\2abc"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"), segment(0xE1, b"Exif\0\0?"),
        segment(0xE2, b"MPF\0?"), segment(0xFE, b""),
    ],
)  # fmt: skip
def test_a_broken_segment_that_is_no_pixels_does_not_cost_a_jpeg(part):
    exif = Image.Exif()
    exif[0x0112] = 3
    for data in (encode(NOISE, "JPEG"), encode(NOISE, "JPEG", exif=exif)):
        at = data.index(b"\xff\xdb")  # behind the sound segments
        assert (pixels(data[:at] + part + data[at:]) == pixels(data)).all()
    cmyk = encode(Image.fromarray(UPRIGHT).convert("CMYK"), "JPEG")
    assert (pixels(cmyk[:2] + part + cmyk[2:]) == pixels(cmyk)).all()


JPEGS = {
    "plain": {}, "progressive": {"progressive": True}, "grey": {}, "cmyk": {},
    "4:4:4": {"subsampling": 0, "quality": 95}, "restarts": {"restart_marker_blocks": 4},
}  # fmt: skip


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("picture", ["noise", "flat"])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(kind, picture):
    image = Image.fromarray(NOISE if picture == "noise" else np.full_like(NOISE, 77))
    image = image.convert({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB"))
    data = encode(image, "JPEG", **JPEGS[kind])
    for cut in (data[:-2], data[:-1]):
        for side in (None, 20):
            assert (pixels(cut, min_side=side) == pixels(data, min_side=side)).all()


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_more_than_its_end_marker_is_refused(kind):
    image = Image.fromarray(NOISE).convert({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB"))
    data = encode(image, "JPEG", **JPEGS[kind])
    scan = data.rindex(b"\xff\xda")
    ends = {len(data) - 4, len(data) - 10, (scan + len(data)) // 2, scan, scan + 8}
    ends |= {at for at in range(scan + 2, len(data) - 2) if data[at] == 0xFF and data[at + 1]}
    ends |= {at + 2 for at in ends}  # with and without a restart marker at the end
    ends |= {at for at in range(data.index(b"\xff\xda"), scan) if data[at : at + 1] == b"\xff"}
    for end in sorted(ends):
        if end < len(data) - 2:
            assert "cut short" in refusal(data[:end]) or "damaged" in refusal(data[:end])


def test_a_jpeg_without_an_end_is_decoded_within_the_limits_only():
    data = encode(NOISE, "JPEG")[:-2]
    data = data[:2] + segment(0xEE, b"Adobe") + data[2:]  # PIL trips before it knows the size
    assert "are allowed" in refusal(data, limits=Limits(max_pixels=5000))
    at = data.index(b"\xff\xc0")
    huge = data[: at + 5] + struct.pack(">HH", 60_000, 60_000) + data[at + 9 :]
    assert "are allowed" in refusal(huge)


# GIF and WebP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part", [b"!\xf9\1\0\0", b"!\xf9\0", b"!\xfe\0", b"!\xff\x0bNETSCAPE2.0\1\0\0", b"!\1\0"]
)
def test_a_broken_block_that_is_no_pixels_does_not_cost_a_gif(part):
    palette = Image.fromarray(UPRIGHT).quantize(5)
    for data in (encode(palette, "GIF"), encode(palette, "GIF", transparency=1)):
        at = 13 + (3 << (data[10] & 7) + 1)
        assert (pixels(data[:at] + part + data[at:]) == pixels(data)).all()
        assert (pixels(data[:-1]) == pixels(data)).all()


def test_what_is_broken_behind_its_pixels_does_not_cost_a_webp():
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True, "icc_profile": SRGB, "exif": exif}
    data = encode(STORED[6], "WEBP", **options)
    wrong = [data[:4] + struct.pack("<I", size) + data[8:] for size in (12, len(data) + 100)]
    for whole in (*wrong, data + b"EXIF" + struct.pack("<I", 500) + b"ab"):
        assert (pixels(whole) == UPRIGHT).all()
    assert pixels(data[:-4]).shape in ((24, 40, 3), (40, 24, 3))  # its EXIF is cut
    assert refusal(data[:80])
