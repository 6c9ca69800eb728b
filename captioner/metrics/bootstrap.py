"""Bootstrap intervals over images: how much a score would move with other photos of the same kind.

Images are drawn with replacement, as many as there are, and the score is computed anew from what
it sums per image (Efron 1979; for comparing two systems on the same draws, Koehn, Statistical
significance tests for machine translation evaluation, 2004). The idf of CIDEr stays as it is.
"""

from __future__ import annotations

import numpy as np

LEVEL = 0.95
_BLOCK = 1 << 22  # draws held at a time: 32 MB


def resampled_sums(statistics: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(images, k) per-image statistics to (resamples, k) sums over drawn images.

    The same seed draws the same images, whatever the statistics are.
    """
    images = len(statistics)
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // images)
    sums = []
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        drawn = random.integers(0, images, size=(rows, images), dtype=np.int32)
        drawn += (np.arange(rows, dtype=np.int32) * images)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)
        sums.append(times.astype(np.float64) @ statistics)
    return np.concatenate(sums)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of (resamples,) values."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
