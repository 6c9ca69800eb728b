"""One photo of a job decoded: what a worker does. Imports no torch.

What comes back to the model's process is small: the square that the model sees, the photo's full
size, and the reduced photo itself only where heatmaps are to be drawn on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from captioner.images import Limits, Photo, load_photo, to_square

from .fetch import TOTAL
from .sources import Item, open_item


@dataclass(frozen=True)
class Decoder:
    """How photos are to be decoded; calling it does so. It pickles.

    size: pixels of the model's square. drawn: pixels of the shorter side that heatmaps are drawn
    on, None for no heatmaps. seconds: for one photo, after which it is given up.
    """

    size: int
    drawn: int | None = None
    limits: Limits = field(default_factory=Limits)
    seconds: float = 10.0

    def __call__(self, item: Item) -> tuple[np.ndarray, Photo]:
        """pixels (S, S, 3) uint8, and the photo; its image is 1x1 without `drawn`.

        Raises PhotoError.
        """
        side = max(self.size, self.drawn or 0)
        photo = load_photo(open_item(item, self.limits), min_side=side, limits=self.limits)
        pixels = to_square(photo, self.size)
        if self.drawn is None:
            photo = Photo(Image.new("RGB", (1, 1)), photo.width, photo.height, photo.name)
        return pixels, photo

    def limit(self, item: Item) -> float:
        """Seconds that this item may take."""
        return self.seconds + (TOTAL if item.url else 0)
