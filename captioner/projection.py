"""From what the encoder says of each patch to what the decoder attends to."""

import torch
from torch import Tensor, nn


class Projection(nn.Module):
    """Patch features (B, N, C) to the decoder's width, plus where on the grid each patch is, and
    plus what lies there where the last channels say so (`PatchEncoder.things`)."""

    def __init__(self, features: int, width: int, grid: tuple[int, int], things: int = 0):
        super().__init__()
        self.linear = nn.Linear(features - things, width)
        self.norm = nn.LayerNorm(width)
        self.row = nn.Parameter(torch.randn(grid[0], width) * 0.02)
        self.col = nn.Parameter(torch.randn(grid[1], width) * 0.02)
        if things:
            self.things = nn.Linear(things, width, bias=False)
            nn.init.normal_(self.things.weight, std=0.1)

    def forward(self, features: Tensor) -> Tensor:
        seen = features[..., : self.linear.in_features]
        x: Tensor = self.norm(self.linear(seen)) + self._places()
        if seen.shape != features.shape:
            x = x + self.things(features[..., self.linear.in_features :])
        return x

    def imagined(self, things: Tensor) -> Tensor:
        """What lies on each patch (B, N, things) -> (B, N, D): a photo that nobody has seen."""
        found: Tensor = self.things(things)
        return found + self._places()

    def _places(self) -> Tensor:
        return (self.row.unsqueeze(1) + self.col.unsqueeze(0)).flatten(0, 1)
