"""ROUGE-L as the COCO evaluation computes it: the longest common subsequence with the references.

Precision and recall are each the best over the references, and not of one reference, and combine
to an F score with beta = 1.2 (Lin, ROUGE, 2004, section 3; tylin/coco-caption, rouge.py). Tokens
are what stands between single spaces, so an empty caption is one empty token, as there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.metrics.tokens import prepare

BETA = 1.2


def rouge_l(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: bool = True
) -> tuple[float, np.ndarray]:
    """ROUGE-L of captions, one per image: the mean, and (images,) each image's own.

    Raises:
        DataError: for lists that do not fit.
    """
    captions, groups = prepare(candidates, references, tokenize=tokenize)
    scores = rouge_l_scores(captions, groups)
    return float(np.mean(scores)), scores


def rouge_l_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """(images,) ROUGE-L of tokenized captions."""
    pairs = zip(captions, references, strict=True)
    return np.array([_score(caption.split(" "), group) for caption, group in pairs])


def _score(tokens: list[str], references: Sequence[str]) -> float:
    # The positions of each word as bits of one integer, so that a whole row of the usual table
    # of the longest common subsequence is one addition (Hyyrö, Bit-parallel LCS-length computation
    # revisited, 2004). A zero bit in `row` is a column where the row's value steps up.
    positions: dict[str, int] = {}
    bit = 1
    for token in tokens:
        positions[token] = positions.get(token, 0) | bit
        bit <<= 1
    all_ones = bit - 1
    at = positions.get
    precision = recall = 0.0
    for reference in references:
        others = reference.split(" ")
        row = all_ones
        for other in others:
            matches = at(other)
            if matches:
                both = row & matches
                row = (row + both) | (row - both)
        common = len(tokens) - (row & all_ones).bit_count()
        precision = max(precision, common / len(tokens))
        recall = max(recall, common / len(others))
    if precision == 0 or recall == 0:
        return 0.0
    return ((1 + BETA**2) * precision * recall) / (recall + BETA**2 * precision)
