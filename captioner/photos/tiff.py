"""TIFFs whose samples PIL reads as another picture, or not at all: planes of 16-bit colours,
floats, signed and 32-bit samples, white-is-zero of more than 8 bits. TIFF 6.0 (Adobe, 1992).

Only the layouts of `is_ours` are read here; all others PIL reads right.
"""

from __future__ import annotations

import contextlib
import lzma
import struct
import zlib
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from captioner.errors import PhotoError

from .colour import TURNS

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS, COUNTS, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, FORMATS = 322, 323, 324, 325, 339
ORIENTATION, PROFILE = 274, 34675
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
PLAIN, ADOBE_DEFLATE, DEFLATE, LZMA = 1, 8, 32946, 34925
KINDS = {1: "u", 2: "i", 3: "f"}
NUMBERS = {(16, "i"): np.int32, (32, "i"): np.int32, (32, "f"): np.float32}
"""Grey samples that stay numbers, as PIL gives them; `colour` makes levels of them."""


class Tiff(TiffImageFile):
    """PIL's decoder, with the samples that it would read as another picture, or refuse; and without
    its look at PIL's global pixel limit, which warns from 89 megapixels."""

    ours: ImageFileDirectory_v2 | None = None

    def _open(self) -> None:
        assert self.fp is not None
        with contextlib.suppress(SyntaxError, KeyError, IndexError, TypeError, struct.error):
            tags, self.byteorder = _tags(self.fp)
            if is_ours(tags, self.byteorder):
                self.ours = tags
                self._size, self._mode = (int(tags[WIDTH]), int(tags[HEIGHT])), "RGB"
                if profile := tags.get(PROFILE):
                    self.info["icc_profile"] = profile
                return
        self.fp.seek(0)
        super()._open()

    def load_prepare(self) -> None:
        if self.ours is None and self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        super().load_prepare()

    def load(self) -> Any:
        if self.ours is None:
            return super().load()
        if self._im is None:
            image = read(self.ours, self.fp, self.byteorder, str(self.filename))
            if turn := TURNS.get(self.ours.get(ORIENTATION, 1)):
                image = image.transpose(turn)
            self.im, self._mode, self._size = image.im, image.mode, image.size
        return Image.Image.load(self)


def _tags(stream: IO[bytes]) -> tuple[ImageFileDirectory_v2, str]:
    """The first directory of a TIFF, and its byte order as struct writes it."""
    head = stream.read(8)
    if head[2:4] in (b"+\0", b"\0+"):
        head += stream.read(8)  # BigTIFF
    tags = ImageFileDirectory_v2(head)
    stream.seek(tags.next)
    tags.load(stream)
    return tags, "<" if head.startswith(b"II") else ">"


def is_ours(tags: Any, byteorder: str) -> bool:
    """Whether PIL would read these tags (its `tag_v2`) as another picture, or refuse them."""
    bits, formats = _each(tags, BITS, 1), _each(tags, FORMATS, 1)
    photometric, samples = tags.get(PHOTOMETRIC), tags.get(SAMPLES, 1)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or len(set(bits)) > 1:
        return False
    if bits[0] not in (8, 16, 32, 64) or len(set(formats)) > 1 or formats[0] not in KINDS:
        return False
    depth, kind = bits[0], KINDS[formats[0]]
    if photometric == RGB:
        if samples not in (3, 4) or (depth, kind) == (8, "u"):
            return False
        planes = tags.get(PLANAR, 1) == 2 and tags.get(COMPRESSION, PLAIN) == PLAIN
        return (depth, kind) != (16, "u") or planes
    if samples != 1 or (depth, kind) == (8, "u"):
        return False
    if photometric == WHITE_IS_ZERO or (depth, kind) not in (*NUMBERS, (16, "u")):
        return True
    # PIL takes the bytes of these in the wrong order when they come out of a compression.
    swapped = byteorder == ">" and tags.get(COMPRESSION, PLAIN) != PLAIN
    return swapped and (depth, kind) in NUMBERS


