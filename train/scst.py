"""Self-critical sequence training (Rennie et al. 2017): draw captions, reward them by CIDEr-D."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captioner.decoder import KeyValue
from captioner.generation import Search
from captioner.metrics import CiderD
from captioner.metrics.bleu import bleu_from, bleu_statistics
from captioner.model import CaptionModel
from captioner.tokenizer import clean_caption

from .augment import swap_sides
from .data import Example
from .recipe import Recipe
from .slips import Slips

END = "</s>"


@dataclass
class Draw:
    """Captions drawn for B photos, K of each, photo by photo.

    rows: token ids (B * K rows). advantage (B * K,) float32: reward above the baseline.
    reward: the mean reward. seconds: what computing the rewards took.
    """

    rows: list[list[int]]
    advantage: Tensor
    reward: float
    seconds: float


def draws(
    model: CaptionModel, memory: list[KeyValue], photos: np.ndarray, seed: tuple[int, ...], *,
    samples: int, longest: int,
) -> list[list[int]]:  # fmt: skip
    """Captions that the model draws for the photos (B,) whose memory this is: B * samples rows of
    tokens, photo by photo."""
    settings = Search(sample=True, returned=samples, max_length=longest)
    # A seed for each photo: draws that were alike across the batch would add up their noise.
    seeds = [int(np.random.default_rng((*seed, int(p))).integers(2**62)) for p in photos]
    found = model.write(memory, settings, seeds=seeds)
    return [list(h.ids) for hypotheses in found for h in hypotheses]


class SelfCritic:
    """Draws captions and says by how much each is better than the baseline.

    The reward is CIDEr-D against the photo's references, with the document frequencies of the
    training references, plus `scst_bleu` times BLEU-4, less `scst_slips` for every slip of language
    (as the captions of `text` show them). The end token is a word of captions
    and references, so that a caption without its end loses reward (SacreEOS, Hu et al. 2023). The
    baseline is the mean reward of the photo's other draws (Luo 2020), or the greedy caption's.
    """

    def __init__(
        self,
        model: CaptionModel,
        recipe: Recipe,
        examples: Sequence[Example],
        text: Sequence[str] = (),
    ):
        self.model = model
        self.recipe = recipe
        self.references = [[clean_caption(c) for c in e.captions] for e in examples]
        self.cider = CiderD(self.references, end_token=END)
        self.slips = Slips(map(clean_caption, text))

    def signature(self) -> str:
        """The setting in the notation of SacreEOS."""
        r = self.recipe
        bleu = f"+{r.scst_bleu:g}*BLEU[n4]" if r.scst_bleu else ""
        slips = f"-{r.scst_slips:g}*slips" if r.scst_slips else ""
        baseline = {"mean": f"average[nspi{r.scst_samples}]", "greedy": "greedy[nspi1]"}
        return f"STANDARD_w/Init+Cider-D[n4,s6.0]{bleu}{slips}+{baseline[r.scst_baseline]}+1.0.0"

    def draw(
        self,
        memory: list[KeyValue],
        photos: np.ndarray,
        seed: tuple[int, ...],
        mirrored: Sequence[bool] | None = None,
    ) -> Draw:
        """Captions for the photos (B,) whose memory this is; `mirrored` says which are seen so.
        The model must be in evaluation mode: what is drawn must come from the policy whose
        gradient is taken."""
        r = self.recipe
        rows = draws(self.model, memory, photos, seed, samples=r.scst_samples, longest=r.max_tokens)
        greedy: list[list[int]] = []
        if r.scst_baseline == "greedy":
            best = self.model.write(memory, Search(beams=1, max_length=r.max_tokens))
            greedy = [list(hypotheses[0].ids) for hypotheses in best]
        began = time.monotonic()
        owner = np.repeat(photos, r.scst_samples)
        sides = np.zeros(len(photos), bool) if mirrored is None else np.asarray(mirrored, bool)
        scores = self.rewards(rows, owner, np.repeat(sides, r.scst_samples))
        rewards = torch.tensor(scores, dtype=torch.float32)
        grouped = rewards.view(len(photos), r.scst_samples)
        if greedy:
            scores = self.rewards(greedy, photos, sides)
            baseline = torch.tensor(scores, dtype=torch.float32).unsqueeze(1)
        else:
            baseline = (grouped.sum(1, keepdim=True) - grouped) / (r.scst_samples - 1)
        advantage = (grouped - baseline).flatten()
        return Draw(rows, advantage, float(rewards.mean()), time.monotonic() - began)

    def rewards(
        self, rows: Sequence[Sequence[int]], owner: np.ndarray, mirrored: np.ndarray
    ) -> np.ndarray:
        """The reward of each row of tokens, for photo `owner` of each. Of a mirrored photo left is
        right to the references."""
        texts = [self.model.tokenizer.decode(row) for row in rows]
        texts = [swap_sides(t) if m else t for t, m in zip(texts, mirrored, strict=True)]
        # At the greatest length the end is forced upon a caption: it has not come to it by itself.
        ended = [len(row) < self.recipe.max_tokens for row in rows]
        candidates = self.cider.candidates(texts, owner, ended)
        found = self.cider.scores_of(candidates)
        if self.recipe.scst_bleu:
            statistics = bleu_statistics(self.cider.ngrams, candidates)
            found = found + self.recipe.scst_bleu * bleu_from(statistics)[:, 3]
        if self.recipe.scst_slips:
            slips = np.array([self.slips.count(text.split()) for text in texts])
            found = found - self.recipe.scst_slips * slips
        return found
