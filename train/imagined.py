"""Photographs that captions without one may belong to, as far as a detector would tell of them.

A decoder that attends to what a detector has found (`captioner.encoders.beside`) can learn to write
from that alone (Oscar, Li et al. 2020; ViECap, Fei et al. 2023). What the detector would have said
of a photograph that is not there is borrowed from those that are: each thing that the captions name
lies where it lies on some training photograph whose captions name it, be it found there or not, and
what else there is comes from another of them. So things are missed, confused and added as often as
by the detector itself.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from captioner.annotations import AnnotatedImage
from captioner.objects import categories, mentions


class Imagination:
    """What a detector might have found on the photographs of captions that have none.

    groups: the captions of each of these photographs. found (P, K, h, w): what the detector found
    on the training photographs.
    """

    def __init__(
        self, groups: Sequence[Sequence[str]], examples: Sequence[AnnotatedImage], found: Tensor
    ):
        self.groups = groups
        self.found = found
        self._named = [named(e.captions) for e in examples]
        self._naming: list[list[int]] = [[] for _ in categories()]
        for photo, things in enumerate(self._named):
            for thing in things:
                self._naming[thing].append(photo)

    def __call__(self, orders: Sequence[np.random.Generator]) -> tuple[np.ndarray, Tensor]:
        """One photograph for each of `orders`, from whose numbers it follows: the place of its
        captions in `groups`, and what lies on each of its patches (B, K, h, w) float32."""
        numbers, maps = [], []
        for order in orders:
            numbers.append(int(order.integers(len(self.groups))))
            maps.append(self._map(named(self.groups[numbers[-1]]), order))
        return np.array(numbers), torch.stack(maps).float()

    def _map(self, things: frozenset[int], order: np.random.Generator) -> Tensor:
        givers = {t: self._naming[t] for t in sorted(things) if self._naming[t]}
        like = [p for photos in givers.values() for p in photos] or range(len(self.found))
        rest = like[order.integers(len(like))]
        made = self.found[rest].clone()
        made[sorted(things | self._named[rest])] = 0
        for thing, photos in givers.items():
            giver = rest if thing in self._named[rest] else photos[order.integers(len(photos))]
            made[thing] = self.found[giver, thing]
        return made.flip(-1) if order.random() < 0.5 else made


def named(captions: Sequence[str]) -> frozenset[int]:
    """The categories, by their numbers, that any of the captions names for sure."""
    return frozenset(thing for c in captions for thing, _, _ in things_in(c.split()))


def things_in(words: Sequence[str]) -> list[tuple[int, int, int]]:
    """The things that words name for sure: the category's number, the first of the words for it and
    the one after the last."""
    return [
        (categories().index(m.categories[0]), m.start, m.stop)
        for m in mentions(words)
        if len(m.categories) == 1
    ]


def grouped(lines: Sequence[str], each: int) -> list[list[str]]:
    """Lines of which `each` in a row tell of one photograph."""
    return [list(lines[i : i + each]) for i in range(0, len(lines), each)]
