"""The bytes of an image file -> a loaded PIL image, its size checked before a pixel is decoded."""

import importlib
import io
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any, BinaryIO

from PIL import Image

from captioner.errors import PhotoError

from .limits import Limits, check_size
from .mend import mended
from .sniff import kind_of, looks_like, webp_size

# The only decoders that foreign bytes may reach. PIL's `Image.open` is not used: it would try them
# all (some start interpreters), and its pixel limit is global and warns instead of refusing.
# The JPEG class also reads MPO, whose first picture is a plain JPEG.
DECODERS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
    "TIFF": ("captioner.photos.tiff", "Tiff"),
    "BMP": ("captioner.photos.bmp", "Bmp"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
}
TAKEN = "JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP, JPEG 2000 or PPM"


def decode(
    stream: BinaryIO, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    """The loaded image, perhaps at a reduced scale (`load_photo`'s min_side), and the full size.

    Raises PhotoError, and whatever a decoder raises for pixels that are broken.
    """
    head = stream.read(512)
    stream.seek(0)
    if not head:
        raise PhotoError(f"{label} is empty (0 bytes).")
    kind = kind_of(head)
    if kind is None:
        raise PhotoError(
            f"{label} cannot be read as a photo: it {looks_like(head)}. Photos may be {TAKEN}."
        )
    if kind == "WebP" and (size := webp_size(head)):
        check_size(size, label, limits)  # this decoder allocates the picture as it opens
    decoder = _decoder(kind, label)
    try:
        return _load(decoder, stream, kind, label, min_side, limits)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        stream.seek(0)
        try:
            whole = mended(kind, stream.read(), lambda size: check_size(size, label, limits))
        except PhotoError:
            raise
        except Exception:  # not the structure of such a file, or the pixels are broken too
            raise error from None
        if whole is None:
            raise
    return _load(decoder, io.BytesIO(whole), kind, label, min_side, limits)


def _load(
    decoder: Any, stream: BinaryIO, kind: str, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    image: Image.Image = decoder(stream, label)
    check_size(image.size, label, limits)
    full = image.size
    if kind == "JPEG" and min_side is not None:
        # Halvings are nearly free here. One and a half times the side leaves the bicubic filter
        # something to weigh: a mean difference of 0.3-0.7 grey levels from a full decode in
        # place of 0.6-1.8, for at most 8 ms more on a photo of 12 megapixels.
        side = min_side * 3 // 2
        image.draft(None, (side, side))
    drafted = image.size != full
    image.load()
    if not drafted:
        full = image.size  # TIFF turns itself upright; HEIC may correct its header
        check_size(full, label, limits)
    return image, full


def _decoder(kind: str, label: str) -> Any:
    module, name = DECODERS[kind]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        if (error.path or "").endswith(tuple(EXTENSION_SUFFIXES)):
            raise  # it is there and cannot be loaded
        if kind == "HEIC":
            raise PhotoError(
                f'{label} is a HEIC photo; run pip install "captioner[heic]" to read those.'
            ) from None
        raise PhotoError(
            f"{label} is a {kind} file, which this Pillow was built without."
        ) from None
