"""Does a caption's confidence say how good it is, and a word's probability?

Against the caption's own CIDEr-D: the rank correlation (Spearman 1904) over the captions of a set,
and captions in groups by their confidence with the mean CIDEr-D of each, as figures and a picture.

Against people's words: a word is confirmed when one of the photo's references has it. Words in
groups by their probability, with the share that is confirmed; and the temperature with which a
caption's confidence is nearest to the share of its words that are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.batch.records import Record
from captioner.html import render
from captioner.metrics.bootstrap import interval, resampled_sums
from captioner.metrics.tokens import prepare_references, tokenize_captions

GROUPS = 10
DRAWS = 1000
BOUNDS = (0.0, 0.2, 0.5, 0.9, 1.0)
"""Of the groups of words, by probability."""
TEMPERATURES = np.arange(50, 301) / 100
"""Those that are tried: to two digits nothing else is to be known."""
WIDTH, HEIGHT, LEFT, BASE = 640, 400, 70, 340  # of the picture, and where its axes cross


def judge(
    records: Sequence[Record],
    references: Sequence[Sequence[str]],
    scores: np.ndarray,
    temperature: float,
) -> dict[str, Any]:
    """All of it for the records of a set, each with the captions that people wrote of the photo and
    its score (n,), as scores.json has it. {} where confidences are not known. temperature: the one
    that they were made with."""
    confidences = [r["confidence"] for r in records if r["confidence"] is not None]
    found = reliability([r["confidence"] for r in records], scores)
    if not found:
        return {}
    right = confirmed(records, references)
    shares = np.array([one.mean() if len(one) else 0.0 for one in right])
    words = words_by_probability(records, right)
    return found | {"words": words, "calibration": calibration(confidences, shares, temperature)}


def sentences(found: dict[str, Any], temperature: float) -> Iterator[str]:
    """What `judge` found, for people."""
    if found.get("rank_correlation") is not None:
        low, high = found["interval"]
        yield (
            "Confidence and a caption's own CIDEr-D have a rank correlation of "
            f"{found['rank_correlation']:.2f} ({low:.2f} to {high:.2f})."
        )
    if words := found.get("words"):
        yield "Words by their probability, and how many of them people used of the photo, too:"
        yield from (
            f"  {g['from']:4.0%} to {g['to']:4.0%}: {g['words']:6,} words, probability "
            f"{g['probability']:.0%}, {g['confirmed']:.0%} confirmed"
            for g in words
        )
    if about := found.get("calibration"):
        low, high = about["interval"]
        yield (
            f"The mean confidence is {about['confidence']:.2f}, and of a caption's words "
            f"{about['confirmed']:.2f} are confirmed. They are {about['error']:.3f} apart with a "
            f"confidence temperature of {temperature:.2f}, and {about['error_with_it']:.3f} with "
            f"the best, {about['temperature']:.2f} ({low:.2f} to {high:.2f})."
        )


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


def confirmed(records: Sequence[Record], references: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Of each record (words,) bool: whether people used the word of the photo, too, whose captions
    stand at the same place in `references`."""
    tokens = iter(tokenize_captions([w["text"] for r in records for w in r["words"]]))
    people = prepare_references(references, tokenize=True)
    known = [set(" ".join(captions).split()) for captions in people]
    return [
        np.array([words.issuperset(next(tokens).split()) for _ in record["words"]], bool)
        for record, words in zip(records, known, strict=True)
    ]


def words_by_probability(
    records: Sequence[Record], found: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """The words in groups by their probability: how many, the mean probability, and the share that
    is confirmed; groups without words are left out, and all where probabilities are not known."""
    given = [w["probability"] for r in records for w in r["words"]]
    known = [one for one in given if one is not None]
    if not known or len(known) < len(given):
        return []
    values, right = np.array(known), np.concatenate(found)
    groups = np.searchsorted(BOUNDS[1:-1], values, side="right")
    return [
        {
            "from": BOUNDS[g], "to": BOUNDS[g + 1], "words": int((groups == g).sum()),
            "probability": round(float(values[groups == g].mean()), 4),
            "confirmed": round(float(right[groups == g].mean()), 4),
        }
        for g in np.unique(groups)
    ]  # fmt: skip


def calibration(
    confidences: Sequence[float], shares: np.ndarray, temperature: float = 1.0
) -> dict[str, Any]:
    """The temperature with which confidences foretell best what share of a caption's words is
    confirmed (n,): the one of least cross-entropy, as of scaling a classifier's (Guo et al. 2017),
    with its interval over the captions. temperature: the one that the confidences were made with.

    The error is the mean distance of confidence and share, over groups of captions by confidence.
    """
    values = np.array(confidences).clip(1e-4, 1 - 1e-4)
    scaled = temperature * np.log(values)[:, None] / TEMPERATURES
    part = shares[:, None]
    losses = -(part * scaled + (1 - part) * np.log1p(-np.exp(scaled)))
    best = int(losses.sum(axis=0).argmin())
    drawn = TEMPERATURES[resampled_sums(losses, DRAWS, 0).argmin(axis=1)]
    return {
        "confidence": round(float(values.mean()), 4),
        "confirmed": round(float(shares.mean()), 4),
        "error": round(_distance(values, shares), 4),
        "temperature": float(TEMPERATURES[best]),
        "interval": [round(end, 2) for end in interval(drawn)],
        "error_with_it": round(_distance(np.exp(scaled[:, best]), shares), 4),
    }


def _distance(confidences: np.ndarray, shares: np.ndarray) -> float:
    groups = np.array_split(np.argsort(confidences, kind="stable"), min(GROUPS, len(shares)))
    apart = [len(g) * abs(confidences[g].mean() - shares[g].mean()) for g in groups]
    return float(sum(apart) / len(shares))


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
