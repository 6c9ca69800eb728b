"""Distillation of several trained models into one (Hinton et al. 2015).

The student is drawn to what the teachers would say next, on captions that it draws itself (Agarwal
et al. 2024), of photographs of which some are pasted together from two (CutMix, Yun et al. 2019):
teachers know their training photos by heart, and agree on them; on such a photo they do not.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captioner.ensemble import averaged
from captioner.errors import DataError
from captioner.model import CaptionModel

from .learner import IGNORE, Learner


class Teachers:
    """Trained models and the weight of each: `teachers` of a recipe, "FOLDER=WEIGHT FOLDER=WEIGHT".

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
        if not self.members:
            raise DataError("Distillation needs teachers: --set teachers=FOLDER=WEIGHT.")

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
