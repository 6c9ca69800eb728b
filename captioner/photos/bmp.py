"""BMP as Windows shows it, where PIL shows another picture or none."""

import io
import struct
from typing import Any

import numpy as np
from PIL import ImageFile, ImagePalette
from PIL.BmpImagePlugin import BmpImageFile

BITFIELDS, ALPHA_BITFIELDS = 3, 6  # kinds of "compression": masks say where the colours are
GREY = bytes(level for level in range(256) for _ in range(3))


class Bmp(BmpImageFile):
    """PIL's decoder, with every layout of masks, and with grey palettes at every depth.

    An alpha that is 0 everywhere is no alpha: programs that know of none leave it so.
    """

    masks: tuple[int, ...] = ()

    def _open(self) -> None:
        assert self.fp is not None
        head = self.fp.read(70)
        self.fp.seek(0)
        [self.begins, header] = struct.unpack_from("<II", head, 10)
        if header < 40:  # OS/2
            [self.bits] = struct.unpack_from("<H", head, 24)
            return super()._open()
        width, height, _, self.bits, compression = struct.unpack_from("<iiHHI", head, 18)
        if compression not in (BITFIELDS, ALPHA_BITFIELDS) or self.bits not in (16, 32):
            return super()._open()
        masks = struct.unpack_from("<4I", head, 54)
        has_alpha = header >= 56 or compression == ALPHA_BITFIELDS
        self.masks = masks[:3] + ((masks[3],) if has_alpha and masks[3] else ())
        if not all(masks[:3]):
            self.masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        self._size = width, abs(height)
        self._mode = "RGBA" if len(self.masks) == 4 else "RGB"
        self.upwards = height > 0
        # `load` gives the pixels for it.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, (self.mode,))]

    def _bitmap(self, header: int = 0, offset: int = 0) -> None:
        super()._bitmap(header, offset)
        # PIL leaves a grey palette out, and so takes 4 or 8 bits for the 1 or 8 of its own modes.
        if (self.mode, self.bits) in (("1", 4), ("1", 8), ("L", 4)):
            colours = b"\0\0\0\xff\xff\xff" if self.mode == "1" else GREY
            self.palette = ImagePalette.raw("RGB", colours)
            self._mode = "P"
            layout = "P;4" if self.bits == 4 else "P"
            [tile] = self.tile
            assert isinstance(tile.args, tuple)
            self.tile = [tile._replace(args=(layout, *tile.args[1:]))]

    def load(self) -> Any:
        if self.masks and self.tile:
            assert self.fp is not None
            self.fp.seek(self.begins)
            pixels = self._masked(self.fp.read())
            if pixels.shape[2] == 4 and not pixels[:, :, 3].any():
                pixels[:, :, 3] = 255
            self.fp = io.BytesIO(pixels.tobytes())
        return super().load()

    def _masked(self, data: bytes) -> np.ndarray:
        """The pixels (H, W, 3) or (H, W, 4) uint8, from the top."""
        width, height = self.size
        stride = (width * self.bits + 31) // 32 * 4
        if len(data) < stride * height:
            raise OSError("image file is truncated")
        rows = np.frombuffer(data, np.uint8, stride * height).reshape(height, stride)
        words = rows[:, : width * self.bits // 8].copy().view(f"<u{self.bits // 8}")
        pixels = np.empty((height, width, len(self.masks)), np.uint8)
        for channel, mask in enumerate(self.masks):
            lowest = (mask & -mask).bit_length() - 1
            most = mask >> lowest
            wide = np.uint32 if most < 1 << 24 else np.uint64  # holds 255 times the most
            levels = (words & words.dtype.type(mask)) >> lowest
            pixels[:, :, channel] = levels.astype(wide) * 255 // most
        return pixels[::-1] if self.upwards else pixels
