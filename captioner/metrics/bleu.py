"""BLEU-1..4 with the arithmetic of the COCO evaluation.

BLEU is the geometric mean of the clipped n-gram precisions times a penalty for captions that are
too short (Papineni et al., ACL 2002). The numbers depend on choices that are kept from the
reference code (tylin/coco-caption, bleu_scorer.py): the reference length is the closest one, the
shorter of two equally close; and instead of cases for zero there are two constants, so that a
precision is (correct + 1e-15) / (guessed + 1e-9).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.metrics.ngrams import MAX_N, CandidateNgrams, ReferenceNgrams, count_ngrams, ranges

TINY, SMALL = 1e-15, 1e-9


def bleu(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """BLEU-1..4 of captions, one per image: (4,) of the corpus and (images, 4) of each image.

    Raises:
        DataError: for lists that do not fit.
    """
    statistics = bleu_statistics(*count_ngrams(candidates, references, tokenize=tokenize))
    return bleu_from(statistics.sum(axis=0)), bleu_from(statistics)


def bleu_statistics(references: ReferenceNgrams, candidates: CandidateNgrams) -> np.ndarray:
    """What BLEU adds up over the captions: (candidates, 2 + 4 + 4) whole numbers as float64.

    The columns are the caption's length, its closest reference length, its numbers of n-grams for
    n = 1..4, and how many of those are right, each n-gram counted at most as often as in the
    reference that has it most often. Sums of rows are the statistics of a set of captions.
    """
    lengths = candidates.lengths
    result = np.zeros((len(lengths), 2 + 2 * MAX_N))
    result[:, 0] = lengths
    result[:, 1] = _closest_lengths(references, candidates)
    for n, (ref_level, level) in enumerate(zip(references.levels, candidates.levels, strict=True)):
        result[:, 2 + n] = np.maximum(0, lengths - n)
        starts = np.flatnonzero(np.diff(level.entry, prepend=-1))  # one per matched entry
        if not len(starts):
            continue
        most = np.maximum.reduceat(ref_level.count[level.occurrence], starts)
        entry = level.entry[starts]
        result[:, 2 + MAX_N + n] = np.bincount(
            level.candidate[entry],
            weights=np.minimum(level.count[entry], most),
            minlength=len(lengths),
        )
    return result


def bleu_from(statistics: np.ndarray) -> np.ndarray:
    """BLEU-1..4 from the sums that `bleu_statistics` describes: (..., 10) to (..., 4)."""
    length, reference_length = statistics[..., 0], statistics[..., 1]
    guessed, correct = statistics[..., 2 : 2 + MAX_N], statistics[..., 2 + MAX_N :]
    precision = np.cumprod((correct + TINY) / (guessed + SMALL), axis=-1)
    ratio = (length + TINY) / (reference_length + SMALL)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return precision ** (1.0 / np.arange(1, MAX_N + 1)) * penalty[..., None]


def _closest_lengths(references: ReferenceNgrams, candidates: CandidateNgrams) -> np.ndarray:
    """(candidates,) the length of the reference closest in length, the shorter of two."""
    if not len(candidates.lengths):
        return np.zeros(0)
    many = references.references_per_image[candidates.images]
    sentence = ranges(references.first_sentence[candidates.images], many)  # (pairs,)
    lengths = references.lengths[sentence]
    off = np.abs(lengths - np.repeat(candidates.lengths, many))
    # Distance and length in one number, so that one minimum decides by both.
    unit = int(references.lengths.max(initial=0)) + 1
    return np.minimum.reduceat(off * unit + lengths, np.cumsum(many) - many) % unit
