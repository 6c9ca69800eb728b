"""Two sets of captions for the same images: which one is better, and could it be chance.

Paired bootstrap: both are scored on the same drawn images, so that what is hard about an image
counts against both alike (Koehn, Statistical significance tests for machine translation
evaluation, 2004).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from captioner.errors import DataError
from captioner.metrics.bootstrap import LEVEL, interval
from captioner.metrics.scoring import Scores


@dataclass(frozen=True)
class Difference:
    """How much higher the first score is than the other.

    difference: value - other. low, high: its 95% interval. p: two-sided, how often draws of images
    point the other way, itself counted as one (Davison and Hinkley 1997), so never 0.
    """

    value: float
    other: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def compare(scores: Scores, other: Scores, *, resamples: int, seed: int) -> dict[str, Difference]:
    """The difference of each metric that both have, over the same draws.

    Raises:
        DataError: when the images are not as many, or there are no draws.
    """
    if scores.images != other.images:
        raise DataError(
            f"Only captions of the same images can be compared, not {scores.images} and "
            f"{other.images} images."
        )
    if resamples < 1:
        raise DataError("A comparison needs bootstrap draws; give --bootstrap 1000, say.")
    result = {}
    for name, ours in scores.metrics.items():
        if name not in other.metrics:
            continue
        theirs = other[name]
        drawn = ours.resampled(resamples, seed) - theirs.resampled(resamples, seed)
        low, high = interval(drawn)
        against = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
        result[name] = Difference(
            value=ours.value,
            other=theirs.value,
            difference=ours.value - theirs.value,
            low=low,
            high=high,
            p=min(1.0, 2 * (against + 1) / (resamples + 1)),
        )
    return result


def verdict(differences: dict[str, Difference], name: str, other: str) -> str:
    """The comparison in a plain sentence or two, led by the first metric."""
    metric, first = next(iter(differences.items()))
    if all(d.difference == d.low == d.high == 0 for d in differences.values()):
        return f"{name} and {other} have the same scores."
    if first.clear:
        up = first.difference > 0
        better, worse = (name, other) if up else (other, name)
        low, high = (first.low, first.high) if up else (-first.high, -first.low)
        sentence = (
            f"{better} is better than {worse}: its {metric} x100 is higher by "
            f"{100 * abs(first.difference):.2f} ({LEVEL:.0%} interval {100 * low:.2f} to "
            f"{100 * high:.2f})."
        )
    else:
        sentence = (
            f"No clear difference between {name} and {other}: {metric} x100 differs by "
            f"{100 * first.difference:+.2f}, and its {LEVEL:.0%} interval, "
            f"{100 * first.low:+.2f} to {100 * first.high:+.2f}, holds 0."
        )
    against = [
        metric
        for metric, d in differences.items()
        if d.clear and first.clear and (d.difference > 0) != (first.difference > 0)
    ]
    if against:
        sentence += (
            f" {' and '.join(against)} {'say' if len(against) > 1 else 'says'} the opposite."
        )
    return sentence


def as_dict(differences: dict[str, Difference]) -> dict[str, Any]:
    """For JSON."""
    return {name: asdict(difference) for name, difference in differences.items()}
