"""Pictures without content: of nearly one colour, such as the inside of a pocket."""

import colorsys

import numpy as np
from PIL import Image

CELLS = 16
"""The picture is looked at as so many cells in each direction: noise is averaged away, and a lamp
in the night is still seen."""
EVEN = 24
"""Levels of 255 that the cells of a blank picture may differ by, in each colour. Of 9,112 photos of
Flickr8k, Flickr30k and COCO, the plainest (a surfer in the mist) has 67."""
HUES = (
    (15, "red"), (42, "orange"), (70, "yellow"), (160, "green"), (260, "blue"), (290, "purple"),
    (340, "pink"), (360, "red"),
)  # fmt: skip
"""Names of colours, up to these degrees of the circle of hues."""


def blank_colour(image: Image.Image) -> str:
    """The name of the one colour that a picture has nearly everywhere; "" for a photo of something.

    image: mode RGB.
    """
    cells = np.asarray(image.resize((CELLS, CELLS), Image.Resampling.BOX), dtype=np.int16)
    cells = cells.reshape(-1, 3)
    if (cells.max(axis=0) - cells.min(axis=0)).max() > EVEN:
        return ""
    return _name(cells.mean(axis=0))


def _name(rgb: np.ndarray) -> str:
    hue, lightness, _ = colorsys.rgb_to_hls(*(rgb / 255))
    if lightness < 0.14 or lightness > 0.93 or rgb.max() - rgb.min() < 32:
        return "black" if lightness < 0.25 else "white" if lightness > 0.8 else "grey"
    name = next(name for degrees, name in HUES if hue * 360 <= degrees)
    return "brown" if name == "orange" and lightness < 0.45 else name
