"""The decoder alone, as a language model, on captions with and without photographs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from captioner.tokenizer import clean_caption

from ..batches import Piece, Term
from ..setup import Setup
from .base import Length, Rates, Stage


@dataclass
class Text(Stage):
    """Cross-entropy of captions without their photographs: those of the training photos and of the
    `--text` files. Without such files the stage is left out. Where a detector stands beside the
    encoder, the photos of the files' captions are imagined (`train.imagined`)."""

    KIND: ClassVar[str] = "text"
    VALIDATED: ClassVar[bool] = False

    steps: int = 350
    """Steps; 0 leaves the stage out."""
    batch: int = 512
    """Captions of a step, over all processes."""
    lr: float = 1e-3
    """Learning rate of the decoder."""
    warmup: int = 150
    """Steps over which the rate rises."""
    pointing: float = 0.0
    """Weight of the loss for words that do not look at the thing that they name."""

    def check(self) -> None:
        self.require("steps", self.steps >= 0, "0 or more")
        self.require("batch", self.batch >= 1, "at least 1")

    def length(self, setup: Setup) -> Length:
        return Length(self.steps if setup.text else 0, max(1, self.steps))

    def rates(self, length: Length) -> Rates:
        return Rates(self.lr, warmup=self.warmup)

    def batches(self, setup: Setup, number: int, first: int) -> Iterator[list[Piece]]:
        """Imagined photos, or captions of similar length."""
        imagination = setup.imagination
        if not imagination:
            yield from self._lines(setup, first)
            return
        batches = setup.batches
        photos = np.arange(max(batches.count, self.batch // setup.recipe.data.captions_per_photo))
        for step in range(first, self.steps):
            parts = np.array_split(photos, batches.count)[batches.mine]
            yield [batches.imagined(imagination, 31, step, part) for part in parts]

    def _lines(self, setup: Setup, first: int) -> Iterator[list[Piece]]:
        lines = setup.lines()
        rng = np.random.default_rng((setup.recipe.run.seed, 7))
        wanted = min(len(lines), self.steps * self.batch)
        lines = [lines[i] for i in rng.permutation(len(lines))[:wanted]]
        encode = setup.tokenizer.tokenizer.encode_batch
        rows = [e.ids for e in encode([clean_caption(c) for c in lines])]
        rows = sorted((r for r in rows if r), key=len)
        batches = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        batches = [batches[i] for i in rng.permutation(len(batches))]
        none = np.zeros(0, dtype=int)
        mine, n = setup.batches.mine, setup.batches.count
        for step in range(first, self.steps):
            batch = batches[step % len(batches)]
            parts = [batch[k::n] or [[]] for k in range(n)]
            yield [Piece(none, none, part) for part in parts[mine]]

    def terms(self, setup: Setup, step: int, piece: Piece) -> list[Term]:
        pointing = self.pointing if piece.seen is not None else 0.0
        return setup.batches.terms("cross-entropy", piece, piece.rows, pointing=pointing)
