"""Attention that is drawn to the things that words name (Liu et al. 2017), where a detector says
where they lie."""

import torch
from torch import Tensor

IGNORE = -100
SURE = 0.3  # of a thing's greatest score on a photo: below, nobody knows where it lies
LEAST = 1e-4  # of the attention on a thing: below, the loss would know no bounds


def astray(looks: Tensor, things: Tensor, named: Tensor, patches: Tensor | None = None) -> Tensor:
    """How far from the things they name the words look: the sum over them of -log of the attention
    that lies on the thing.

    Args:
        looks: (R, T, N) attention of each token that is written, summing to 1 over the patches.
        things: (B, M, K) what the detector found on all M patches of B photos, R = B * rows.
        named: (R, T) int64, the thing that each token names, or IGNORE.
        patches: (B, N) int64, which of the M patches these N are; None where they are all.
    """
    row, at = (named != IGNORE).nonzero(as_tuple=True)
    photo = row // (len(named) // len(things))
    where = things.float()[photo, :, named[row, at]]
    most = where.amax(1, keepdim=True)
    if patches is not None:
        where = where.gather(1, patches[photo])
    lies = where / most.clamp(min=SURE)
    found = (looks[row, at].float() * lies).sum(1)[most[:, 0] > SURE]
    return -torch.log(found.clamp(min=LEAST)).sum()
