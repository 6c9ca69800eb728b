"""Cross-entropy with the captions that people wrote."""

from dataclasses import dataclass
from typing import ClassVar

from ..batches import Piece, Term
from ..setup import Setup
from .base import Length, PhotoStage, Rates


@dataclass
class CrossEntropy(PhotoStage):
    """Every next token of a photo's captions, with label smoothing. From epoch `unfreeze_epoch` on
    the encoder learns too, at its own rate. Beside every photo one may be imagined."""

    KIND: ClassVar[str] = "cross_entropy"

    epochs: int = 10
    """Times that every photo is seen; 0 leaves the stage out."""
    lr: float = 6e-4
    """Learning rate of the decoder and the projection."""
    encoder_lr: float = 1e-4
    """Learning rate of the encoder."""
    unfreeze_epoch: int = 4
    """The encoder learns from this epoch on; 0 from the beginning."""
    warmup: int = 150
    """Steps over which the rates rise."""

    imagined: float = 0.0
    """Weight of the loss of captions that have no photo, of as many imagined photos
    (`train.imagined`); 0 leaves them out."""
    pointing: float = 0.0
    """Weight of the loss for words that do not look at the thing that they name, where a detector
    says where that is."""

    def rates(self, length: Length) -> Rates:
        begins = self.unfreeze_epoch * length.epoch
        return Rates(self.lr, self.encoder_lr, begins, self.warmup)

    def terms(self, setup: Setup, step: int, piece: Piece) -> list[Term]:
        terms = setup.batches.terms("cross-entropy", piece, piece.rows, pointing=self.pointing)
        imagination = setup.imagination if self.imagined else None
        if imagination:
            beside = setup.batches.imagined(imagination, 29, step, piece.photos)
            terms += setup.batches.terms(
                "imagined", beside, beside.rows, pointing=self.pointing, factor=self.imagined
            )
        return terms
