"""Does a heatmap point at the thing? A map against the mask of what its word names.

The map is spread over the photo by bilinear interpolation, as a picture of it would be; then

- pointing: its peak lies on the mask (Zhang et al. 2018, "the pointing game");
- mass_ratio: how much of it lies on the mask, against the mask's share of the photo;
- ap: the average precision of its values as a score of the mask's pixels.

A uniform map, whose peak is everywhere, points by the mask's share of the photo.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

SAMPLED = 128
"""Mass and average precision are taken at so many points along each side of the photo."""
SMALL = 0.25
"""A mask that covers less of the photo than this is small."""


@dataclass(frozen=True)
class Scores:
    """Of one map: see above. boxes: the peak lies in the box of one of the things."""

    pointing: float
    boxes: float
    mass_ratio: float
    ap: float


def score_map(heatmap: np.ndarray, mask: np.ndarray, boxes: np.ndarray) -> Scores:
    """heatmap (h, w) float, not negative; mask and boxes (H, W) bool, of the photo's size."""
    height, width = mask.shape
    spread = _spread(heatmap, (width, height))
    # All that is as high as the highest is the peak: on a flat map it is everywhere.
    peak = spread >= spread.max() * (1 - 1e-6)
    coarse = _spread(heatmap, (SAMPLED, SAMPLED))
    rows = ((np.arange(SAMPLED) + 0.5) * height / SAMPLED).astype(int)
    columns = ((np.arange(SAMPLED) + 0.5) * width / SAMPLED).astype(int)
    # The points may all miss a thing that is smaller than their distance.
    inside = mask[np.ix_(rows, columns)]
    fine = (coarse, inside) if inside.any() else (spread, mask)
    return Scores(
        pointing=float(mask[peak].mean()),
        boxes=float(boxes[peak].mean()),
        mass_ratio=float(fine[0][fine[1]].sum() / fine[0].sum() / fine[1].mean()),
        ap=average_precision(fine[0].ravel(), fine[1].ravel()),
    )


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """The mean, over the positives, of the precision among all that score at least as much."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order].cumsum()
    # Of equal scores the last counts for all: their order means nothing.
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    precision = hits[last] / (last + 1)
    return float(precision[positive[order]].mean())


def _spread(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map over `size` (width, height) by bilinear interpolation, (height, width) float32."""
    image = Image.fromarray(np.asarray(heatmap, dtype=np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
