"""Whatever holds a photograph -> a `Photo`, or a `PhotoError`, a sentence that says why not."""

from __future__ import annotations

import io
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from captioner.errors import PhotoError

from .arrays import from_array, from_tensor
from .blank import blank_colour
from .colour import finish
from .decode import decode
from .limits import DEFAULT_LIMITS, Limits, check_bytes, check_size
from .raw import preview, reads_raw
from .sentences import damaged, label_of, unopened, words
from .walk import RAW_SUFFIXES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Photo:
    """An upright RGB photograph, perhaps decoded at a reduced scale."""

    image: Image.Image
    """Mode RGB, upright. Never enlarged; its aspect ratio is the photo's, to a pixel's rounding."""
    width: int
    """Pixels across the full upright photo, before any reduction."""
    height: int
    """Pixels down the full upright photo, before any reduction."""
    name: str = "photo"
    """The file's name without its folder; "photo" where there is no file."""
    blank: str = ""
    """The name of its colour, where it is a picture without content; see `blank.py`."""


PhotoSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | torch.Tensor | Photo"
)


def load_photo(
    source: PhotoSource, *, min_side: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Photo:
    """Load one photograph: EXIF orientation applied, alpha over white, first frame, RGB.

    Args:
        source: a path (str or Path); the bytes of an image file; a binary file object (read from
            its start where it can seek); a PIL image; a numpy array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) of uint8, uint16, bool, or float in 0..1; a torch tensor (3, H, W) or
            (1, H, W) of uint8 or float in 0..1; or a Photo, which is returned as it is.
        min_side: pixels needed on each side. A larger photo is decoded at a reduced scale at which
            both sides still have at least this many; a smaller one stays as it is. None: full size.
        limits: what is too large to decode.

    Raises:
        PhotoError: whatever is wrong with the photo, in a sentence that names it.
        ValueError: `min_side` is not a positive number.
    """
    if min_side is not None and min_side < 1:
        raise ValueError(f"min_side is a number of pixels, at least 1, not {min_side!r}")
    if isinstance(source, Photo):
        return source
    label, name = label_of(source)
    try:
        image, (width, height) = _open(source, label, min_side, limits)
        blank = blank_colour(image)
    except (PhotoError, ImportError):
        raise
    except MemoryError:
        raise PhotoError(f"{label} needs more memory than this machine has free.") from None
    except Exception as error:  # whatever a decoder raises on bytes made to break it
        raise PhotoError(damaged(label, error)) from error
    return Photo(image, width, height, name, blank)


def to_square(photo: Photo, size: int) -> np.ndarray:
    """The whole photo squeezed into a square, nothing cropped: (size, size, 3) uint8, writable.

    Bicubic, with antialiasing (the filter widens with the reduction, as PIL's `resize` does it).
    """
    return np.array(photo.image.resize((size, size), Image.Resampling.BICUBIC))


def _open(
    source: Any, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image and the full (width, height)."""
    if isinstance(source, (str, os.PathLike)):
        if Path(source).suffix.lower() in RAW_SUFFIXES and reads_raw():
            _open_path(source, label, limits).close()  # whether it can be read at all
            return _decode_bytes(preview(Path(source), label), label, min_side, limits)
        with _open_path(source, label, limits) as stream:
            return finish(*decode(stream, label, min_side, limits), label, min_side)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode_bytes(source, label, min_side, limits)
    if isinstance(source, Image.Image):
        check_size(source.size, label, limits)
        source.load()
        return finish(source, source.size, label, min_side)
    if isinstance(source, np.ndarray):
        image = from_array(source, label, limits)
        return finish(image, image.size, label, min_side)
    if (torch := sys.modules.get("torch")) and isinstance(source, torch.Tensor):
        image = from_tensor(source, label, limits)
        return finish(image, image.size, label, min_side)
    if hasattr(source, "read"):
        return _decode_bytes(_read(source, label, limits), label, min_side, limits)
    raise PhotoError(
        f"A photo cannot be made from a {type(source).__name__}: give a path, bytes, a binary file,"
        " a PIL image, a numpy array or a torch tensor."
    )


def _open_path(source: str | os.PathLike[str], label: str, limits: Limits) -> BinaryIO:
    path = Path(source)
    if not os.fspath(source):
        raise PhotoError("The path of the photo is empty.")
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        raise PhotoError(f"{label} is a web address; download the photo and give its file.")
    try:
        # Asked before opening: opening a pipe would wait for its writer for ever.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError(f"{label} is a folder, not a photo.")
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(f"{label} is a pipe or a device, not a file.")
        check_bytes(status.st_size, label, limits)
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise PhotoError(unopened(label, error)) from None


def _read(stream: Any, label: str, limits: Limits) -> bytes:
    try:
        if getattr(stream, "seekable", lambda: False)():
            stream.seek(0)
        data = stream.read(limits.max_bytes + 1)
    except Exception as error:  # any class may call itself a file
        raise PhotoError(f"{label} cannot be read: {words(error)}.") from error
    if isinstance(data, str):
        raise PhotoError(f"{label} is a file opened as text; open it with mode 'rb'.")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise PhotoError(f"{label} gives {type(data).__name__} when read, not bytes.")
    return bytes(data)


def _decode_bytes(
    data: bytes | bytearray | memoryview, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    check_bytes(memoryview(data).nbytes, label, limits)
    return finish(*decode(io.BytesIO(data), label, min_side, limits), label, min_side)
