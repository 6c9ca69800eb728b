"""EfficientNet-Lite with folded batch norms, without timm.

The model in the box has such an encoder, and timm takes longer to import (with torchvision and
torch's compiler) than a photograph takes to caption. Tensors have timm's names, features are timm's
to the bit, and so are random weights: tests/test_lite.py.

Tan and Le 2019 (EfficientNet); the Lite variants have ReLU6 and no squeeze-and-excitation, and
scale neither the stem nor the head: github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelError
from .base import PatchEncoder
from .config import EncoderConfig

# Multipliers of the channels and of the blocks of a stage.
SCALES = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}
# Each stage of Lite0: blocks, kernel size, stride of the first block, channels.
STAGES = (
    (1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192),
    (1, 3, 1, 320),
)  # fmt: skip
STEM, EXPANSION, FEATURES = 32, 6, 1280
SHRUNK = 32  # pixels to a cell: the stem and four stages halve the map
EPSILON = 1e-3  # of the batch norms that are folded


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, the odd pixel below and on the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(
            inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False
        )
        # The folded norm's, and frozen as `fold_batch_norm` leaves it: training moves weights only.
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            across, down = (self._missing(side) for side in (x.shape[3], x.shape[2]))
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)

    def _missing(self, side: int) -> int:
        """Pixels to add to a side, for ceil(side / stride) steps of the kernel."""
        stride = self.stride[0]
        return max((math.ceil(side / stride) - 1) * stride + self.kernel_size[0] - side, 0)


def relu6(x: Tensor) -> Tensor:
    return F.hardtanh(x, 0.0, 6.0, inplace=True)


class SeparableBlock(nn.Module):
    """A depthwise and a pointwise convolution: the first stage, which nothing expands."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.skips = stride == 1 and inputs == outputs
        self.conv_dw = Conv(inputs, inputs, kernel, stride, groups=inputs)
        self.conv_pw = Conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_pw(relu6(self.conv_dw(x)))
        return y + x if self.skips else y


class InvertedResidual(nn.Module):
    """Expanded, convolved channel by channel, and projected (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.skips = stride == 1 and inputs == outputs
        inner = EXPANSION * inputs
        self.conv_pw = Conv(inputs, inner, 1)
        self.conv_dw = Conv(inner, inner, kernel, stride, groups=inner)
        self.conv_pwl = Conv(inner, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_pwl(relu6(self.conv_dw(relu6(self.conv_pw(x)))))
        return y + x if self.skips else y


class LiteNet(nn.Module):
    """The layers under timm's names, with the random weights that timm would draw, folded."""

    def __init__(self, architecture: str):
        super().__init__()
        wider, deeper = SCALES[architecture]
        self.conv_stem = Conv(3, STEM, 3, stride=2)
        torch.rand(144)  # timm draws as many here, for a layer that it only tries
        widths = [STEM, *(_multiple_of_8(channels * wider) for *_, channels in STAGES)]
        self.blocks = nn.Sequential()
        for (count, kernel, stride, _), (inputs, outputs) in zip(
            STAGES, pairwise(widths), strict=True
        ):
            # The first and the last stage stay a single block.
            repeats = math.ceil(count * deeper) if 0 < len(self.blocks) < len(STAGES) - 1 else count
            kind = InvertedResidual if len(self.blocks) else SeparableBlock
            self.blocks.append(
                nn.Sequential(
                    *(
                        kind(outputs if i else inputs, outputs, kernel, 1 if i else stride)
                        for i in range(repeats)
                    )
                )
            )
        self.conv_head = Conv(widths[-1], FEATURES, 1)
        for conv in self.modules():
            if isinstance(conv, Conv):
                fan_out = conv.kernel_size[0] ** 2 * conv.out_channels // conv.groups
                nn.init.normal_(conv.weight, 0, math.sqrt(2 / fan_out))
                with torch.no_grad():  # a fresh norm has mean 0 and variance 1
                    conv.weight.mul_(torch.rsqrt(torch.tensor(1 + EPSILON)))


class LiteEncoder(PatchEncoder):
    """EfficientNet-Lite, folded; the trunk is the stem and the first `frozen_stages` stages."""

    backbone: LiteNet

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        architecture = architecture_of(config)
        assert architecture
        self.backbone = LiteNet(architecture)
        self.split = config.frozen_stages
        if self.split > len(STAGES):
            raise ModelError(
                f"{config.name} has {len(STAGES)} blocks; frozen_stages is {self.split}."
            )
        self.backbone.eval()
        self.width = FEATURES
        self.grid = (math.ceil(config.size / SHRUNK),) * 2

    def trunk(self, x: Tensor) -> Tensor:
        return self._early(x) if self.split else x

    def trunk_parameters(self) -> list[nn.Parameter]:
        if not self.split:
            return []
        parts = (self.backbone.conv_stem, self.backbone.blocks[: self.split])
        return [p for part in parts for p in part.parameters()]

    def feature_map(self, x: Tensor) -> Tensor:
        x = x if self.split else self._early(x)
        return relu6(self.backbone.conv_head(self.backbone.blocks[self.split :](x)))

    def blocks(self) -> list[list[nn.Parameter]]:
        """The stem, each block, and the head with the last block, as timm groups them."""
        net = self.backbone
        parts = [net.conv_stem, *(block for stage in net.blocks for block in stage.children())]
        groups = [list(part.parameters()) for part in parts]
        groups[-1] += net.conv_head.parameters()
        return groups

    def _early(self, x: Tensor) -> Tensor:
        net = self.backbone
        found: Tensor = net.blocks[: self.split](relu6(net.conv_stem(x)))
        return found


def architecture_of(config: EncoderConfig) -> str | None:
    """Which of SCALES a config builds with random weights and folded norms; None for another."""
    stored = config.backbone or {"architecture": config.name}
    name = stored.get("architecture")
    plain = config.library == "timm" and config.fold_batch_norm and not stored.get("model_args")
    return name if plain and isinstance(name, str) and name in SCALES else None


def _multiple_of_8(channels: float) -> int:
    """To the nearest multiple of 8, unless that takes away more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
