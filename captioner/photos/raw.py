"""Cameras' raw files: the photo that the camera has put into them, by the extra `raw` (LibRaw)."""

from __future__ import annotations

import functools
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.errors import PhotoError

FLIPS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
"""How LibRaw says that the camera was held."""


@functools.cache
def reads_raw() -> bool:
    """Whether raw files can be read."""
    return find_spec("rawpy") is not None


def preview(path: Path, label: str) -> bytes:
    """The bytes of the photo in a raw file, which says by its Exif how it was held.

    Raises PhotoError where there is none.
    """
    import rawpy

    try:
        with rawpy.imread(str(path)) as raw:
            found = raw.extract_thumb()
            flip = raw.sizes.flip
    except rawpy.LibRawError as error:
        raise PhotoError(
            f"{label} cannot be read as a camera's raw file, or has no preview in it "
            f"({_words(error)})."
        ) from None
    if found.format == rawpy.ThumbFormat.JPEG:
        return bytes(found.data)
    image = Image.fromarray(np.asarray(found.data))
    png = io.BytesIO()
    (image.transpose(FLIPS[flip]) if flip in FLIPS else image).save(png, "PNG", compress_level=1)
    return png.getvalue()


def _words(error: Exception) -> str:
    [said] = error.args or ("",)
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
