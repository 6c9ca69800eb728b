"""An encoder with an object detector beside it: patch features, and which things lie on each patch.

The detector's classes (`detector.painted`) are as many more channels of the grid, behind those of
the encoder. It is part of the trunk: training leaves it as it is, and caches what it says.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import EncoderConfig
from .detector import CLASSES, Detector, painted
from .lite import LiteEncoder


class BesideEncoder(LiteEncoder):
    """EfficientNet-Lite and the detector on the same pixels; features (B, N, C + 80)."""

    things = CLASSES

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        self.detector = Detector().eval()
        self.width += self.things

    def trunk(self, x: Tensor) -> Tensor:
        """The encoder's trunk and what lies on its grid: (B, C + 80, h, w)."""
        if not self.split:
            return x
        seen = super().trunk(x)
        return torch.cat([seen, self._found(x, (seen.shape[2], seen.shape[3])).to(seen)], 1)

    def trunk_parameters(self) -> list[nn.Parameter]:
        return [*super().trunk_parameters(), *self.detector.parameters()]

    def feature_map(self, x: Tensor) -> Tensor:
        if self.split:
            seen, found = x[:, : -self.things], x[:, -self.things :]
        else:
            seen, found = x, self._found(x, self.grid).to(x)
        return torch.cat([super().feature_map(seen), self.shrunk(found)], 1)

    def shrunk(self, found: Tensor) -> Tensor:
        """What lies on a finer grid (B, 80, h, w) -> on that of the patches."""
        return F.adaptive_avg_pool2d(found, self.grid)

    def _found(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Normalised pixels -> what lies on each cell of a grid (B, 80, h, w)."""
        # From the encoder's mean and deviation to the detector's, -1 to 1.
        scale, shift = 2 * self.std.to(x), 2 * self.mean.to(x) - 1
        boxes, scores = self.detector(x * scale + shift)
        return painted(boxes, scores, grid)
