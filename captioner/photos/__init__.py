"""Anything that holds a photograph -> an upright RGB photo, or one sentence that says why not.

    photo = load_photo("holiday.jpg", min_side=260)   # Photo(image, width, height, name)
    pixels = to_square(photo, 260)                    # (260, 260, 3) uint8

`load_photo` takes a path, bytes, a binary file, a PIL image, a numpy array or a torch tensor. Only
`PhotoError` leaves it, whatever the bytes are. Neither torch nor any decoder is imported before it
is needed, and nothing of PIL's global state is read or changed: a photo's size is taken from its
header and checked here before a pixel is decoded.
"""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from captioner.errors import PhotoError

if TYPE_CHECKING:
    import torch

__all__ = [
    "PHOTO_SUFFIXES",
    "Limits",
    "Photo",
    "PhotoSource",
    "find_photos",
    "load_photo",
    "to_square",
    "walk_photos",
]

log = logging.getLogger(__name__)

# fmt: off
PHOTO_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif",
    ".heic", ".heif", ".hif", ".tif", ".tiff", ".bmp", ".dib", ".jp2", ".j2k",
    ".ppm", ".pgm", ".pbm", ".pnm",
))
# fmt: on
"""File suffixes, in lower case, that a folder scan takes. A file named outright is always tried."""


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


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded."""

    max_bytes: int = 1 << 29
    """Largest file, in bytes. 512 MiB holds a 16-bit TIFF of 80 megapixels."""
    max_pixels: int = 200_000_000
    """Most pixels (width x height). The largest phone cameras have 199.8 million."""
    max_side: int = 100_000
    """Longest side in pixels. Stitched panoramas pass."""


DEFAULT_LIMITS = Limits()

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
    label, name = _label(source)
    try:
        image, (width, height) = _open(source, label, min_side, limits)
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(f"{label} needs more memory than this machine has free.") from None
    except Exception as error:  # whatever a decoder raises on bytes made to break it
        raise PhotoError(_damaged(label, error)) from error
    return Photo(image, width, height, name)


def to_square(photo: Photo, size: int) -> np.ndarray:
    """The whole photo squeezed into a square, nothing cropped: (size, size, 3) uint8, writable.

    Bicubic, with antialiasing (the filter widens with the reduction, as PIL's `resize` does it).
    """
    return np.array(photo.image.resize((size, size), Image.Resampling.BICUBIC))


def find_photos(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the photos that the paths name: files as given, folders searched through.

    A folder gives its own photos by name, then those of its subfolders by name. Hidden files and
    folders are passed over, links to folders are followed once, and a file that several paths
    reach in the same way is listed once. A file named outright is taken whatever its suffix.

    Raises:
        PhotoError: a path that does not exist or cannot be read, or a folder without photos.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: dict[Path, None] = {}  # a set that keeps its order
    for given in paths:
        path = Path(given)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            raise PhotoError(_unopened(str(given), error)) from None
        if not stat.S_ISDIR(mode):
            found[path] = None
            continue
        before = len(found)
        photos = list(walk_photos(path))
        found.update(dict.fromkeys(photos))
        if not photos and len(found) == before:
            raise PhotoError(
                f"The folder {given} has no photos (files such as .jpg, .png, .webp or .heic)."
            )
    return list(found)


def walk_photos(
    folder: Path,
    *,
    passed: Callable[[str, str], None] | None = None,
    unread: Callable[[str, str], None] | None = None,
) -> Iterator[Path]:
    """Photos below a folder; every real folder is entered once, so that link loops end.

    `passed` is told of what is left out, as (why, path): "hidden", "not a photo", "seen before".
    `unread` is told of folders below that cannot be read, as (path, sentence); a warning is logged
    without it.

    Raises:
        PhotoError: the folder itself cannot be read.
    """
    seen: set[tuple[int, int]] = set()

    def skipped(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise PhotoError(_unopened(str(folder), error)) from None
        if unread:
            unread(error.filename, f"The folder {_unopened(_label(error.filename)[0], error)}")
        else:
            log.warning("Passed over the folder %s: %s.", error.filename, error.strerror)

    def leave(why: str, *where: str) -> None:
        if passed:
            passed(why, os.path.join(*where))  # noqa: PTH118 (as `os.walk` gives them)

    for here, folders, files in os.walk(folder, followlinks=True, onerror=skipped):
        try:
            status = os.stat(here)  # noqa: PTH116 (once per folder; a Path is not needed)
        except OSError:  # vanished since it was listed
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            leave("seen before", here)
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in folders:
            if name.startswith("."):
                leave("hidden", here, name)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                leave("hidden", here, name)
            elif Path(name).suffix.lower() not in PHOTO_SUFFIXES:
                leave("not a photo", here, name)
            else:
                yield Path(here, name)


# What kind of source it is ------------------------------------------------------------------------


def _label(source: Any) -> tuple[str, str]:
    """How error sentences name the source, and the name of its file or "photo"."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        return repr(path) if not path.isprintable() or not path else path, Path(path).name or path
    filename = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(filename, str) and Path(filename).name:
        return filename, Path(filename).name
    return "The photo", "photo"


def _open(
    source: Any, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image and the full (width, height)."""
    if isinstance(source, (str, os.PathLike)):
        with _open_path(source, label, limits) as stream:
            return _decode(stream, label, min_side, limits)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode_bytes(source, label, min_side, limits)
    if isinstance(source, Image.Image):
        _check_size(source.size, label, limits)
        source.load()
        return _finish(source, label, source.size, min_side)
    if isinstance(source, np.ndarray):
        image = _from_array(source, label, limits)
        return _finish(image, label, image.size, min_side)
    if (torch := sys.modules.get("torch")) and isinstance(source, torch.Tensor):
        image = _from_tensor(source, label, limits)
        return _finish(image, label, image.size, min_side)
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
        _check_bytes(status.st_size, label, limits)
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise PhotoError(_unopened(label, error)) from None


def _read(stream: Any, label: str, limits: Limits) -> bytes:
    try:
        if getattr(stream, "seekable", lambda: False)():
            stream.seek(0)
        data = stream.read(limits.max_bytes + 1)
    except Exception as error:  # any class may call itself a file
        raise PhotoError(f"{label} cannot be read: {_words(error)}.") from error
    if isinstance(data, str):
        raise PhotoError(f"{label} is a file opened as text; open it with mode 'rb'.")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise PhotoError(f"{label} gives {type(data).__name__} when read, not bytes.")
    return bytes(data)


def _decode_bytes(
    data: bytes | bytearray | memoryview, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    _check_bytes(memoryview(data).nbytes, label, limits)
    return _decode(io.BytesIO(data), label, min_side, limits)


def _check_bytes(size: int, label: str, limits: Limits) -> None:
    if size == 0:
        raise PhotoError(f"{label} is empty (0 bytes).")
    if size > limits.max_bytes:
        raise PhotoError(
            f"{label} is too large a file: more than the {limits.max_bytes:,} bytes allowed."
        )


def _check_size(size: tuple[int, int], label: str, limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PhotoError(f"{label} has no pixels ({width}x{height}).")
    if max(size) > limits.max_side:
        raise PhotoError(
            f"{label} is too large: {width}x{height} pixels, and a side may have"
            f" {limits.max_side:,} at most."
        )
    if width * height > limits.max_pixels:
        raise PhotoError(
            f"{label} is too large: {width}x{height} is {width * height:,} pixels, and"
            f" {limits.max_pixels:,} are allowed."
        )


# Files --------------------------------------------------------------------------------------------

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
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
}
TAKEN = "JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP, JPEG 2000 or PPM"


def _decode(
    stream: BinaryIO, label: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, tuple[int, int]]:
    head = stream.read(512)
    stream.seek(0)
    if not head:
        raise PhotoError(f"{label} is empty (0 bytes).")
    kind = _kind(head)
    if kind is None:
        raise PhotoError(
            f"{label} cannot be read as a photo: it {_looks_like(head)}. Photos may be {TAKEN}."
        )
    if kind == "WebP" and (size := _webp_size(head)):
        _check_size(size, label, limits)  # this decoder allocates the picture as it opens
    image = _decoder(kind, label)(stream, "")
    _check_size(image.size, label, limits)
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
        _check_size(full, label, limits)
    return _finish(image, label, full, min_side)


def _decoder(kind: str, label: str) -> Any:
    module, name = DECODERS[kind]
    try:
        decoder = getattr(importlib.import_module(module), name)
    except ImportError:
        if kind == "HEIC":
            raise PhotoError(
                f'{label} is a HEIC photo; run pip install "captioner[heic]" to read those.'
            ) from None
        raise PhotoError(
            f"{label} is a {kind} file, which this Pillow was built without."
        ) from None
    return _without_pixel_check(decoder) if kind == "TIFF" else decoder


def _without_pixel_check(tiff: Any) -> Any:
    """The TIFF decoder without its own look at PIL's global pixel limit, which warns from 89 MP."""

    class Tiff(tiff):
        def load_prepare(self) -> None:
            size = getattr(self, "_tile_size", None)
            if size and getattr(self, "_im", self) is None:
                self.im = Image.core.new(self.mode, size)
            super().load_prepare()

    return Tiff


def _kind(head: bytes) -> str | None:
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


def _webp_size(head: bytes) -> tuple[int, int] | None:
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


def _looks_like(head: bytes) -> str:
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


# Any PIL image -> upright RGB ---------------------------------------------------------------------


def _finish(
    image: Image.Image, label: str, full: tuple[int, int], min_side: int | None
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
        return _from_lab(image)
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
    if isinstance(icc, bytes) and icc and not (image.mode == "RGB" and _is_srgb(icc)):
        try:
            from PIL import ImageCms

            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except Exception as error:  # a damaged or misplaced profile: the pixels are still good
            log.debug("Colour profile ignored: %s", error)
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_srgb(icc: bytes) -> bool:
    return b"sRGB" in icc or "sRGB".encode("utf-16-be") in icc


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # None is returned for conversions in place only
    return converted


# Arrays -------------------------------------------------------------------------------------------


def _from_array(array: np.ndarray, label: str, limits: Limits) -> Image.Image:
    takes = "takes (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16, bool, or float 0..1"
    got = f"{label} is an array of shape {array.shape} and dtype {array.dtype}"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "."
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; np.moveaxis(array, 0, -1) puts the channels last."
        elif array.ndim == 4:
            hint = "; give the photos of a batch one by one."
        raise PhotoError(f"{got}; a photo {takes}{hint}")
    _check_size((array.shape[1], array.shape[0]), label, limits)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.rint(array.astype(np.float32) / 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        array = _from_floats(array, got)
    elif array.dtype != np.uint8:
        raise PhotoError(f"{got}; a photo {takes}.")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _from_floats(array: np.ndarray, got: str) -> np.ndarray:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PhotoError(f"{got} with values that are not numbers (NaN or infinite).")
    if low < -1e-3 or high > 1 + 1e-3:  # a little over is what interpolation leaves
        raise PhotoError(f"{got} with values {low:g}..{high:g}; floats are taken in 0..1.")
    return np.rint(np.clip(array.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def _from_tensor(tensor: torch.Tensor, label: str, limits: Limits) -> Image.Image:
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    floating = tensor.dtype.is_floating_point
    if len(shape) != 3 or shape[0] not in (1, 3) or not (floating or dtype == "uint8"):
        hint = "; give the photos of a batch one by one." if len(shape) == 4 else "."
        raise PhotoError(
            f"{label} is a tensor of shape {shape} and dtype {dtype}; a photo takes (3, H, W) or"
            f" (1, H, W) of uint8, or float 0..1{hint}"
        )
    tensor = tensor.detach().cpu()
    array = (tensor.float() if floating else tensor).numpy()
    return _from_array(np.moveaxis(array, 0, -1), label, limits)


# Sentences ----------------------------------------------------------------------------------------


def _unopened(label: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{label} does not exist."
    if isinstance(error, PermissionError):
        return f"{label} cannot be opened: no permission to read it."
    if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
        return f"{label} does not exist."
    return f"{label} cannot be opened: {_words(error)}."


def _damaged(label: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:  # the disk's fault, not the file's
        return f"{label} cannot be read: {_words(error)}."
    words = _words(error)
    if "truncated" in words.lower():
        return f"{label} is cut short: the file ends before the picture does. Copy it again."
    why = f" ({words})" if " " in words else ""  # some give a bare number
    return f"{label} is damaged, or not the picture its first bytes promise{why}."


def _words(error: Exception) -> str:
    """An exception in a few words on one line."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split())[:200].rstrip(".") or type(error).__name__
