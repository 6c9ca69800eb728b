"""What is refused before it is decoded, by its header alone: decompression bombs."""

from dataclasses import dataclass

from captioner.errors import PhotoError


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


def check_bytes(size: int, label: str, limits: Limits) -> None:
    if size == 0:
        raise PhotoError(f"{label} is empty (0 bytes).")
    if size > limits.max_bytes:
        raise PhotoError(
            f"{label} is too large a file: more than the {limits.max_bytes:,} bytes allowed."
        )


def check_size(size: tuple[int, int], label: str, limits: Limits) -> None:
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
