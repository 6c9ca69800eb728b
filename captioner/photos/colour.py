"""Any loaded PIL image -> upright sRGB: orientation, alpha, palettes, profiles, wide grey."""

import functools
import io
import logging
from typing import Any

import numpy as np
from PIL import Image

from captioner.errors import PhotoError

log = logging.getLogger(__name__)

SAME_COLOUR = 3  # of 255: makers' sRGB profiles differ by so much


def finish(
    image: Image.Image, full: tuple[int, int], label: str, min_side: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Reduce, convert and turn a loaded image; `full` is its (width, height) before any of it."""
    turn = _orientation(image)
    rgb = _to_rgb(image, label, min_side)
    if turn is not None:
        rgb = rgb.transpose(turn)
        if turn not in (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
        ):
            full = full[1], full[0]
    if type(rgb) is not Image.Image or rgb is image:
        rgb = rgb.copy()  # neither the caller's own image nor one that holds on to its file
    rgb.info = {}
    return rgb, full


TURNS = {  # EXIF orientation -> what makes it upright (EXIF 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # unreadable EXIF says nothing about the pixels
        return None


def _reduce(image: Image.Image, min_side: int | None) -> Image.Image:
    """Average whole blocks of pixels while both sides keep twice `min_side`.

    Twice, so that the bicubic filter that follows still has something to weigh.
    """
    factor = min(image.size) // (2 * min_side) if min_side else 1
    return image.reduce(factor) if factor > 1 else image


def _to_rgb(image: Image.Image, label: str, min_side: int | None) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _reduce(_grey_from_numbers(image, label), min_side).convert("RGB")
    icc = image.info.get("icc_profile")
    if _has_transparency(image):
        image = _reduce(_to_rgba(image), min_side)
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return _to_srgb(white, icc)
    if mode in ("P", "1", "RGBX"):
        image = image.convert("RGB")
    image = _reduce(image, min_side)
    if mode == "CMYK":
        return _to_srgb(image, icc)
    if mode == "LAB":
        return _converted(image, None)
    if mode == "L":
        return image.convert("RGB")
    return _to_srgb(image if image.mode == "RGB" else image.convert("RGB"), icc)


def _has_transparency(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (
        image.mode in ("1", "L", "P", "RGB")
        and (
            image.info.get("transparency") is not None
            or (image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA")
        )
    )


def _to_rgba(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # A 16-bit PNG keeps its key at 16 bits, while PIL gives the pixels' upper 8.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image.convert("RGBA")


def _grey_from_numbers(image: Image.Image, label: str) -> Image.Image:
    """Wide greyscale (16-bit, 32-bit, float) -> L, by the range that its values can have."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PhotoError(f"{label} has pixels that are not numbers (NaN or infinite).")
    low, high = float(low), float(high)
    if image.mode == "F":
        # 0..1 is how floats are stored; anything else is stretched, as its white is not known.
        black, white = (0.0, 1.0) if low >= 0 and high <= 1 else (min(low, 0.0), high)
    elif low < 0 or high > 65535:
        black, white = min(low, 0.0), high
    elif image.format == "PNG" or high > 4095:
        black, white = 0.0, 65535.0  # PNG samples use their whole range by definition
    else:
        black, white = 0.0, 4095.0 if high > 255 else 255.0  # 12 or 8 bits in a wider word
    if white <= black:
        white = black + 1
    grey = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), 1024):  # in strips: a float64 copy of all would be large
        strip = (values[top : top + 1024].astype(np.float64) - black) * (255 / (white - black))
        grey[top : top + 1024] = np.rint(strip)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey)


def _to_srgb(image: Image.Image, icc: Any) -> Image.Image:
    """RGB or CMYK, with the colour profile it came with -> sRGB."""
    if isinstance(icc, bytes) and icc:
        try:
            if image.mode != "RGB" or not _is_srgb(icc):
                return _converted(image, icc)
        except Exception as error:  # a damaged or misplaced profile: the pixels are still good
            log.debug("Colour profile ignored: %s", error)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=8)
def _is_srgb(icc: bytes) -> bool:
    """Whether a profile moves no colour by more than `SAME_COLOUR`, whatever its name says: then
    the pixels are best left alone."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    moved = np.asarray(_converted(Image.fromarray(cube), icc)).astype(int) - cube
    return int(np.abs(moved).max()) <= SAME_COLOUR


def _converted(image: Image.Image, icc: bytes | None) -> Image.Image:
    """sRGB from the colours of a profile; None: CIE Lab."""
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    assert converted is not None  # None is returned for conversions in place only
    return converted
