"""Does a heatmap point at the thing? A map against the mask of what its word names.

The map is spread over the photo by bilinear interpolation, as a picture of it would be; then

- pointing: its peak lies on the mask (the pointing game, Zhang et al. 2018);
- boxes: its peak lies in the box of one of the things;
- mass: how much of the map lies on the mask, to be compared with the mask's area;
- ap: the average precision of the map's values as a score of the mask's pixels.

A uniform map, whose peak is everywhere, points by the mask's share of the photo.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLED = 128
"""Mass and average precision are taken at so many points along each side of the photo."""
SMALL = 0.25
"""A mask that covers less of the photo than this is small."""


@dataclass(frozen=True)
class Scores:
    """Of one map, as above; area: the mask's share of the photo."""

    pointing: float
    boxes: float
    mass: float
    area: float
    ap: float


@dataclass(frozen=True)
class Pointing:
    """A word that names a thing on its photo, and how well each map of it points.

    word: as it stands in the caption. probability: the model's. maps: the heatmaps of the kinds
    that are measured. scores: of these and of what stands beside them. drops: as `deletion.drops`.
    """

    photo: int
    file: Path
    caption: str
    word: str
    categories: tuple[str, ...]
    probability: float
    maps: dict[str, np.ndarray] = field(repr=False)
    scores: dict[str, Scores]
    drops: dict[str, float]


def score_map(heatmap: np.ndarray, mask: np.ndarray, boxes: np.ndarray) -> Scores:
    """heatmap (h, w) float, not negative; mask and boxes (H, W) bool, of the photo's size, with at
    least one pixel that is true."""
    height, width = mask.shape
    spread = _spread(heatmap, (width, height))
    # All that is as high as the highest is the peak: of a flat map that is everywhere.
    peak = spread >= spread.max() * (1 - 1e-6)
    rows, columns = (_points(side) for side in mask.shape)
    values, inside = spread[np.ix_(rows, columns)], mask[np.ix_(rows, columns)]
    if not inside.any():  # a thing so small that all points miss it
        values, inside = spread, mask
    return Scores(
        pointing=float(mask[peak].mean()),
        boxes=float(boxes[peak].mean()),
        mass=float(values[inside].sum(dtype=np.float64) / values.sum(dtype=np.float64)),
        area=float(inside.mean()),
        ap=average_precision(values.ravel(), inside.ravel()),
    )


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """The mean, over the positives, of the precision among all that score at least as much."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order].cumsum()
    # Of equal scores the last counts for all: their order means nothing.
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    precision = hits[last] / (last + 1)
    return float(precision[positive[order]].mean())


def _points(side: int) -> np.ndarray:
    return ((np.arange(SAMPLED) + 0.5) * side / SAMPLED).astype(int)


def _spread(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map over `size` (width, height) by bilinear interpolation, (height, width) float32."""
    image = Image.fromarray(np.asarray(heatmap, dtype=np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
