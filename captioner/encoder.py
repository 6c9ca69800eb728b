"""Photographs to patch features: one interface over pretrained vision backbones.

`build_encoder(config)` gives a `PatchEncoder` for a timm, transformers or torchvision backbone.
Called with pixels (B, 3, S, S), it returns `PatchFeatures`: one C-wide vector for each cell of a
grid laid over the photograph, rows first, with class and register tokens already dropped.
"""

import itertools
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF_MEAN = (127 / 255,) * 3
HALF_STD = (128 / 255,) * 3


class PatchFeatures(NamedTuple):
    """features (B, N, C) with N = h * w, cell (row, col) at index row * w + col; grid (h, w)."""

    features: Tensor
    grid: tuple[int, int]


@dataclass
class EncoderConfig:
    """Which backbone, and what it is fed.

    library: "timm", "transformers" or "torchvision".
    name: the library's own name of the architecture (timm, torchvision), or a local folder or hub
        id (transformers).
    size: the photograph is squeezed to (size, size) pixels.
    mean, std: of the pixels in 0..1, per channel.
    fold_batch_norm: batch norms are multiplied into the convolutions before them: the same
        function, 2-5 times faster on a CPU, and frozen for training.
    frozen_stages: for backbones made of `blocks` (the EfficientNet family), how many leading
        blocks belong to the trunk, which training may freeze and cache. 0: no trunk.
    backbone: for transformers, the backbone's own config, so that a saved model needs no hub.
    """

    library: str = "timm"
    name: str = "tf_efficientnet_lite2"
    size: int = 260
    mean: tuple[float, ...] = HALF_MEAN
    std: tuple[float, ...] = HALF_STD
    fold_batch_norm: bool = True
    frozen_stages: int = 0
    backbone: dict[str, Any] | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class PatchEncoder(nn.Module):
    """Base of the encoders: normalises uint8 pixels, runs the backbone, returns PatchFeatures.

    A subclass gives `trunk` and `head`: `head(trunk(x))` is the whole backbone. Training can cache
    what the trunk returns; a subclass without a split has an identity trunk.
    """

    width: int
    grid: tuple[int, int]

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(config.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(shape), persistent=False)

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

    def head(self, x: Tensor) -> Tensor:
        """What the trunk gave -> features (B, N, C)."""
        raise NotImplementedError

    def trunk_parameters(self) -> list[nn.Parameter]:
        return []

    def forward(self, pixels: Tensor) -> PatchFeatures:
        """uint8 pixels (B, S, S, 3) or (B, 3, S, S) -> PatchFeatures (B, N, C)."""
        return self.features(self.trunk(self.normalise(pixels)))

    def features(self, x: Tensor) -> PatchFeatures:
        """The trunk's output -> PatchFeatures."""
        return PatchFeatures(self.head(x), self.grid)

    def _probe(self) -> None:
        """Find the grid and the width by one blank photograph."""
        size = self.config.size
        with torch.no_grad():
            raw = self._raw(torch.zeros(1, 3, size, size))
        if raw.ndim == 4:
            _, self.width, height, width = raw.shape
            self.grid = (height, width)
        else:
            _, count, self.width = raw.shape
            self.grid = self._token_grid(count)

    def _raw(self, x: Tensor) -> Tensor:
        """(B, C, h, w), or (B, N, C) with class and register tokens already dropped."""
        raise NotImplementedError

    def _token_grid(self, count: int) -> tuple[int, int]:
        raise ModelError(
            f"The encoder {self.config.name} returns {count} tokens and does not say their grid."
        )


