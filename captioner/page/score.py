"""The Score tab: captions against human references, with intervals, the best and the worst."""

from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import CaptionerError
from captioner.html import render
from captioner.metrics.matching import Matched, match
from captioner.metrics.readers import References, read_references, read_results
from captioner.metrics.scoring import DEFAULT_METRICS, Scores, score
from captioner.texts import readable

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
        raise type(error)(readable(sentence)) from error
    left_out = [
        readable(
            line.replace(str(results.path), results.name).replace(
                str(references.path), references.name
            )
        )
        for line in matched.left_out
    ]
    order = np.argsort(scores["CIDEr-D"].per_image, kind="stable")
    count = min(SHOWN, max(1, len(order) // 2))
    return {
        **scores.to_dict(),
        "left_out": left_out,
        "best": [_example(scores, refs, matched, place) for place in order[::-1][:count]],
        "worst": [_example(scores, refs, matched, place) for place in order[:count]],
    }


def _example(scores: Scores, refs: References, matched: Matched, place: int) -> dict[str, Any]:
    image = matched.images[place]
    name = Path(matched.files[place]).name or f"image {refs.ids[image]}"
    return {
        "file": readable(name),
        "caption": readable(matched.captions[place].strip()),
        "references": [readable(line.strip()) for line in refs.captions[image]],
        "CIDEr-D": round(float(scores["CIDEr-D"].per_image[place]), 4),
    }


def as_html(found: dict[str, Any]) -> str:
    """The scores as the page shows them (`templates/score.html`)."""
    return render("captioner.page", "score.html", **found)
