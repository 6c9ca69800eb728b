"""An object detector whose classes stand beside the patch features: SSD with MobileNetV2.

Liu et al. 2016 (SSD), Sandler et al. 2018 (MobileNetV2 and SSDLite's relatives); sizes, anchors and
box coding are those of TensorFlow's ssd_mobilenet_v2_coco_2018_03_29, whose weights
`train/detector.py` brings here. Batch norms are folded into the convolutions.

No boxes are chosen: every patch has, for each class, the score of the surest box that lies on it,
times the share of the patch that the box covers. So the classes are as many more channels of the
patch grid, and a decoder attends to them as to the rest.
"""

import math

import torch
from torch import Tensor, nn

from .lite import Conv, InvertedResidual, SeparableBlock, relu6

CLASSES = 80
RANK = 160  # of the convolutions that score classes, which are two thirds of all work at full rank
KEPT = 100  # boxes of a photo, the surest: more change nothing, and cost time

# Each stage of MobileNetV2 after the first block: blocks, stride of the first one, channels.
STAGES = ((2, 2, 24), (3, 2, 32), (4, 2, 64), (3, 1, 96), (3, 2, 160), (1, 1, 320))
STEM, FIRST, TOP = 32, 16, 1280
EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))  # channels between, and of, each map
INNER = 13  # the block whose expanded channels are the first map that boxes are read from
ANCHORS = (3, 6, 6, 6, 6, 6)  # of a cell of each map
SMALLEST, LARGEST = 0.2, 0.95  # sides of the anchors of the first and of the last map
CODING = (10.0, 10.0, 5.0, 5.0)  # box offsets are stored so many times larger


class Detector(nn.Module):
    """Pixels as the network was trained on them (B, 3, S, S), -1 to 1, -> boxes and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, 3, stride=2)
        self.blocks = nn.Sequential(SeparableBlock(STEM, FIRST, 3, 1))
        inputs = FIRST
        for count, stride, outputs in STAGES:
            for i in range(count):
                self.blocks.append(InvertedResidual(inputs, outputs, 3, 1 if i else stride))
                inputs = outputs
        self.top = Conv(inputs, TOP, 1)
        maps = [self._inner.conv_pw.out_channels, TOP, *(wide for _, wide in EXTRA)]
        self.extra = nn.ModuleList(
            nn.ModuleList(
                (
                    Conv(before, between, 1),
                    Conv(between, between, 3, 2, between),
                    Conv(between, wide, 1),
                )
            )
            for before, (between, wide) in zip(maps[1:], EXTRA, strict=False)
        )
        self.classes = nn.ModuleList(
            nn.Sequential(Conv(wide, RANK, 3), Conv(RANK, count * CLASSES, 1))
            for wide, count in zip(maps, ANCHORS, strict=True)
        )
        self.boxes = nn.ModuleList(
            Conv(wide, count * 4, 3) for wide, count in zip(maps, ANCHORS, strict=True)
        )

    @property
    def _inner(self) -> InvertedResidual:
        block = self.blocks[INNER]
        assert isinstance(block, InvertedResidual)
        return block

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> boxes (B, A, 4) as top, left, bottom, right in shares of the photo's
        sides, and their scores (B, A, 80), 0 to 1, of COCO's categories in its order."""
        boxes, scores = [], []
        for level, found in enumerate(self._maps(x)):
            offsets = self.boxes[level](found).permute(0, 2, 3, 1).flatten(1)
            classes = self.classes[level](found).permute(0, 2, 3, 1).flatten(1)
            anchors = anchors_of(level, found.shape[2], found.shape[3]).to(offsets)
            boxes.append(decoded(offsets.unflatten(1, (-1, 4)), anchors))
            scores.append(classes.unflatten(1, (-1, CLASSES)).sigmoid())
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    def _maps(self, x: Tensor) -> list[Tensor]:
        x = self.blocks[:INNER](relu6(self.stem(x)))
        inner = relu6(self._inner.conv_pw(x))
        x = self._inner.conv_pwl(relu6(self._inner.conv_dw(inner)))
        maps = [inner, relu6(self.top(self.blocks[INNER + 1 :](x)))]
        for convolutions in self.extra:
            x = maps[-1]
            for convolution in convolutions:  # type: ignore[attr-defined]
                x = relu6(convolution(x))
            maps.append(x)
        return maps


def anchors_of(level: int, rows: int, columns: int) -> Tensor:
    """The anchors (rows * columns * k, 4) of a map: centre y, centre x, height, width, in shares
    of the photo's sides."""
    last = len(ANCHORS) - 1
    sides = [SMALLEST + (LARGEST - SMALLEST) * i / last for i in range(last + 1)] + [1.0]
    if level == 0:
        kinds = [(0.1, 1.0), (sides[0], 2.0), (sides[0], 0.5)]
    else:
        kinds = [(sides[level], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
        kinds.append((math.sqrt(sides[level] * sides[level + 1]), 1.0))
    shapes = torch.tensor([[s / math.sqrt(ratio), s * math.sqrt(ratio)] for s, ratio in kinds])
    y = (torch.arange(rows) + 0.5) / rows
    x = (torch.arange(columns) + 0.5) / columns
    centres = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 1, 2)
    count = len(kinds)
    pairs = (centres.expand(-1, count, 2), shapes.expand(len(centres), count, 2))
    return torch.cat(pairs, -1).reshape(-1, 4)


def decoded(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Offsets (B, A, 4) from anchors (A, 4) -> boxes as top, left, bottom, right (Ren 2015)."""
    y, x, h, w = (offsets / offsets.new_tensor(CODING)).unbind(-1)
    centre_y, centre_x, height, width = anchors.unbind(-1)
    y, x = y * height + centre_y, x * width + centre_x
    h, w = h.exp() * height / 2, w.exp() * width / 2
    return torch.stack((y - h, x - w, y + h, x + w), -1)


def painted(boxes: Tensor, scores: Tensor, grid: tuple[int, int]) -> Tensor:
    """Boxes (B, A, 4) and their scores (B, A, K) -> (B, K, h, w): of each class and patch the
    greatest score of a box times the share of the patch that the box covers."""
    count = min(KEPT, boxes.shape[1])
    best = scores.amax(2).topk(count, dim=1).indices.unsqueeze(2)
    boxes = boxes.gather(1, best.expand(-1, -1, 4))
    scores = scores.gather(1, best.expand(-1, -1, scores.shape[2]))
    down = _covered(boxes[..., 0], boxes[..., 2], grid[0])
    across = _covered(boxes[..., 1], boxes[..., 3], grid[1])
    cover = (down.unsqueeze(3) * across.unsqueeze(2)).flatten(2)  # (B, A, N)
    found = [(s.unsqueeze(2) * c.unsqueeze(1)).amax(0) for s, c in zip(scores, cover, strict=True)]
    laid: Tensor = torch.stack(found).unflatten(2, grid)
    return laid


def _covered(start: Tensor, stop: Tensor, count: int) -> Tensor:
    """Of `count` equal pieces of 0..1, the share of each within start..stop: (B, A, count)."""
    edges = torch.linspace(0, 1, count + 1).to(start)
    low = torch.maximum(start.unsqueeze(-1), edges[:-1])
    high = torch.minimum(stop.unsqueeze(-1), edges[1:])
    covered: Tensor = ((high - low) * count).clamp(0, 1)
    return covered