class TimmEncoder(PatchEncoder):
    """Any timm image model that has `forward_features` (CNN or vision transformer)."""

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        import timm

        if config.name not in timm.list_models():
            raise ModelError(
                f"timm has no model named {config.name!r}; `timm.list_models()` lists its names."
            )
        extra = {} if _is_cnn_name(config.name) else {"img_size": config.size}
        try:
            self.backbone = timm.create_model(
                config.name, pretrained=False, num_classes=0, global_pool="", **extra
            )
        except TypeError:
            self.backbone = timm.create_model(
                config.name, pretrained=False, num_classes=0, global_pool=""
            )
        self.backbone.eval()
        if config.fold_batch_norm:
            fold_batch_norm(self.backbone)
        self.split = config.frozen_stages
        if self.split and not all(
            hasattr(self.backbone, part) for part in ("conv_stem", "blocks", "conv_head", "bn2")
        ):
            raise ModelError(
                f"frozen_stages is for EfficientNet-like backbones; {config.name} has no such blocks."
            )
        self._probe()

    def trunk(self, x: Tensor) -> Tensor:
        if not self.split:
            return x
        net = self.backbone
        return net.blocks[: self.split](net.bn1(net.conv_stem(x)))

    def trunk_parameters(self) -> list[nn.Parameter]:
        if not self.split:
            return []
        net = self.backbone
        return [
            p
            for part in (net.conv_stem, net.bn1, net.blocks[: self.split])
            for p in part.parameters()
        ]

    def head(self, x: Tensor) -> Tensor:
        if not self.split:
            return _flatten(self._raw(x))
        net = self.backbone
        return _flatten(net.bn2(net.conv_head(net.blocks[self.split :](x))))

    def _raw(self, x: Tensor) -> Tensor:
        out = self.backbone.forward_features(x)
        if out.ndim == 4:
            # Swin-like models declare (B, h, w, C).
            return out.permute(0, 3, 1, 2) if self._channels_last() else out
        return out[:, int(getattr(self.backbone, "num_prefix_tokens", 0)) :]

    def _channels_last(self) -> bool:
        return str(getattr(self.backbone, "output_fmt", "NCHW")).upper().endswith("NHWC")

    def _token_grid(self, count: int) -> tuple[int, int]:
        embed = getattr(self.backbone, "patch_embed", None)
        grid = getattr(embed, "grid_size", None)
        if grid is None or grid[0] * grid[1] != count:
            return super()._token_grid(count)
        return int(grid[0]), int(grid[1])


