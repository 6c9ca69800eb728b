"""TIFFs of every layout are the picture that tifffile wrote, or a sentence: never another one."""

import io

import numpy as np
import pytest

from captioner.errors import PhotoError
from captioner.photos import Limits, load_photo

tifffile = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 40, 56
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.stack([X / (WIDTH - 1), Y / (HEIGHT - 1), ((X // 7 + Y // 5) % 2) * 0.6 + 0.2], axis=-1)
RGB[3:9, 4:20] = (1, 0, 0)
GREY = RGB @ [0.3, 0.5, 0.2]


def samples(levels: np.ndarray, kind: str) -> np.ndarray:
    """0 to 1 as samples of a type: whole numbers fill its range."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return levels.astype(dtype)
    span = np.iinfo(dtype)
    exact = levels * (float(span.max) - span.min) + span.min
    return np.rint(exact).clip(span.min, span.max).astype(dtype)


def written(levels: np.ndarray, kind: str, **layout) -> bytes:
    array = samples(levels, kind)
    if layout.get("planarconfig") == "separate":
        array = np.moveaxis(array, -1, 0)
    file = io.BytesIO()
    try:
        tifffile.imwrite(file, array, metadata=None, **layout)
    except (KeyError, ImportError) as error:
        pytest.skip(f"tifffile cannot write it here: {error}")
    return file.getvalue()


def shown(data: bytes) -> np.ndarray:
    return np.asarray(load_photo(data).image, dtype=float)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "f2", "f4", "f8"])
def test_colours(byteorder, compression, planes, tile, kind):
    layout = {"photometric": "rgb", "planarconfig": planes, "tile": tile,
              "compression": compression, "byteorder": byteorder}  # fmt: skip
    for predictor in (None, True) if compression and kind[0] != "f" else (None,):
        got = shown(written(RGB, kind, predictor=predictor, **layout))
        assert np.abs(got - RGB * 255).max() <= 1.01


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i1", "f2", "f4", "f8"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_greys(byteorder, compression, kind, photometric):
    data = written(GREY, kind, photometric=photometric, compression=compression,
                   byteorder=byteorder)  # fmt: skip
    wanted = (GREY if photometric == "minisblack" else 1 - GREY)[..., None] * 255
    assert np.abs(shown(data) - wanted).max() <= 1.01


@pytest.mark.parametrize("kind", ["i2", "i4"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_order_of_bytes_is_no_part_of_the_picture(kind, compression):
    [little, big] = [
        shown(written(GREY, kind, photometric="minisblack", compression=compression, byteorder=b))
        for b in "<>"
    ]
    np.testing.assert_array_equal(little, big)


def test_a_turned_one_is_upright():
    turned = np.rot90(RGB)  # EXIF orientation 6: the photo's top is at the right
    data = written(turned, "f4", photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert np.abs(shown(data) - RGB * 255).max() <= 1.01


def test_a_compression_that_is_not_known_is_a_sentence():
    data = bytearray(written(RGB, "f4", photometric="rgb"))
    at = data.index(b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # the tag: no compression
    data[at + 8] = 5  # LZW
    with pytest.raises(PhotoError, match="ZIP compression"):
        load_photo(bytes(data))


def test_limits_hold_and_a_torn_one_is_told():
    data = written(RGB, "f4", photometric="rgb")
    with pytest.raises(PhotoError, match="pixels"):
        load_photo(data, limits=Limits(max_pixels=100))
    with pytest.raises(PhotoError, match=r"damaged|cut"):
        load_photo(data[: len(data) // 2])
