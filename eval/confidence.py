"""Does a caption's confidence say how good it is? Against the caption's own CIDEr-D.

The rank correlation (Spearman 1904) over the captions of a set, and a reliability curve: captions
in groups by their confidence, and the mean CIDEr-D of each group, as figures and as a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.html import render
from captioner.metrics.bootstrap import interval

GROUPS = 10
DRAWS = 1000
WIDTH, HEIGHT, LEFT, BASE = 640, 400, 70, 340  # of the picture, and where its axes cross


def reliability(confidences: Sequence[float | None], scores: np.ndarray) -> dict[str, Any]:
    """The rank correlation of confidences with the captions' scores (n,), its interval, and the
    groups: captions, mean confidence, mean score. {} where a confidence is missing."""
    given = [one for one in confidences if one is not None]
    if len(given) < max(2, len(confidences)):
        return {}
    values = np.array(given)
    random = np.random.default_rng(0)
    draws = random.integers(0, len(values), (DRAWS, len(values)))
    drawn = np.array([rank_correlation(values[row], scores[row]) for row in draws])
    drawn = drawn[np.isfinite(drawn)]
    order = np.argsort(values, kind="stable")
    groups = [
        {
            "captions": len(part),
            "confidence": round(float(values[part].mean()), 4),
            "CIDEr-D": round(float(scores[part].mean()), 4),
        }
        for part in np.array_split(order, min(GROUPS, len(values)))
    ]
    found = rank_correlation(values, scores)
    return {
        "rank_correlation": round(found, 4) if np.isfinite(found) else None,
        "interval": [round(end, 4) for end in interval(drawn)] if len(drawn) else None,
        "groups": groups,
    }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing theirs; NaN where all are."""
    ranks = np.stack([_ranks(a), _ranks(b)])
    spread = ranks.std(axis=1)
    if not spread.all():
        return float("nan")
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    return float((centred[0] * centred[1]).mean() / spread.prod())


def _ranks(values: np.ndarray) -> np.ndarray:
    ordered = np.sort(values)
    low, high = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    middle: np.ndarray = (low + high - 1) / 2
    return middle


def write_picture(path: Path, title: str, found: dict[str, Any]) -> None:
    """The reliability curve as an SVG."""
    groups = found["groups"]
    top = max(0.1, *(group["CIDEr-D"] for group in groups)) * 1.1
    across = max(0.1, *(group["confidence"] for group in groups)) * 1.05

    def place(confidence: float, score: float) -> tuple[str, str]:
        x = LEFT + confidence / across * (WIDTH - LEFT - 20)
        return f"{x:.1f}", f"{BASE - score / top * (BASE - 40):.1f}"

    points = [
        {"x": x, "y": y, **group}
        for group in groups
        for x, y in [place(group["confidence"], group["CIDEr-D"])]
    ]
    ticks = np.linspace(0, 1, 6)
    picture = render(
        "eval", "confidence.svg", title=title, correlation=found["rank_correlation"],
        points=points, width=WIDTH, height=HEIGHT, left=LEFT, base=BASE,
        below=[(place(t * across, 0)[0], f"{100 * t * across:.0f}%") for t in ticks],
        beside=[(place(0, t * top)[1], f"{100 * t * top:.0f}") for t in ticks],
    )  # fmt: skip
    path.write_text(picture, encoding="utf-8")
