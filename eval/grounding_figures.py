"""The figures of `eval grounding`: means over words, with intervals over photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from captioner.metrics.bootstrap import interval, resampled_sums

from .deletion import CHANCE
from .pointing import SMALL, Pointing, Scores

Figures = dict[str, dict[str, Any]]
"""Of each map its figures: pointing, pointing_small, boxes, mass_ratio, ap; `words`, `small_words`;
`intervals`; by_size, by_category (words and pointing of each); deletion, of kinds of heatmap."""

SIZES = {"under 5%": (0, 0.05), "5% to 25%": (0.05, SMALL), "over 25%": (SMALL, 1.01)}
"""How much of the photo the mask covers."""


def figures(words: Sequence[Pointing], kinds: Sequence[str], draws: int) -> Figures:
    """The figures of every map that the words have scores of; none where there are no words."""
    found: Figures = {}
    for name in words[0].scores if words else ():
        scores = [word.scores[name] for word in words]
        found[name] = {
            **_with_intervals(words, scores, draws),
            "words": len(words),
            "small_words": sum(s.area < SMALL for s in scores),
            "by_size": {
                size: _hits([s for s in scores if low <= s.area < high])
                for size, (low, high) in SIZES.items()
            },
            "by_category": _by_category(words, scores),
        }
        if name in kinds and words[0].drops:
            found[name]["deletion"] = _deletion(words, name, draws)
    return found


def _with_intervals(
    words: Sequence[Pointing], scores: Sequence[Scores], draws: int
) -> dict[str, Any]:
    """The means, and their intervals: photos are drawn anew, and with each all its words."""
    small = np.array([s.area < SMALL for s in scores], float)
    columns = {
        "words": np.ones(len(scores)),
        "small": small,
        "pointing": np.array([s.pointing for s in scores]),
        "pointing_small": small * [s.pointing for s in scores],
        "boxes": np.array([s.boxes for s in scores]),
        "mass": np.array([s.mass for s in scores]),
        "area": np.array([s.area for s in scores]),
        "ap": np.array([s.ap for s in scores]),
    }
    over = {"pointing": "words", "pointing_small": "small", "boxes": "words", "ap": "words"}

    def means(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            made = {name: sums[name] / sums[count] for name, count in over.items()}
            return {**made, "mass_ratio": sums["mass"] / sums["area"]}

    return _resampled(words, columns, means, draws)


def _deletion(words: Sequence[Pointing], name: str, draws: int) -> dict[str, Any]:
    """What a word's probability loses on average: top, chance, and their ratio."""
    columns = {
        "words": np.ones(len(words)),
        "top": np.array([word.drops[name] for word in words]),
        CHANCE: np.array([word.drops[CHANCE] for word in words]),
    }

    def means(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            made = {key: sums[key] / sums["words"] for key in ("top", CHANCE)}
            return {**made, "ratio": sums["top"] / sums[CHANCE]}

    return _resampled(words, columns, means, draws)


def _resampled(
    words: Sequence[Pointing],
    columns: dict[str, np.ndarray],
    means: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    draws: int,
) -> dict[str, Any]:
    """What `means` makes of the columns' sums, and the intervals of it over the photos."""
    photos = {photo: i for i, photo in enumerate(dict.fromkeys(word.photo for word in words))}
    per_photo = np.zeros((len(photos), len(columns)))
    np.add.at(per_photo, [photos[word.photo] for word in words], np.stack([*columns.values()], 1))
    whole = means(dict(zip(columns, per_photo.sum(0, keepdims=True).T, strict=True)))
    drawn = means(dict(zip(columns, resampled_sums(per_photo, draws, seed=0).T, strict=True)))
    spans = {}
    for key, values in drawn.items():
        good = values[np.isfinite(values)]
        spans[key] = [_rounded(end) for end in interval(good)] if len(good) else None
    return {**{key: _rounded(value[0]) for key, value in whole.items()}, "intervals": spans}


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _hits(scores: Sequence[Scores]) -> dict[str, Any]:
    mean = _rounded(float(np.mean([s.pointing for s in scores]))) if scores else None
    return {"words": len(scores), "pointing": mean}


def _by_category(words: Sequence[Pointing], scores: Sequence[Scores]) -> dict[str, Any]:
    """The most frequent first."""
    rows: dict[str, list[Scores]] = {}
    for word, one in zip(words, scores, strict=True):
        rows.setdefault(" or ".join(word.categories), []).append(one)
    return {n: _hits(row) for n, row in sorted(rows.items(), key=lambda kv: -len(kv[1]))}


# As a table ---------------------------------------------------------------------------------------

COLUMNS = ("pointing", "pointing_small", "boxes", "mass_ratio", "ap")
SHOWN_CATEGORIES = 8


def table(found: Figures) -> str:
    """The figures as text."""
    first = next(iter(found.values()))
    lines = [
        f"{first['words']} words, {first['small_words']} of them of things under a quarter of the "
        "photo",
        f"{'map':26}{'hits':>18}{'small':>18}{'boxes':>7}{'mass/area':>11}{'AP':>7}",
    ]
    for name, row in found.items():
        cells = [_cell(row, "pointing", 18), _cell(row, "pointing_small", 18)]
        cells += [f"{_number(row['boxes']):>7}{_number(row['mass_ratio']):>11}"]
        lines.append(f"{name:26}{''.join(cells)}{_number(row['ap']):>7}")
    kinds = [name for name, row in found.items() if "deletion" in row]
    for name in kinds:
        lost = found[name]["deletion"]
        span = lost["intervals"]["ratio"]
        lines.append(
            f"Hiding the top fifth of {name} takes {_number(lost['top'])} from the probability, "
            f"chance {_number(lost[CHANCE])}: {_number(lost['ratio'])} times as much"
            + (f" ({span[0]:.2f} to {span[1]:.2f})." if span else ".")
        )
    shown = [n for n in found if " of " not in n and n != "uniform"]
    for title, key in (("size", "by_size"), ("category", "by_category")):
        names = list(first[key])[:SHOWN_CATEGORIES]
        lines.append(f"\nhits by {title:18}{'words':>7}" + "".join(f"{n:>12}" for n in shown))
        for part in names:
            hits = "".join(f"{_number(found[n][key][part]['pointing']):>12}" for n in shown)
            lines.append(f"{part:26}{first[key][part]['words']:>7}{hits}")
    return "\n".join(lines)


def _cell(row: dict[str, Any], key: str, width: int) -> str:
    span = row["intervals"][key]
    shown = _number(row[key]) + (f" ({span[0]:.2f}-{span[1]:.2f})" if span else "")
    return f"{shown:>{width}}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
