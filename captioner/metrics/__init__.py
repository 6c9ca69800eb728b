"""Caption scores equal to the COCO evaluation's, without Java: CIDEr-D, CIDEr, BLEU, ROUGE-L.

    from captioner.metrics import score
    result = score(captions, references)          # a list of strings, a list of lists of strings
    result["CIDEr-D"].value, result["CIDEr-D"].low, result["CIDEr-D"].per_image

    from captioner.metrics import CiderD
    scorer = CiderD(references)                    # prepared once, as a training reward
    scorer.scores(samples, indices)                # five samples per photo in one call, say

Stands alone: imports numpy, never torch. `docs/scoring.md` says what each number is.
"""

from captioner.metrics.bleu import bleu
from captioner.metrics.cider import Cider, CiderD, DocumentFrequency, cider, cider_d
from captioner.metrics.rouge import rouge_l
from captioner.metrics.scoring import (
    ALL_METRICS,
    DEFAULT_METRICS,
    Metric,
    Scores,
    score,
)

__all__ = [
    "ALL_METRICS",
    "DEFAULT_METRICS",
    "Cider",
    "CiderD",
    "DocumentFrequency",
    "Metric",
    "Scores",
    "bleu",
    "cider",
    "cider_d",
    "rouge_l",
    "score",
]
