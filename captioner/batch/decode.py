"""One photo of a job decoded: what a worker does. Imports no torch.

What comes back to the model's process is small: the square that the model sees, the photo's full
size, and the reduced photo itself only where heatmaps are to be drawn on it, or where the model
prepares photos by itself.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from captioner.errors import PhotoError
from captioner.outputs import is_blank, is_text
from captioner.photos import Limits, Photo, load_photo, to_square

from .descriptions import find_description, read_photo
from .fetch import TOTAL
from .items import Item, open_item
from .names import sidecar
from .sidecars import description_in, sidecar_of


@dataclass(frozen=True)
class Captioned:
    """Whether a photo has a caption of its own, and where.

    texts: a text file with something in it, beside it or under `folder`. inside: a description in
    its metadata. extension: that of the text files. sidecars: a description in an XMP file beside
    it.
    """

    texts: bool = True
    folder: Path | None = None
    inside: bool = False
    extension: str = ".txt"
    sidecars: bool = False

    def __call__(self, item: Item) -> str | None:
        """Where its caption is, such as "a text file"; None when it has none."""
        path = sidecar(item, self.folder, self.extension) if self.texts else None
        # A photo may be named photo.txt: it is no caption, of itself or of another.
        if path and not is_blank(path) and is_text(path):
            return "a text file"
        if self.sidecars and item.file:
            beside = sidecar_of(item.file)
            with contextlib.suppress(
                OSError, ValueError
            ):  # what is wrong is told when it is written
                if description_in(beside):
                    return "a sidecar"
        if not self.inside or item.file is None:
            return None
        try:
            found = find_description(read_photo(item.file, Limits()))
        except (OSError, PhotoError):
            return None  # what is wrong with the photo is told when it is decoded
        return found.place if found else None


class LeftOut(NamedTuple):
    """What comes of a photo that has a caption: where that is."""

    place: str


class Decoded(NamedTuple):
    """What the model and the heatmaps need of a photo."""

    pixels: np.ndarray | None
    """(S, S, 3) uint8, the square that the model sees; None of a model that sees the photo."""
    photo: Photo
    """Its image is 1x1 where nothing looks at it: there is a square, and no heatmaps are drawn."""


@dataclass(frozen=True)
class Decoder:
    """How photos are to be decoded; calling it does so. It pickles.

    size: pixels of the model's square. drawn: pixels of the shorter side that heatmaps are drawn
    on, None for no heatmaps. seconds: for one photo, after which it is given up. skip: leave out
    photos that have a caption already. square: make the square; else `size` is what the shorter
    side needs.
    """

    size: int
    drawn: int | None = None
    limits: Limits = field(default_factory=Limits)
    seconds: float = 10.0
    skip: Captioned | None = None
    square: bool = True

    def __call__(self, item: Item) -> Decoded | LeftOut:
        """The photo of an item, where it is not left out. Raises PhotoError."""
        if self.skip and (place := self.skip(item)):
            return LeftOut(place)
        side = max(self.size, self.drawn or 0)
        photo = load_photo(open_item(item, self.limits), min_side=side, limits=self.limits)
        if not self.square:
            return Decoded(None, photo)
        pixels = to_square(photo, self.size)
        if self.drawn is None:
            photo = replace(photo, image=Image.new("RGB", (1, 1)))
        return Decoded(pixels, photo)

    def limit(self, item: Item) -> float:
        """Seconds that this item may take."""
        return self.seconds + (TOTAL if item.url else 0)
