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


@dataclass(frozen=True)
class Comparison:
    """Two sets of captions by every metric that both were scored with.

    differences: by metric, the leading one first. name, other: what the two are called.
    """

    differences: dict[str, Difference]
    name: str = "the first"
    other: str = "the other"

    def verdict(self) -> str:
        """The comparison in a plain sentence or two, led by the first metric."""
        metric, first = next(iter(self.differences.items()))
        if all(d.difference == d.low == d.high == 0 for d in self.differences.values()):
            return f"{self.name} and {self.other} have the same scores."
        low, high, difference = 100 * first.low, 100 * first.high, 100 * first.difference
        if not first.clear:
            return (
                f"No clear difference between {self.name} and {self.other}: {metric} x100 differs "
                f"by {difference:+.2f}, and its {LEVEL:.0%} interval, {low:+.2f} to {high:+.2f}, "
                "holds 0."
            )
        better, worse = self.name, self.other
        if difference < 0:
            better, worse = worse, better
            low, high, difference = -high, -low, -difference
        sentence = (
            f"{better} is better than {worse}: its {metric} x100 is higher by {difference:.2f} "
            f"({LEVEL:.0%} interval {low:.2f} to {high:.2f})."
        )
        against = [
            name
            for name, d in self.differences.items()
            if d.clear and (d.difference > 0) != (first.difference > 0)
        ]
        if against:
            sentence += (
                f" {' and '.join(against)} {'say' if len(against) > 1 else 'says'} the opposite."
            )
        return sentence

    def to_dict(self) -> dict[str, Any]:
        """{"other", "verdict", "differences": {metric: {"value", "other", "difference", ...}}}."""
        return {
            "other": self.other,
            "verdict": self.verdict(),
            "differences": {name: asdict(d) for name, d in self.differences.items()},
        }


def compare(
    scores: Scores,
    other: Scores,
    *,
    resamples: int,
    seed: int,
    names: tuple[str, str] = ("the first", "the other"),
) -> Comparison:
    """The difference of each metric that both have, over the same draws of images.

    Args:
        scores, other: of captions for the same images, in the same order.
        resamples, seed: of the draws.
        names: what to call the two in the verdict.

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
    differences = {}
    for name, ours in scores.metrics.items():
        if name not in other.metrics:
            continue
        theirs = other[name]
        drawn = ours.resampled(resamples, seed) - theirs.resampled(resamples, seed)
        low, high = interval(drawn)
        against = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
        differences[name] = Difference(
            value=ours.value,
            other=theirs.value,
            difference=ours.value - theirs.value,
            low=low,
            high=high,
            p=min(1.0, 2 * (against + 1) / (resamples + 1)),
        )
    return Comparison(differences, *names)
