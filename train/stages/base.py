"""What the loop asks of a stage: its steps, its rates, its batches, its losses and its figure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from captioner.model import CaptionModel

from ..batches import Piece, Term
from ..settings import Group
from ..setup import Setup


class Length(NamedTuple):
    """The steps of a stage, and of one of its epochs."""

    steps: int
    epoch: int


class Rates(NamedTuple):
    """Learning rates: of the decoder with the projection, and of the encoder from step
    `encoder_begins` on (infinity: never); each rises linearly over `warmup` steps, and falls by a
    cosine to 5% at the end of the stage."""

    lr: float
    encoder_lr: float = 0.0
    encoder_begins: float = math.inf
    warmup: int = 0


@dataclass
class Stage(Group):
    """One objective of a run, and how long and how fast it is gone after. The fields are those of
    its [[stage]] table; what it works with is made by `prepare`."""

    KIND: ClassVar[str] = ""
    DRAWS: ClassVar[bool] = False
    """It trains on captions that the model draws: without dropout, because the draws must be those
    of the policy whose gradient is taken."""
    VALIDATED: ClassVar[bool] = True
    """Whether captions of photographs are worth looking at after its epochs."""

    name: str = ""
    """What the log calls the stage, and `--set stage.NAME.field=`; where not given, its kind."""

    def __post_init__(self) -> None:
        self.name = self.name or self.KIND
        super().__post_init__()

    @property
    def table(self) -> str:
        return f"stage.{self.name}"

    @property
    def decoder_learns(self) -> bool:
        return True

    def length(self, setup: Setup) -> Length:
        """How long it takes; 0 steps to leave it out."""
        raise NotImplementedError

    def rates(self, length: Length) -> Rates:
        raise NotImplementedError

    def fits(self, setup: Setup) -> None:
        """Raises DataError, before the run, where it cannot be trained on this data."""

    def begin(self, model: CaptionModel) -> None:
        """Change the model before the first step. A run that is resumed does not do it again."""

    def prepare(self, setup: Setup) -> None:
        """Make what the losses need, as the stage begins or is resumed."""

    def batches(self, setup: Setup, number: int, first: int) -> Iterator[list[Piece]]:
        """This process's pieces of each step from `first` on; `number` is the stage's place in the
        recipe. They follow from the seed, the number and the step alone."""
        raise NotImplementedError

    def terms(self, setup: Setup, step: int, piece: Piece) -> list[Term]:
        """The losses of a piece."""
        raise NotImplementedError

    def figure(self, losses: Sequence[float], seconds: float) -> str:
        """What to watch: of the losses since the last line, and the seconds of all so far."""
        return f"loss {np.mean(losses):.4f}"

    def card(self) -> list[str]:
        """Lines of the model card on how it was trained."""
        return []


@dataclass
class PhotoStage(Stage):
    """A stage of epochs over the photographs."""

    epochs: int = 0
    """Times that every photo is seen; 0 leaves the stage out. Photos left over at the end of an
    epoch wait for the next one, which has another order."""
    lr: float = 0.0
    """Learning rate of the decoder and the projection."""
    encoder_lr: float = 0.0
    """Learning rate of the encoder; 0 leaves it as it is."""
    warmup: int = 20
    """Steps over which the rates rise."""

    def check(self) -> None:
        self.require("epochs", self.epochs >= 0, "0 or more")

    def length(self, setup: Setup) -> Length:
        epoch = max(1, len(setup.examples) // setup.recipe.optimizer.batch_photos)
        return Length(self.epochs * epoch, epoch)

    def rates(self, length: Length) -> Rates:
        begins = 0 if self.encoder_lr else math.inf
        return Rates(self.lr, self.encoder_lr, begins, self.warmup)

    def batches(self, setup: Setup, number: int, first: int) -> Iterator[list[Piece]]:
        return setup.batches.pieces(number, first, *self.length(setup))
