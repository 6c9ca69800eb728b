"""Self-critical sequence training (Rennie et al. 2017): draw captions, reward them by CIDEr-D."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captioner.decoder import KeyValue
from captioner.errors import DataError
from captioner.generation import Search
from captioner.model import CaptionModel

from ..batches import Piece, Term
from ..build import temper
from ..reward import Reward
from ..setup import Setup
from .base import PhotoStage


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


@dataclass
class Scst(PhotoStage):
    """The model draws captions, and learns to draw again those that are rewarded above the
    baseline, weighed by how much above (`train.reward`)."""

    KIND: ClassVar[str] = "scst"
    DRAWS: ClassVar[bool] = True

    epochs: int = 10
    """Times that every photo is seen; 0 leaves the stage out."""
    lr: float = 3e-5
    """Learning rate of the decoder and the projection; 0 trains the encoder alone."""
    encoder_lr: float = 0.0
    """Learning rate of the encoder; 0 leaves it as it is."""
    samples: int = 5
    """Captions that are drawn of each photo."""
    temperature: float = 1.0
    """The logits are divided by it as the stage begins. Label smoothing leaves some probability on
    every token, so that most captions drawn at 1 have a word of nonsense."""
    baseline: str = "mean"
    """What a caption's reward is compared with: the "mean" of the photo's other draws (Luo 2020),
    or that of the "greedy" caption."""
    bleu: float = 0.0
    """Weight of BLEU-4 in the reward, beside CIDEr-D."""
    language_penalty: float = 0.0
    """What every language error takes off the reward (`train.language_penalty`)."""
    cross_entropy: float = 0.0
    """Weight of cross-entropy beside the reward."""
    pointing: float = 0.0
    """Weight in it of the loss for words that do not look at the thing that they name."""
    imagined: float = 0.0
    """Weight of the same for as many imagined photos, whose captions have none
    (`train.imagined`); 0 leaves them out."""

    def check(self) -> None:
        super().check()
        self.one_of("baseline", ("mean", "greedy"))
        self.require("temperature", self.temperature > 0, "above 0")
        least = 2 if self.baseline == "mean" else 1
        self.require("samples", self.samples >= least, f"at least {least}")

    @property
    def decoder_learns(self) -> bool:
        return self.lr > 0

    def fits(self, setup: Setup) -> None:
        if len(setup.examples) < 2:
            raise DataError(
                f"The stage {self.name!r} rewards captions by CIDEr-D, which compares photographs: "
                "it needs two or more, and there is one. "
                f"--set {self.table}.epochs=0 leaves it out."
            )

    def begin(self, model: CaptionModel) -> None:
        temper(model, self.temperature)

    def prepare(self, setup: Setup) -> None:
        self.rewarded: list[float] = []
        self.reward_seconds = 0.0
        groups = setup.imagination.groups if self.imagined and setup.imagination else []
        self.reward = Reward(
            setup.tokenizer, [*(e.captions for e in setup.examples), *groups],
            max_tokens=setup.recipe.data.max_tokens,
            bleu=self.bleu, language_penalty=self.language_penalty,
            text=setup.lines() if self.language_penalty else (),
        )  # fmt: skip

    def terms(self, setup: Setup, step: int, piece: Piece) -> list[Term]:
        terms = self._rewarded(setup, "reward", step, piece)
        if self.cross_entropy:
            terms += setup.batches.terms(
                "cross-entropy", piece, piece.rows, pointing=self.pointing,
                factor=self.cross_entropy,
            )  # fmt: skip
        if self.imagined and setup.imagination:
            others = setup.batches.imagined(setup.imagination, 37, step, piece.photos)
            terms += self._rewarded(setup, "imagined", step, others, self.imagined)
        return terms

    def _rewarded(
        self, setup: Setup, kind: str, step: int, piece: Piece, factor: float = 1.0
    ) -> list[Term]:
        """What is drawn for a piece's photos, weighed by its rewards."""
        assert piece.mirrored is not None
        with setup.drawing(piece) as memory:
            draw = self.draw(setup, memory, piece.photos, (setup.recipe.run.seed, 11, step),
                             piece.mirrored)  # fmt: skip
        if kind == "reward":
            self.rewarded.append(draw.reward)
        self.reward_seconds += draw.seconds
        weights = draw.advantage.to(setup.device)
        return setup.batches.terms(kind, piece, draw.rows, weights, factor=factor)

    def draw(
        self,
        setup: Setup,
        memory: list[KeyValue],
        photos: np.ndarray,
        seed: tuple[int, ...],
        mirrored: np.ndarray,
    ) -> Draw:
        """Captions for the photos (B,) whose memory this is; `mirrored` (B,) says which of them
        are seen so. The model must be in evaluation mode."""
        rows = setup.draws(memory, photos, seed, samples=self.samples)
        greedy: list[list[int]] = []
        if self.baseline == "greedy":
            search = Search(beams=1, max_length=setup.recipe.data.max_tokens)
            greedy = [list(best[0].ids) for best in setup.model.write(memory, search)]
        began = time.monotonic()
        owners = np.repeat(photos, self.samples)
        rewards = _tensor(self.reward(rows, owners, np.repeat(mirrored, self.samples)))
        grouped = rewards.view(len(photos), self.samples)
        if greedy:
            baseline = _tensor(self.reward(greedy, photos, mirrored)).unsqueeze(1)
        else:
            baseline = (grouped.sum(1, keepdim=True) - grouped) / (self.samples - 1)
        advantage = (grouped - baseline).flatten()
        return Draw(rows, advantage, float(rewards.mean()), time.monotonic() - began)

    def figure(self, losses: Sequence[float], seconds: float) -> str:
        """The mean reward of the samples, and which part of the time computing it has taken."""
        mean = np.mean(self.rewarded)
        self.rewarded.clear()
        return f"reward {mean:.4f}, {self.reward_seconds / seconds:.1%} of the time"

    def signature(self) -> str:
        """The setting in the notation of SacreEOS (Hu et al. 2023)."""
        bleu = f"+{self.bleu:g}*BLEU[n4]" if self.bleu else ""
        penalty = f"-{self.language_penalty:g}*language_penalty" if self.language_penalty else ""
        baseline = {"mean": f"average[nspi{self.samples}]", "greedy": "greedy[nspi1]"}
        return f"STANDARD_w/Init+Cider-D[n4,s6.0]{bleu}{penalty}+{baseline[self.baseline]}+1.0.0"

    def card(self) -> list[str]:
        return [
            f"Signature: `{self.signature()}`",
            "",
            "The end token is part of captions and references; the document frequencies of CIDEr-D "
            "are those of the training references.",
        ]


def _tensor(scores: np.ndarray) -> Tensor:
    return torch.tensor(scores, dtype=torch.float32)
