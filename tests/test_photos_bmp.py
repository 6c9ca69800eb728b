"""Every layout of a BMP is the picture that it stores, or is refused in a sentence that is true."""

import struct

import numpy as np
import pytest

from captioner.photos import Limits

from .test_photos import pixels, refusal

HEIGHT, WIDTH = 6, 10
Y, X = np.mgrid[:HEIGHT, :WIDTH]
COLOURS = np.stack([X * 25, Y * 45, (X * 7 + Y * 40) % 256], -1).astype(np.uint8)
INDEX = (X * 31 + Y * 17) % 256
PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
BLACK_WHITE = np.array([[0] * 3, [255] * 3], np.uint8)
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(rows, bits, *, header=40, compression=0, masks=(), palette=None, upwards=True):
    """A BMP of rows of bytes (from the top), or of a body that is compressed already."""
    if isinstance(rows, bytes):
        body = rows
    else:
        stride = (WIDTH * bits + 31) // 32 * 4
        body = b"".join(row.ljust(stride, b"\0") for row in (rows[::-1] if upwards else rows))
    entries = b"" if palette is None else np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
    if header == 12:
        entries = b"" if palette is None else palette[:, ::-1].tobytes()
        info = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        colours = 0 if palette is None else len(palette)
        info = struct.pack(
            "<IiiHHIIiiII", header, WIDTH, HEIGHT if upwards else -HEIGHT, 1, bits, compression,
            len(body), 2835, 2835, colours, 0,
        )  # fmt: skip
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header, b"\0")
    begins = 14 + len(info) + len(entries)
    head = b"BM" + struct.pack("<IHHI", begins + len(body), 0, 0, begins)
    return head + info + entries + body


def bgr(alpha=None):
    rows = COLOURS[..., ::-1]
    if alpha is not None:
        rows = np.dstack([rows, np.full((HEIGHT, WIDTH), alpha, np.uint8)])
    return [row.tobytes() for row in rows]


def packed(index, bits):
    """Palette indices, several to a byte."""
    shifts = np.arange(8 - bits, -1, -bits)
    padded = np.pad(index, ((0, 0), (0, -WIDTH % len(shifts))))
    joined = (padded.reshape(HEIGHT, -1, len(shifts)) << shifts).sum(-1)
    return [row.astype(np.uint8).tobytes() for row in joined]


@pytest.mark.parametrize("header", [12, 40, 108, 124])
def test_full_colour(header):
    assert (pixels(bmp(bgr(), 24, header=header)) == COLOURS).all()
    if header > 12:
        assert (pixels(bmp(bgr(), 24, header=header, upwards=False)) == COLOURS).all()
        for alpha in (0, 255):  # not an alpha: nothing says so
            assert (pixels(bmp(bgr(alpha), 32, header=header)) == COLOURS).all()


@pytest.mark.parametrize("header", [56, 108, 124])
def test_an_alpha_that_is_zero_everywhere_is_none(header):
    masked = {"header": header, "compression": 3, "masks": BGRA}
    for alpha in (0, 255):
        assert (pixels(bmp(bgr(alpha), 32, **masked)) == COLOURS).all()
    half = pixels(bmp(bgr(128), 32, **masked))
    assert np.abs(half - (COLOURS * (128 / 255) + 127)).max() <= 1
    rows = bgr(0)
    rows[0] = bgr(255)[0]
    some = pixels(bmp(rows, 32, **masked))
    assert (some[0] == COLOURS[0]).all() and (some[1:] == 255).all()


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize(
    ("bits", "widths"), [(16, (5, 6, 5)), (16, (5, 5, 5)), (16, (4, 4, 4)), (32, (10, 10, 10)),
                         (32, (8, 8, 8)), (32, (11, 11, 10))],
)  # fmt: skip
def test_any_masks(bits, widths, upwards):
    shifts = (widths[1] + widths[2], widths[2], 0)
    most = 2 ** np.array(widths) - 1
    levels = np.rint(COLOURS / 255 * most).astype(np.uint32)
    words = (levels << np.array(shifts, np.uint32)).sum(-1).astype(f"<u{bits // 8}")
    data = bmp(
        [row.tobytes() for row in words], bits, compression=3, upwards=upwards,
        masks=[(2**width - 1) << shift for width, shift in zip(widths, shifts, strict=True)],
    )  # fmt: skip
    assert np.abs(pixels(data) - levels / most * 255).max() < 1
    if widths == (5, 5, 5):
        assert (pixels(bmp([row.tobytes() for row in words], 16)) == pixels(data)).all()
    assert "are allowed" in refusal(data, limits=Limits(max_pixels=59))
    assert "cut short" in refusal(data[:-1])


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("colours", ["many", "grey", "black and white", "white and black"])
@pytest.mark.parametrize("header", [12, 40])
def test_palettes(bits, colours, header):
    palette = {
        "many": PALETTE, "grey": GREYS, "black and white": BLACK_WHITE,
        "white and black": BLACK_WHITE[::-1],
    }[colours][: 2**bits]  # fmt: skip
    if header == 12:  # its palette is always whole
        palette = np.pad(palette, ((0, 2**bits - len(palette)), (0, 0)))
    index = INDEX % len(palette)
    data = bmp(packed(index, bits), bits, palette=palette, header=header)
    assert (pixels(data) == palette[index]).all()


@pytest.mark.parametrize("colours", [PALETTE, GREYS, GREYS[:16], BLACK_WHITE])
def test_run_lengths(colours):
    index = (INDEX % len(colours)).astype(np.uint8)
    runs = b"".join(
        b"".join(bytes((1, value)) for value in row.tolist()) + b"\0\0" for row in index[::-1]
    )
    plain = b"".join(bytes((0, WIDTH)) + row.tobytes() + b"\0\0" for row in index[::-1])
    for body in (runs, plain):
        data = bmp(body + b"\0\1", 8, compression=1, palette=colours)
        assert (pixels(data) == colours[index]).all()


def test_kinds_that_cannot_be_read_are_not_called_damaged():
    for data in (bmp(bgr(0), 32, compression=4), bmp(packed(INDEX % 4, 2), 2, palette=PALETTE[:4])):
        assert "of a kind that cannot be read here" in refusal(data)
