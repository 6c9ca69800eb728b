"""The Score tab: captions against human references, with intervals, the best and the worst."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import CaptionerError
from captioner.metrics.matching import Matched, match
from captioner.metrics.readers import References, read_references, read_results
from captioner.metrics.scoring import DEFAULT_METRICS, Scores, score

from .uploads import Upload

SHOWN = 6
"""Captions from each end."""


def score_files(results: Upload, references: Upload, split: str | None = None) -> dict[str, Any]:
    """Scores with their 95% intervals and signature, and the best and worst captions.

    Raises DataError, with the files called what their owner calls them.
    """
    try:
        refs = read_references(references.path, split or None)
        matched = match(read_results(results.path), refs, results.path, allow_missing=True)
        groups = [refs.captions[i] for i in matched.images]
        scores = score(matched.captions, groups, DEFAULT_METRICS)
    except CaptionerError as error:
        sentence = str(error)
        for upload in (results, references):
            sentence = sentence.replace(str(upload.path), upload.name)
        raise type(error)(sentence) from error
    left_out = [
        line.replace(str(results.path), results.name).replace(str(references.path), references.name)
        for line in matched.left_out
    ]
    order = np.argsort(scores["CIDEr-D"].per_image, kind="stable")
    count = min(SHOWN, max(1, len(order) // 2))
    return {
        **scores.as_dict(),
        "left_out": left_out,
        "best": [_example(scores, refs, matched, place) for place in order[::-1][:count]],
        "worst": [_example(scores, refs, matched, place) for place in order[:count]],
    }


def _example(scores: Scores, refs: References, matched: Matched, place: int) -> dict[str, Any]:
    image = matched.images[place]
    name = Path(matched.files[place]).name or f"image {refs.ids[image]}"
    return {
        "file": name,
        "caption": matched.captions[place].strip(),
        "references": [line.strip() for line in refs.captions[image]],
        "CIDEr-D": round(float(scores["CIDEr-D"].per_image[place]), 4),
    }


def as_html(found: dict[str, Any]) -> str:
    """The scores as the page shows them. All text is other people's and is escaped."""
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{100 * m['value']:.1f}</td>"
        f"<td>{100 * m['low']:.1f} to {100 * m['high']:.1f}</td></tr>"
        for name, m in found["metrics"].items()
    )
    notes = "".join(f"<p class='c-soft'>{escape(line)}</p>" for line in found["left_out"])
    return (
        f"<div class=c-scores><p class=c-soft>{found['images']:,} photos against "
        f"{found['references']:,} human captions</p>{notes}"
        "<div class=c-table><table><thead><tr><th scope=col>Score, times 100</th>"
        "<th scope=col>Value</th><th scope=col>95% interval</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        f"<div class=c-ends><section><h3 class=c-title>Best captions</h3>{_cards(found['best'])}"
        f"</section><section><h3 class=c-title>Worst captions</h3>{_cards(found['worst'])}"
        f"</section></div><p class=c-signature><code>{escape(found['signature'])}</code></p></div>"
    )


def _cards(examples: list[dict[str, Any]]) -> str:
    cards = []
    for one in examples:
        lines = "".join(f"<li>{escape(line)}</li>" for line in one["references"])
        cards.append(
            f"<article class=c-scored><p><b>{escape(one['caption'])}</b></p><ul>{lines}</ul>"
            f"<p class='c-soft c-small'><span>{escape(one['file'])}</span>"
            f"<span>CIDEr-D {100 * one['CIDEr-D']:.1f}</span></p></article>"
        )
    return "".join(cards)
