"""Distillation of several trained models into one (Hinton et al. 2015).

The student is drawn to what the teachers would say next, on captions that it draws itself (Agarwal
et al. 2024), of photographs of which some are pasted together from two (CutMix, Yun et al. 2019):
teachers know their training photos by heart, and agree on them; on such a photo they do not.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captioner.ensemble import averaged
from captioner.errors import DataError
from captioner.model import CaptionModel

from ..batches import Piece, Term
from ..learner import IGNORE, Learner
from ..setup import Setup
from .base import PhotoStage


@dataclass
class Distil(PhotoStage):
    """The divergence of the model from the mean of its teachers, on captions that it draws."""

    KIND: ClassVar[str] = "distil"
    DRAWS: ClassVar[bool] = True

    epochs: int = 3
    """Times that every photo is seen; 0 leaves the stage out."""
    lr: float = 2e-4
    """Learning rate of the decoder and the projection."""
    encoder_lr: float = 1e-4
    """Learning rate of the encoder; 0 leaves it as it is."""
    teachers: str = ""
    """The models that are learnt from: "FOLDER=WEIGHT FOLDER=WEIGHT"."""
    samples: int = 3
    """Captions that are drawn of each photo."""
    mix: float = 0.5
    """The share of photos with a window of another photo pasted in (cached features only)."""

    def check(self) -> None:
        super().check()
        self.require("samples", self.samples >= 1, "at least 1")
        self.require("mix", 0 <= self.mix <= 1, "0 to 1")
        if self.epochs and not self.teachers:
            raise DataError(
                f"The stage {self.name!r} needs teachers: "
                f"--set {self.table}.teachers=FOLDER=WEIGHT."
            )

    def prepare(self, setup: Setup) -> None:
        self.averaged = Teachers(self.teachers, setup.learner)

    def terms(self, setup: Setup, step: int, piece: Piece) -> list[Term]:
        """The student's own draws, and what the teachers would say at each of their places."""
        assert piece.seen is not None
        seed = setup.recipe.run.seed
        if piece.seen.dtype != torch.uint8:
            order = np.random.default_rng((seed, 19, step, int(piece.photos[0])))
            piece = dataclasses.replace(piece, seen=cut_and_mixed(piece.seen, self.mix, order))
        with setup.drawing(piece) as memory:
            rows = setup.draws(memory, piece.photos, (seed, 23, step), samples=self.samples)
        terms = setup.batches.terms("distil", piece, rows)
        for term in terms:
            assert term.seen is not None
            term.teacher = self.averaged(term.seen, term.inputs, term.targets)
        return terms


class Teachers:
    """Trained models and the weight of each: "FOLDER=WEIGHT FOLDER=WEIGHT".

    They must read the same tokens as the student, and, where features are cached, see through the
    same trunk. Raises DataError where one does not.
    """

    def __init__(self, teachers: str, student: Learner):
        device = next(student.model.parameters()).device
        self.members: list[tuple[Learner, float]] = []
        for entry in teachers.split():
            folder, _, weight = entry.partition("=")
            try:
                share = float(weight or 1)
            except ValueError as error:
                raise DataError(
                    f"teachers must be FOLDER=WEIGHT, separated by spaces; not {entry!r}."
                ) from error
            model = CaptionModel.load(Path(folder)).to(device).eval().requires_grad_(False)
            _check(folder, model, student.model)
            model.to(memory_format=torch.channels_last)
            self.members.append((Learner(model, label_smoothing=0, dtype=student.dtype), share))

    @torch.no_grad()
    def __call__(self, seen: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The weighted mean of the teachers' log-probabilities, made probabilities again, at the
        places of `targets` (R, T) that count: (places, V) float32 log-probabilities."""
        total = sum(weight for _, weight in self.members)
        shares = [weight / total for _, weight in self.members]
        logits = (learner.logits(seen, inputs, targets != IGNORE) for learner, _ in self.members)
        return averaged(logits, shares).log_softmax(1)


def _check(folder: str, teacher: CaptionModel, student: CaptionModel) -> None:
    if teacher.tokenizer.to_json() != student.tokenizer.to_json():
        raise DataError(f"The teacher {folder} has another tokenizer than the model it teaches.")
    own, others = (m.encoder.trunk_parameters() for m in (student, teacher))
    alike = len(own) == len(others) and all(
        a.shape == b.shape and torch.allclose(a.cpu(), b.cpu(), rtol=1e-2, atol=1e-2)
        for a, b in zip(own, others, strict=True)
    )
    if not alike or teacher.config.encoder.size != student.config.encoder.size:
        raise DataError(
            f"The teacher {folder} has another trunk, or sees photographs at another size, than "
            "the model it teaches: what is cached would mean something else to it."
        )


def cut_and_mixed(maps: Tensor, share: float, order: np.random.Generator) -> Tensor:
    """Feature maps or photographs (n, C, h, w), a `share` of them with a window of another one's
    pasted in, of an area that is uniform in [0, 1]."""
    count, height, width = len(maps), *maps.shape[2:]
    made = maps.clone()
    others = order.permutation(count)
    for i in order.permutation(count)[: round(share * count)]:
        side = np.sqrt(order.uniform())
        h, w = max(1, round(height * side)), max(1, round(width * side))
        top, left = order.integers(height - h + 1), order.integers(width - w + 1)
        window = (slice(None), slice(top, top + h), slice(left, left + w))
        made[i][window] = maps[others[i]][window]
    return made