def read(tags: Any, stream: Any, byteorder: str, label: str) -> Image.Image:
    """The picture, 8 bits a sample (`NUMBERS` as they are). Whole numbers fill the range of their
    type; floats are taken as 0 to 1. The size has been checked.

    Raises PhotoError for a compression that is not known here.
    """
    width, height = int(tags[WIDTH]), int(tags[HEIGHT])
    samples, planes = int(tags.get(SAMPLES, 1)), tags.get(PLANAR, 1) == 2
    kind, depth = KINDS[_each(tags, FORMATS, 1)[0]], _each(tags, BITS, 1)[0]
    tiled = TILE_OFFSETS in tags
    across = int(tags[TILE_WIDTH]) if tiled else width
    down = int(tags[TILE_HEIGHT]) if tiled else min(int(tags.get(ROWS, height)), height)
    offsets = _each(tags, TILE_OFFSETS if tiled else OFFSETS, 0)
    counts = _each(tags, TILE_COUNTS if tiled else COUNTS, 0)
    columns, rows = -(-width // across), -(-height // down)
    together = 1 if planes else samples
    if min(across, down) < 1 or across > 2 * width + 1024 or down > 2 * height + 1024:
        raise ValueError("a tile is larger than the picture")
    if len(offsets) < columns * rows * (samples if planes else 1) or len(offsets) != len(counts):
        raise ValueError("parts of the picture are missing")
    grey_white = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    numbers = None if grey_white or samples > 1 else NUMBERS.get((depth, kind))
    picture = np.zeros((height, width, min(samples, 3)), numbers or np.uint8)
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        plane, place = divmod(number, columns * rows) if planes else (0, number)
        if place >= columns * rows or plane >= picture.shape[2]:
            continue
        top, left = place // columns * down, place % columns * across
        high = down if tiled else min(down, height - top)
        part = np.dtype(f"{byteorder}{kind}{depth // 8}")
        size = high * across * together * part.itemsize
        stream.seek(offset)
        data = _unpacked(stream.read(count), int(tags.get(COMPRESSION, PLAIN)), size, label)
        values = np.frombuffer(data[:size], part).reshape(high, across, together)
        if (predictor := tags.get(PREDICTOR, 1)) != 1:
            values = _undone(values, data[:size], predictor, part)
        values = values[: height - top, : width - left]
        seen = values if numbers else _eight_bits(values)
        to = slice(plane, plane + 1) if planes else slice(0, picture.shape[2])
        picture[top : top + high, left : left + across, to] = seen[..., : picture.shape[2]]
    if grey_white:
        picture = 255 - picture
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)


def _each(tags: Any, tag: int, default: int) -> Sequence[int]:
    value = tags.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _unpacked(data: bytes, compression: int, size: int, label: str) -> bytes:
    """At most `size` bytes of a part: a bomb is not unpacked."""
    if compression in (ADOBE_DEFLATE, DEFLATE):
        data = zlib.decompressobj().decompress(data, size)
    elif compression == LZMA:
        data = lzma.LZMADecompressor().decompress(data, size)
    elif compression != PLAIN:
        raise PhotoError(
            f"{label} is a TIFF with samples of a kind that is read only without compression or "
            "with ZIP compression; save it so, or as PNG."
        )
    if len(data) < size:
        raise ValueError("the picture is cut short")
    return data


def _undone(values: np.ndarray, data: bytes, predictor: int, part: np.dtype[Any]) -> np.ndarray:
    """Differences of neighbours summed again: predictor 2, of whole numbers, and 3, of the bytes of
    floats, most significant first (Adobe Photoshop TIFF Technical Note 3, 2005)."""
    if predictor == 2 and part.kind in "ui":
        sums = values.astype(values.dtype.newbyteorder("=")).cumsum(axis=1, dtype=np.uint64)
        return sums.astype(f"u{part.itemsize}").view(f"{part.kind}{part.itemsize}")
    if predictor != 3 or part.kind != "f":
        raise ValueError(f"predictor {predictor} does not go with these samples")
    high, across, together = values.shape
    rows = np.frombuffer(data, np.uint8).reshape(high, across * part.itemsize, together)
    rows = rows.cumsum(axis=1, dtype=np.uint8).reshape(high, part.itemsize, across * together)
    packed = np.ascontiguousarray(rows.transpose(0, 2, 1))
    return packed.view(f">f{part.itemsize}").reshape(high, across, together)


def _eight_bits(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        exact = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
        return np.rint(np.clip(exact, 0, 1) * 255).astype(np.uint8)
    span = np.iinfo(values.dtype)
    share = (values.astype(np.float64) - span.min) / (float(span.max) - span.min)
    return np.rint(share * 255).astype(np.uint8)