class TorchvisionEncoder(PatchEncoder):
    """A torchvision classifier: CNNs through their `features` (or ResNet stem), ViT by its tokens."""

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        from torchvision import models

        if config.name not in models.list_models(module=models):
            raise ModelError(
                f"torchvision has no model named {config.name!r}; "
                "`torchvision.models.list_models()` lists its names."
            )
        self.is_vit = config.name.startswith("vit_")
        extra = {"image_size": config.size} if self.is_vit else {}
        net = models.get_model(config.name, weights=None, **extra).eval()
        if self.is_vit:
            net.heads = nn.Identity()
            self.backbone = net
        elif hasattr(net, "features"):
            self.backbone = net.features
        elif hasattr(net, "layer4"):
            parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
            self.backbone = nn.Sequential(*(getattr(net, part) for part in parts))
        else:
            raise ModelError(f"torchvision's {config.name} has no feature map to attend to.")
        self.channels_last = config.name.startswith("swin")
        if config.fold_batch_norm:
            fold_batch_norm(self.backbone)
        self._probe()

    def head(self, x: Tensor) -> Tensor:
        return _flatten(self._raw(x))

    def _raw(self, x: Tensor) -> Tensor:
        if self.is_vit:
            net = self.backbone
            tokens = net._process_input(x)
            tokens = torch.cat([net.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
            return net.encoder(tokens)[:, 1:]  # the class token comes first
        out = self.backbone(x)
        return out.permute(0, 3, 1, 2) if self.channels_last else out

    def _token_grid(self, count: int) -> tuple[int, int]:
        side = self.config.size // self.backbone.patch_size
        if side * side != count:
            return super()._token_grid(count)
        return side, side


class TransformersEncoder(PatchEncoder):
    """A transformers vision model: ViT, DeiT, DINOv2 (also with registers), DINOv3, CLIP and SigLIP
    vision towers, Swin, ConvNeXt and their kin, by local folder, hub id or stored config."""

    # How many tokens stand before the patches is declared per architecture: a class token, then the
    # number of register tokens that the config states. SigLIP and BEiT-like pooled models differ.
    CLASS_TOKENS = {
        "vit": 1, "deit": 2, "dinov2": 1, "dinov2_with_registers": 1, "dinov3_vit": 1,
        "clip_vision_model": 1, "siglip_vision_model": 0, "siglip2_vision_model": 0, "beit": 1,
        "data2vec-vision": 1, "vit_mae": 1, "vit_msn": 1, "ijepa": 0,
    }  # fmt: skip

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        from transformers import AutoConfig, AutoModel

        if config.backbone is None:
            found = _from_hub(lambda: AutoConfig.from_pretrained(config.name), config.name)
            backbone_config = getattr(found, "vision_config", found)
            net = _from_hub(
                lambda: AutoModel.from_pretrained(
                    config.name, config=backbone_config, use_safetensors=True
                ),
                config.name,
            )
            config.backbone = backbone_config.to_dict()
        else:
            stored = dict(config.backbone)
            net = AutoModel.from_config(AutoConfig.for_model(stored.pop("model_type"), **stored))
        self.backbone = net.eval()
        self.model_type = net.config.model_type
        self._probe()

    def head(self, x: Tensor) -> Tensor:
        return _flatten(self._raw(x))

    def _raw(self, x: Tensor) -> Tensor:
        extra = {}
        native = getattr(self.backbone.config, "image_size", None)
        if self.model_type in self.CLASS_TOKENS and native not in (None, self.config.size):
            extra["interpolate_pos_encoding"] = True
        try:
            out = self.backbone(pixel_values=x, **extra).last_hidden_state
        except TypeError:
            out = self.backbone(pixel_values=x).last_hidden_state
        if out.ndim == 4:
            return out
        if self.model_type in self.CLASS_TOKENS:
            registers = int(getattr(self.backbone.config, "num_register_tokens", 0) or 0)
            return out[:, self.CLASS_TOKENS[self.model_type] + registers :]
        return out

    def _token_grid(self, count: int) -> tuple[int, int]:
        settings = self.backbone.config
        patch = getattr(settings, "patch_size", None)
        if isinstance(patch, (list, tuple)):
            patch = patch[0]
        if patch:
            # Swin merges patches between its stages; the others keep one size.
            stages = len(getattr(settings, "depths", None) or [None])
            side = self.config.size // (patch * 2 ** (stages - 1))
            if side * side == count:
                return side, side
        return super()._token_grid(count)


ENCODERS: dict[str, type[PatchEncoder]] = {
    "timm": TimmEncoder,
    "torchvision": TorchvisionEncoder,
    "transformers": TransformersEncoder,
}


def build_encoder(config: EncoderConfig) -> PatchEncoder:
    """The encoder that a config names, with random weights unless it is a hub id or folder.

    Raises ModelError for an unknown library or name.
    """
    if config.library not in ENCODERS:
        raise ModelError(
            f"There is no encoder library {config.library!r}; choose one of {', '.join(ENCODERS)}."
        )
    return ENCODERS[config.library](config)


def fold_batch_norm(module: nn.Module) -> None:
    """Multiply each batch norm into the convolution before it, in place, in every submodule.

    The function stays the same in evaluation mode (Jacob et al. 2018, section 3.2). An activation
    that timm keeps inside its batch norm takes the norm's place.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    names = list(module._modules)
    skip_next = False
    for here, after in itertools.zip_longest(names, names[1:]):
        child = module._modules[here]
        if skip_next:
            skip_next = False
            continue
        norm = module._modules[after] if after else None
        if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module._modules[here] = fuse_conv_bn_eval(child, norm)
            act = getattr(norm, "act", None)
            module._modules[after] = act if isinstance(act, nn.Module) else nn.Identity()  # type: ignore[index]
            skip_next = True
        elif child is not None:
            fold_batch_norm(child)


def _flatten(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h*w, C); tokens (B, N, C) stay."""
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x


def _is_cnn_name(name: str) -> bool:
    return not any(k in name for k in ("vit", "deit", "swin", "beit", "eva", "dinov"))


def _from_hub(load: Any, name: str) -> Any:
    local = Path(name).expanduser().is_dir()
    try:
        return load()
    except (OSError, ValueError, KeyError) as error:
        where = "folder" if local else "hub id"
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"The encoder {where} {name!r} cannot be loaded{offline}: {first}"
        ) from error
