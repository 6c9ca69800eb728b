"""A model whose evidence is known: each word hangs on one place of the photo, and on no other."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.attention import Placement
from captioner.tokenizer import WordSpan


class Letters:
    """Each token is a word."""

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        return [WordSpan(f"w{token}", i, i + 1) for i, token in enumerate(ids)]


@dataclass
class Planted:
    """Token n is as probable as what the memory (B, N) has at position n: `sure` where the photo is
    shown, next to nothing where it is hidden."""

    grid: tuple[int, int]
    sure: float = 0.9
    tokenizer = Letters()
    maps = "cross-attention"
    fades = True

    def memory(self, photos: int = 1) -> Tensor:
        return torch.ones(photos, self.grid[0] * self.grid[1])

    def part(self, memory: Tensor, photos: Sequence[int]) -> Tensor:
        return memory[list(photos)]

    def faded(self, memory: Tensor, shown: Tensor) -> Tensor:
        return memory * shown

    def placement(self, memory: Tensor, photo: int) -> Placement:
        return Placement.whole(self.grid)

    def logprobs(self, memory: Tensor, captions: Sequence[Sequence[int]]) -> list[Tensor]:
        rows = []
        for seen, ids in zip(memory, captions, strict=True):
            probable = 0.01 + (self.sure - 0.01) * seen[list(ids)]
            rows.append(torch.cat([probable.log(), torch.zeros(1)]))
        return rows
