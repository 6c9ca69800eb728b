"""Where on the photo the pixels lie that a checkpoint's own processor hands to its model.

A processor may resize, crop, pad and cut into tiles. None of that is known here: the processor is
given two pictures whose colours are their own coordinates, and what comes out of it says where each
pixel came from. Red grows from left to right and green from top to bottom; in the second picture
all colours are turned round, so that padding, which is alike in both, is told from the photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from captioner.attention import WHOLE, Box, Placement, View

Pictures = Callable[[Image.Image], Sequence[np.ndarray]]
"""An image -> what a model sees of it: views (3, H, W), with the image's own colours, 0 to 255."""
EDGE = 2
"""Pixels at the edges of a view that do not count: filters are lopsided there."""
NEAR = 0.002
"""What an edge may be off, as a share of the photo's side."""


def placement(size: tuple[int, int], pictures: Pictures, patch: int) -> Placement:
    """Where the cells of `patch` pixels of a model lie on a photo of this (width, height)."""
    plain, turned = coordinates(size)
    views = []
    for a, b in zip(pictures(plain), pictures(turned), strict=True):
        height, width = a.shape[1:]
        rows, columns = height // patch, width // patch
        left, top, right, bottom = box_of(a, b, size)
        # Pixels that fill no patch are not seen.
        right = left + (right - left) * (columns * patch / width)
        bottom = top + (bottom - top) * (rows * patch / height)
        views.append(View(rows, columns, (left, top, right, bottom)))
    return Placement(tuple(views))


def coordinates(size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """The two pictures of coordinates, as large as the photo."""
    width, height = size
    # A ramp has 256 steps only. Rows (columns) that begin theirs at different parts of a step
    # make it exact where many of them are averaged.
    golden = 0.6180339887
    down, across = np.arange(height) * golden % 1, np.arange(width) * golden % 1
    pixels = np.zeros((height, width, 3), np.uint8)
    ramp = 255 * (np.arange(width) + 0.5) / width
    pixels[..., 0] = np.minimum(ramp[None, :] + down[:, None], 255)
    ramp = 255 * (np.arange(height) + 0.5) / height
    pixels[..., 1] = np.minimum(ramp[:, None] + across[None, :], 255)
    pixels[..., 2] = 255
    return Image.fromarray(pixels), Image.fromarray(255 - pixels)


def box_of(plain: np.ndarray, turned: np.ndarray, size: tuple[int, int]) -> Box:
    """The box of a view on the photo, from what became of the two pictures of coordinates."""
    difference = (plain.astype(np.float64) - turned) / 255  # -1 to 1 over the photo, 0 in padding
    photo = difference[2] > 0.5
    if not photo.any():
        return WHOLE
    share = (difference + 1) / 2
    left, right = _span(share[0], photo, size[0])
    top, bottom = _span(share[1].T, photo.T, size[1])
    return left, top, right, bottom


def _span(share: np.ndarray, photo: np.ndarray, pixels: int) -> tuple[float, float]:
    """Where a view's first and last edge lie on a side of the photo that has so many pixels. share,
    photo: (lines, places along the side)."""
    lines = photo.any(axis=1)
    along: np.ndarray = np.asarray(photo[lines].all(axis=0))
    places = np.flatnonzero(along)
    values = share[lines][:, along].mean(axis=0)
    middles = places + 0.5
    count = share.shape[1]
    use = np.ones(len(places), bool)
    if len(places) > 4 * EDGE:
        use[:EDGE] = use[-EDGE:] = False
    # A photo that is enlarged is flat at its edges, beyond the middle of its last pixels.
    margin = 0.5 / pixels + 0.004
    use &= (values > margin) & (values < 1 - margin)
    if use.sum() < 2 or np.ptp(values[use]) < 1e-6:
        # Too few pixels for a slope: what is not padding is the photo, from edge to edge.
        slope, start = 1 / len(places), -places[0] / len(places)
    else:
        slope, start = np.polyfit(middles[use], values[use], 1)
    first, last = float(start), float(start + slope * count)
    # What is as good as at the photo's edge is there; only padding lies beyond it.
    if along[0]:
        first = 0.0 if first < NEAR else first
    if along[-1]:
        last = 1.0 if last > 1 - NEAR else last
    return first, last
