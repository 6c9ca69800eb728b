"""Two systems on the same photos: paired draws, honest verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.metrics.compare import Comparison, Difference, compare
from captioner.metrics.scoring import Metric, Scores


def scores(**per_image: np.ndarray) -> Scores:
    """Scores that are means of the values given for each image."""
    metrics = {
        name: Metric(
            value=float(values.mean()),
            per_image=values,
            statistics=values[:, None],
            combine=lambda sums, images: sums[..., 0] / images,
        )
        for name, values in per_image.items()
    }
    images = len(next(iter(per_image.values())))
    return Scores(metrics, images, images, "")


def test_the_draws_are_paired() -> None:
    """A system that is better by the same on every image is so in every draw, hard ones or not."""
    values = np.random.default_rng(0).random(50)
    comparison = compare(scores(A=values + 0.01), scores(A=values), resamples=500, seed=3)
    difference = comparison.differences["A"]
    assert difference.low == pytest.approx(0.01)
    assert difference.high == pytest.approx(0.01)
    assert difference.p == pytest.approx(2 / 501)


def test_the_other_way_round_is_the_same_with_the_sign_turned() -> None:
    random = np.random.default_rng(0)
    first, second = scores(A=random.random(40)), scores(A=random.random(40))
    there = compare(first, second, resamples=400, seed=0).differences["A"]
    back = compare(second, first, resamples=400, seed=0).differences["A"]
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p == pytest.approx(there.p)


def test_systems_that_are_equally_good_are_rarely_told_apart() -> None:
    random = np.random.default_rng(0)
    clear = 0
    for _ in range(200):
        first, second = scores(A=random.random(60)), scores(A=random.random(60))
        clear += compare(first, second, resamples=200, seed=0).differences["A"].clear
    # 5% are expected, so 10 of 200.
    assert clear < 25


def test_the_verdict_names_the_better_one_and_who_disagrees() -> None:
    up = Difference(value=0.5, other=0.4, difference=0.1, low=0.05, high=0.15, p=0.01)
    down = Difference(value=0.4, other=0.5, difference=-0.1, low=-0.15, high=-0.05, p=0.01)
    unclear = Difference(value=0.5, other=0.4, difference=0.1, low=-0.05, high=0.15, p=0.2)
    same = Difference(value=0.5, other=0.5, difference=0, low=0, high=0, p=1)

    def verdict(**differences: Difference) -> str:
        return Comparison(differences, "new", "old").verdict()

    assert verdict(A=up, B=unclear) == (
        "new is better than old: its A x100 is higher by 10.00 (95% interval 5.00 to 15.00)."
    )
    assert verdict(A=down).startswith("old is better than new: its A x100 is higher by 10.00")
    assert verdict(A=up, B=down).endswith(" B says the opposite.")
    assert verdict(A=unclear).startswith("No clear difference between new and old")
    assert verdict(A=same) == "new and old have the same scores."


def test_sets_of_different_size_are_not_compared() -> None:
    with pytest.raises(DataError, match="3 and 4 images"):
        compare(scores(A=np.ones(3)), scores(A=np.ones(4)), resamples=10, seed=0)
    with pytest.raises(DataError, match="bootstrap draws"):
        compare(scores(A=np.ones(3)), scores(A=np.ones(3)), resamples=0, seed=0)
