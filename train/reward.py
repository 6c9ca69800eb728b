"""What a caption is worth in self-critical training: CIDEr-D, with its end as a word of its own."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from captioner.metrics import CiderD
from captioner.metrics.bleu import bleu_from, bleu_statistics
from captioner.tokenizer import CaptionTokenizer, clean_caption

from .augment import swap_sides
from .language_penalty import LanguagePenalty

END = "</s>"
# A phrase counts as the shorter one that says as much: otherwise the longer one, which shares its
# words with more references, comes to stand wherever the shorter one could.
PLAIN = {"on top of": "on"}


class Reward:
    """Rewards of captions of training photographs.

    CIDEr-D against the photo's references, with the document frequencies of the training
    references, after the phrases of `PLAIN` have become the shorter ones; plus `bleu` times BLEU-4,
    less `language_penalty` for every language error, as the captions of `text` show them. The end
    token is a word of captions and references, so that a caption without its end loses reward
    (SacreEOS, Hu et al. 2023).
    """

    def __init__(
        self,
        tokenizer: CaptionTokenizer,
        references: Sequence[Sequence[str]],
        *,
        max_tokens: int,
        bleu: float = 0.0,
        language_penalty: float = 0.0,
        text: Iterable[str] = (),
    ):
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.bleu = bleu
        self.language_penalty = language_penalty
        prepared = [[plain(clean_caption(c)) for c in captions] for captions in references]
        self.cider = CiderD(prepared, end_token=END)
        self.penalty = LanguagePenalty(map(clean_caption, text))

    def __call__(
        self, rows: Sequence[Sequence[int]], owner: np.ndarray, mirrored: np.ndarray
    ) -> np.ndarray:
        """The reward (R,) of each row of tokens, of photo `owner` (R,). Of a mirrored photo left is
        right to the references."""
        texts = [self.tokenizer.decode(row) for row in rows]
        texts = [swap_sides(t) if m else t for t, m in zip(texts, mirrored, strict=True)]
        # At the greatest length the end is forced upon a caption: it has not come to it by itself.
        ended = [len(row) < self.max_tokens for row in rows]
        candidates = self.cider.candidates([plain(text) for text in texts], owner, ended)
        found = self.cider.scores_of(candidates)
        if self.bleu:
            found = (
                found + self.bleu * bleu_from(bleu_statistics(self.cider.ngrams, candidates))[:, 3]
            )
        if self.language_penalty:
            errors = np.array([self.penalty.count(text.split()) for text in texts])
            found = found - self.language_penalty * errors
        return found


def plain(text: str) -> str:
    """The text (lower case) with the phrases of `PLAIN` in their shorter form."""
    for phrase, shorter in PLAIN.items():
        text = re.sub(rf"\b{phrase}\b", shorter, text)
    return text
