"""The interface that every encoder has: pixels in, one vector for each cell of a grid out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .config import EncoderConfig
from .folding import fold_batch_norm
from .sources import sentences


class PatchFeatures(NamedTuple):
    """features (B, N, C) with N = h * w, cell (row, col) at index row * w + col; grid (h, w)."""

    features: Tensor
    grid: tuple[int, int]


class PatchEncoder(nn.Module):
    """Base of the encoders: normalises uint8 pixels, runs the backbone, returns PatchFeatures.

    A subclass makes the `backbone`, calls `_finish`, and gives `feature_map`. Training can cache
    what the `trunk` returns: `head(trunk(x))` is the whole, and the trunk nothing unless a subclass
    splits its backbone.
    """

    backbone: nn.Module
    mean: Tensor
    std: Tensor
    width: int
    grid: tuple[int, int]
    things = 0
    """How many of the C channels, the last ones, say which things lie on a patch
    (`encoders.beside`)."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(config.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(shape), persistent=False)

    @staticmethod
    def preparation(name: str) -> tuple[Sequence[float], Sequence[float], int]:
        """The mean, std and size that belong to the backbone `name`."""
        raise NotImplementedError

    @staticmethod
    def has_weights(name: str) -> bool:
        """Whether `name` brings pretrained weights, or stands for an architecture alone."""
        raise NotImplementedError

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, S, S, 3) or (B, 3, S, S) -> float (B, 3, S, S), channels last in memory."""
        if pixels.shape[-1] == 3 and pixels.shape[1] != 3:
            pixels = pixels.permute(0, 3, 1, 2)
        dtype = next(self.parameters()).dtype
        mean, std = self.mean.float(), self.std.float()
        x = (pixels.float() / 255 - mean) / std
        return x.to(dtype=dtype, memory_format=torch.channels_last)

    def trunk(self, x: Tensor) -> Tensor:
        return x

    def trunk_parameters(self) -> list[nn.Parameter]:
        return []

    def feature_map(self, x: Tensor) -> Tensor:
        """What the trunk gave -> (B, C, h, w), without class and register tokens."""
        raise NotImplementedError

    def head(self, x: Tensor) -> Tensor:
        """What the trunk gave -> features (B, N, C)."""
        return self.feature_map(x).flatten(2).transpose(1, 2)

    def features(self, x: Tensor) -> PatchFeatures:
        """What the trunk gave -> PatchFeatures."""
        return PatchFeatures(self.head(x), self.grid)

    def forward(self, pixels: Tensor) -> PatchFeatures:
        """uint8 pixels (B, S, S, 3) or (B, 3, S, S) -> PatchFeatures (B, N, C)."""
        return self.features(self.trunk(self.normalise(pixels)))

    def blocks(self) -> list[list[nn.Parameter]]:
        """The parameters of the backbone, block by block from the pixels on: here the longest list
        of modules that holds most of them.

        Raises ModelError for a backbone that is not made of blocks.
        """

        def count(module: nn.Module) -> int:
            return sum(p.numel() for p in module.parameters())

        lists: list[Any] = [
            m
            for m in self.backbone.modules()
            if isinstance(m, (nn.ModuleList, nn.Sequential)) and len(m) > 1
        ]
        if not lists:
            raise ModelError(f"The encoder {self.config.name} is not made of blocks.")
        most = max(count(m) for m in lists)
        longest = max((m for m in lists if count(m) > most / 2), key=len)
        return [list(block.parameters()) for block in longest]

    def _finish(self) -> None:
        """Evaluation mode, folding, and the grid and width as one blank photograph shows them."""
        config = self.config
        self.backbone.eval()
        if config.fold_batch_norm:
            fold_batch_norm(self.backbone)
        blank = torch.zeros(1, 3, config.size, config.size)
        with torch.no_grad(), sentences(f"{config.name} at {config.size}x{config.size} pixels"):
            _, self.width, height, width = self.feature_map(self.trunk(blank)).shape
        self.grid = (height, width)
