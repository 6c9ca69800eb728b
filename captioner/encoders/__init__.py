"""Photographs to patch features: one interface over pretrained vision backbones.

`build_encoder(config)` gives a `PatchEncoder` for a timm, transformers or torchvision backbone.
Called with pixels (B, 3, S, S), it returns `PatchFeatures`: one C-wide vector for each cell of a
grid laid over the photograph, rows first, with class and register tokens already dropped.

`EncoderConfig.for_backbone(library, name)` fills in the size, mean and std that belong to the
backbone. docs/encoders.md says which backbones there are and how they are named.
"""

import inspect
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ModelError

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
    name: what the backbone is called there. An architecture of timm or torchvision has random
        weights; a local folder, a hub id, or a timm name with a tag has its pretrained ones.
    size: the photograph is squeezed to (size, size) pixels.
    mean, std: of the pixels in 0..1, per channel.
    fold_batch_norm: batch norms are multiplied into the convolutions before them: the same
        function, 2-5 times faster on a CPU, and frozen for training.
    frozen_stages: for backbones made of `blocks` (the EfficientNet family), how many leading
        blocks belong to the trunk, which training may freeze and cache. 0: no trunk.
    backbone: the architecture behind a folder, hub id or tag. A saved model has it, and is then
        built without folder or hub and without their weights. None: look at `name`.

    Raises ModelError for a size, mean, std or number of stages that cannot be.
    """

    library: str = "timm"
    name: str = "tf_efficientnet_lite2"
    size: int = 260
    mean: tuple[float, ...] = HALF_MEAN
    std: tuple[float, ...] = HALF_STD
    fold_batch_norm: bool = True
    frozen_stages: int = 0
    backbone: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # Lists (from JSON) and tuples must give the same config.
        self.mean = tuple(float(value) for value in self.mean)
        self.std = tuple(float(value) for value in self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError("The encoder's mean and std are three numbers each, std above 0.")
        if self.size < 1 or self.frozen_stages < 0:
            raise ModelError("The encoder's size is at least 1, and frozen_stages at least 0.")
        # What the encoder found behind `name`. Not in `backbone` itself: a second model built from
        # this same config would then come out with random weights.
        self._found: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields for config.json, `backbone` included once a model was built.

        Caches of features are named by a hash of this (train/features.py): a field added later
        must be left out while it has its default, or every cache is computed anew.
        """
        return asdict(self) | {"backbone": self.backbone or self._found}

    @classmethod
    def for_backbone(
        cls, library: str, name: str, size: int | None = None, **options: Any
    ) -> "EncoderConfig":
        """The config of a backbone with the mean, std and size that it was trained with.

        `size` overrides its own; `options` are other fields. Raises ModelError for an unknown
        backbone, and where a folder or hub id does not say how its photographs are prepared.
        """
        mean, std, own = _encoder(library).preparation(name)
        return cls(library, name, size or own, tuple(mean), tuple(std), **options)


class PatchEncoder(nn.Module):
    """Base of the encoders: normalises uint8 pixels, runs the backbone, returns PatchFeatures.

    A subclass gives `trunk` and `head`: `head(trunk(x))` is the whole backbone. Training can cache
    what the trunk returns; a subclass without a split has an identity trunk.
    """

    mean: Tensor
    std: Tensor
    width: int
    grid: tuple[int, int]

    def __init__(self, config: EncoderConfig):
        super().__init__()
        if config.frozen_stages and config.library != "timm":
            raise ModelError(
                "frozen_stages is for timm's EfficientNet-like backbones; set it to 0."
            )
        self.config = config
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(config.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(shape), persistent=False)

    @staticmethod
    def preparation(name: str) -> tuple[Iterable[float], Iterable[float], int]:
        """The mean, std and size that belong to the backbone `name`."""
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

    def head(self, x: Tensor) -> Tensor:
        """What the trunk gave -> features (B, N, C)."""
        return _flatten(self._raw(x))

    def trunk_parameters(self) -> list[nn.Parameter]:
        return []

    def forward(self, pixels: Tensor) -> PatchFeatures:
        """uint8 pixels (B, S, S, 3) or (B, 3, S, S) -> PatchFeatures (B, N, C)."""
        return self.features(self.trunk(self.normalise(pixels)))

    def features(self, x: Tensor) -> PatchFeatures:
        """The trunk's output -> PatchFeatures."""
        return PatchFeatures(self.head(x), self.grid)

    def _finish(self) -> None:
        """Evaluation mode, folding, and the grid and width as one blank photograph shows them."""
        config = self.config
        net: Any = self.backbone
        net.eval()
        if config.fold_batch_norm:
            fold_batch_norm(net)
        blank = torch.zeros(1, 3, config.size, config.size)
        with torch.no_grad(), _sentences(f"{config.name} at {config.size}x{config.size} pixels"):
            raw = self._raw(blank)
            height, width = raw.shape[2:] if raw.ndim == 4 else self._token_grid(blank)
        self.grid = (int(height), int(width))
        if raw.ndim == 3 and raw.shape[1] != (cells := height * width):
            raise ModelError(
                f"The encoder {config.name} returns {raw.shape[1]} patches where the grid it "
                f"declares has {cells}; its features cannot be laid over the photograph."
            )
        self.width = raw.shape[1] if raw.ndim == 4 else raw.shape[2]

    def _raw(self, x: Tensor) -> Tensor:
        """(B, C, h, w), or (B, N, C) with class and register tokens already dropped."""
        raise NotImplementedError

    def _token_grid(self, blank: Tensor) -> tuple[int, int]:
        """The grid (h, w) that the backbone declares for its tokens."""
        raise NotImplementedError


class TimmEncoder(PatchEncoder):
    """A timm image model: any CNN, and the transformers that declare their tokens.

    `name` is an architecture ("resnet18", random weights), an architecture with a tag
    ("resnet18.a1_in1k", weights from the hub), "hf-hub:owner/model", or a local folder as timm's
    save_for_hf writes it.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        if config.backbone is None:
            source = _timm_source(config.name)
            self.backbone = _timm_model(source.architecture, source.model_args, config.size)
            if source.fetch is not None:
                _load_timm(self.backbone, source, config)
                config._found = {
                    "architecture": source.architecture,
                    "model_args": source.model_args,
                }
        else:
            stored = config.backbone
            if not isinstance(stored.get("architecture"), str):
                raise ModelError('The encoder\'s `backbone` names no timm "architecture".')
            self.backbone = _timm_model(
                stored["architecture"], stored.get("model_args") or {}, config.size
            )
        self.split = config.frozen_stages
        parts = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
        if self.split and not all(hasattr(self.backbone, part) for part in parts):
            raise ModelError(
                f"frozen_stages is for EfficientNet-like backbones; {config.name} has no such "
                "blocks. Set it to 0."
            )
        if self.split and self.split > (count := len(self.backbone.blocks)):
            raise ModelError(f"{config.name} has {count} blocks; frozen_stages is {self.split}.")
        self._finish()

    @staticmethod
    def preparation(name: str) -> tuple[Iterable[float], Iterable[float], int]:
        cfg = _timm_source(name).cfg
        return cfg["mean"], cfg["std"], cfg["input_size"][-1]

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
            return super().head(x)
        net = self.backbone
        return _flatten(net.bn2(net.conv_head(net.blocks[self.split :](x))))

    def _raw(self, x: Tensor) -> Tensor:
        net = self.backbone
        out = net.forward_features(x)
        if not isinstance(out, Tensor) or out.ndim not in (3, 4):
            raise ModelError(f"timm's {self.config.name} has no feature map to attend to.")
        if out.ndim == 4:
            # timm: "NHWC" where a model says so (Swin and its kin), else (B, C, h, w).
            return out.permute(0, 3, 1, 2) if getattr(net, "output_fmt", "") == "NHWC" else out
        prefix = getattr(net, "num_prefix_tokens", None)
        if prefix is None:
            raise ModelError(
                f"timm's {self.config.name} does not declare which of its tokens are patches "
                "(num_prefix_tokens), so no grid can be laid over the photograph."
            )
        return out[:, prefix:]

    def _token_grid(self, blank: Tensor) -> tuple[int, int]:
        net = self.backbone
        if grid := getattr(getattr(net, "patch_embed", None), "grid_size", None):
            return int(grid[0]), int(grid[1])
        side = self.config.size // int(net.feature_info[-1]["reduction"])
        return side, side


class TorchvisionEncoder(PatchEncoder):
    """A torchvision classifier: CNNs by the layers before their pool, ViT by its patch tokens.

    The weights are random: torchvision publishes them as pickles, which are never loaded here.
    """

    # The layers that make the feature map, by the names that torchvision's families give them.
    FAMILIES = (
        ("features",),
        ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
        ("stem", "trunk_output"),
        ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"),
        ("layers",),
    )

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        from torchvision import models

        _torchvision_name(config.name)
        self.is_vit = config.name.startswith("vit_")
        extra = {"image_size": config.size} if self.is_vit else {}
        with _sentences(config.name):
            net = models.get_model(config.name, weights=None, **extra)
        self.is_swin = isinstance(net, models.SwinTransformer)
        if self.is_vit:
            net.heads = nn.Identity()
            self.backbone = net
        elif self.is_swin:
            self.backbone = nn.Sequential(net.features, net.norm)  # (B, h, w, C)
        else:
            layers = next((f for f in self.FAMILIES if all(hasattr(net, part) for part in f)), None)
            if layers is None:
                raise ModelError(f"torchvision's {config.name} has no feature map to attend to.")
            parts = [getattr(net, part) for part in layers]
            self.backbone = parts[0] if len(parts) == 1 else nn.Sequential(*parts)
        self._finish()

    @staticmethod
    def preparation(name: str) -> tuple[Iterable[float], Iterable[float], int]:
        from torchvision import models

        _torchvision_name(name)
        weights: Any = models.get_model_weights(name)
        prepare = weights.DEFAULT.transforms()
        return prepare.mean, prepare.std, prepare.crop_size[0]

    def _raw(self, x: Tensor) -> Tensor:
        net = self.backbone
        if self.is_vit:
            tokens = net._process_input(x)
            tokens = torch.cat([net.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
            return net.encoder(tokens)[:, 1:]  # the class token comes first
        out = net(x)
        return out.permute(0, 3, 1, 2) if self.is_swin else out

    def _token_grid(self, blank: Tensor) -> tuple[int, int]:
        side = self.config.size // int(self.backbone.patch_size)
        return side, side


class TransformersEncoder(PatchEncoder):
    """A transformers vision model by local folder or hub id: ViT, DeiT, DINOv2 (also with
    registers), DINOv3, CLIP and SigLIP vision towers, Swin, ConvNeXt, ResNet and their kin.

    Of a model with two towers (CLIP, SigLIP) only the vision tower is built and loaded.
    """

    # Tokens before the patches. Each architecture fixes its class tokens (read in its embeddings
    # class, transformers 5); register tokens are counted by the config.
    CLASS_TOKENS: ClassVar[dict[str, int]] = {
        "vit": 1, "deit": 2, "vit_mae": 1, "vit_msn": 1, "ijepa": 0, "beit": 1,
        "data2vec-vision": 1, "dinov2": 1, "dinov2_with_registers": 1, "dinov3_vit": 1,
        "clip_vision_model": 1, "chinese_clip_vision_model": 1, "mlcd_vision_model": 1,
        "siglip_vision_model": 0, "siglip2_vision_model": 0,
        "dinov3_convnext": 1,  # the mean of the map, put before it
    }  # fmt: skip
    # Tokens that are patches only, with their (B, C, h, w) shape given beside them.
    WINDOWED = ("swin", "swinv2", "focalnet")
    # Feature maps (B, C, h, w).
    MAPS = (
        "convnext", "convnextv2", "resnet", "regnet", "bit", "mobilenet_v1", "mobilenet_v2",
        "poolformer", "segformer", "pvt_v2", "swiftformer",
    )  # fmt: skip
    # Settings of parts that have no place here: masking, and heads that pool.
    SWITCHES: ClassVar[dict[str, Any]] = {"mask_ratio": 0.0, "vision_use_head": False}

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        from transformers import AutoConfig, AutoModel

        if config.backbone is None:
            settings = _vision_settings(config.name)
        else:
            stored = dict(config.backbone)
            with _sentences(config.name):
                settings = AutoConfig.for_model(stored.pop("model_type", ""), **stored)
        self.model_type = settings.model_type
        if self.model_type not in (*self.CLASS_TOKENS, *self.WINDOWED, *self.MAPS):
            raise ModelError(
                f"The encoder {config.name} is transformers' {self.model_type!r}. Which of its "
                "outputs are patches is not known here, so no grid can be laid over the "
                "photograph; docs/encoders.md lists the kinds that can be used."
            )
        self._check_size(settings)
        for switch, value in self.SWITCHES.items():
            if hasattr(settings, switch):
                setattr(settings, switch, value)
        if config.backbone is None:
            net = _load_transformers(config.name, settings)
            config._found = _settings_as_json(settings)
        else:
            with _sentences(config.name):
                net = AutoModel.from_config(settings, dtype=torch.float32)
        # A learned pooler is of no use here, and the weights for it are often not even there.
        pooler = getattr(net, "pooler", None)
        if pooler is not None and list(pooler.parameters()):
            net.pooler = None
        self.backbone = net
        takes = inspect.signature(net.forward).parameters
        native = getattr(settings, "image_size", None)
        self.interpolate = (
            "interpolate_pos_encoding" in takes and native and _side(native) != config.size
        )
        self._finish()

    @staticmethod
    def preparation(name: str) -> tuple[Iterable[float], Iterable[float], int]:
        from transformers import AutoImageProcessor

        settings = _vision_settings(name)
        with _sentences(f"{name}: its preprocessor_config.json"):
            use: Any = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        if getattr(use, "do_flip_channel_order", False) or getattr(use, "rescale_offset", False):
            raise ModelError(
                f"The encoder {name} wants its photographs in another form than RGB with a mean "
                "and std (its preprocessor_config.json flips or shifts them)."
            )
        # Pixels are 0..1 here, 0..255 times rescale_factor there.
        scale = float(getattr(use, "rescale_factor", 1 / 255)) * 255
        normal = getattr(use, "do_normalize", True)
        mean = [m / scale for m in use.image_mean] if normal else [0.0] * 3
        std = [s / scale for s in use.image_std] if normal else [1 / scale] * 3
        if getattr(use, "max_num_patches", None):  # SigLIP 2 without a fixed size
            return mean, std, settings.patch_size * math.isqrt(use.max_num_patches)
        sizes = dict((use.crop_size if getattr(use, "do_center_crop", False) else None) or use.size)
        return mean, std, int(sizes.get("height") or sizes["shortest_edge"])

    def _check_size(self, settings: Any) -> None:
        """Patches that do not fill the photograph would leave its right and lower edge unseen."""
        if self.model_type not in self.CLASS_TOKENS or self.model_type == "dinov3_convnext":
            return
        size, patch = self.config.size, _side(settings.patch_size)
        if size % patch:
            below = size // patch * patch
            raise ModelError(
                f"The encoder {self.config.name} cuts the photograph into patches of {patch} "
                f"pixels, so its size must be a multiple of {patch}, not {size}: "
                f"{f'{below} or ' if below else ''}{below + patch}."
            )

    def _raw(self, x: Tensor) -> Tensor:
        out = self.backbone(**self._inputs(x)).last_hidden_state
        if self.model_type not in self.CLASS_TOKENS:
            return out
        registers = getattr(self.backbone.config, "num_register_tokens", 0)
        return out[:, self.CLASS_TOKENS[self.model_type] + int(registers or 0) :]

    def _inputs(self, x: Tensor) -> dict[str, Any]:
        if self.model_type == "siglip2_vision_model":
            # It takes patches, each (row, column, channel) in one line, and their grid.
            patch = self.backbone.config.patch_size
            batch, side = len(x), x.shape[-1] // patch
            x = x.reshape(batch, 3, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1)
            grid = torch.tensor([[side, side]] * batch)
            return {
                "pixel_values": x.reshape(batch, side * side, -1),
                "pixel_attention_mask": None,
                "spatial_shapes": grid,
            }
        inputs: dict[str, Any] = {"pixel_values": x}
        if self.interpolate:
            inputs["interpolate_pos_encoding"] = True
        if self.model_type == "vit_mae":
            # It shuffles its patches by noise, unless the noise is in order already.
            count = (self.config.size // _side(self.backbone.config.patch_size)) ** 2
            inputs["noise"] = torch.arange(count, device=x.device).expand(len(x), -1)
        return inputs

    def _token_grid(self, blank: Tensor) -> tuple[int, int]:
        settings, size = self.backbone.config, self.config.size
        if self.model_type in self.WINDOWED:
            out = self.backbone(**self._inputs(blank), output_hidden_states=True)
            height, width = out.reshaped_hidden_states[-1].shape[2:]
            return height, width
        if self.model_type == "dinov3_convnext":
            # A stem of stride 4, then one halving a stage.
            side = size // (4 * 2 ** (len(settings.hidden_sizes) - 1))
        else:
            side = size // _side(settings.patch_size)
        return side, side


ENCODERS: dict[str, type[PatchEncoder]] = {
    "timm": TimmEncoder,
    "torchvision": TorchvisionEncoder,
    "transformers": TransformersEncoder,
}


def build_encoder(config: EncoderConfig) -> PatchEncoder:
    """The encoder that a config names, with random weights unless it is a hub id, folder or tag.

    A config with a `backbone` (a saved model's) is built from that alone, with random weights.
    Raises ModelError, a sentence, for an unknown library or name, weights that are missing,
    damaged or not safetensors, a size that the backbone cannot take, and a backbone whose patch
    grid cannot be known.
    """
    return _encoder(config.library)(config)


def _encoder(library: str) -> type[PatchEncoder]:
    if library not in ENCODERS:
        raise ModelError(
            f"There is no encoder library {library!r}; choose one of {', '.join(ENCODERS)}."
        )
    return ENCODERS[library]


# Convolutions whose weights are used as they are stored (a weight-standardised one is not), timm's
# with TensorFlow's padding included.
FOLDABLE = ("Conv2d", "Conv2dSame")
# RepViT's first norm follows the sum of two convolutions, not the one registered before it.
NOT_IN_ORDER = ("RepVggDw",)


def fold_batch_norm(module: nn.Module) -> None:
    """Multiply each batch norm into the convolution before it, in place, in every submodule.

    The function stays the same in evaluation mode (Jacob et al. 2018, section 3.2). An activation
    that timm keeps inside its batch norm takes the norm's place. "Before" is the order in which a
    module registers its parts; a norm that is first, or follows something else, stays.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    names = list(module._modules)
    in_order = type(module).__name__ not in NOT_IN_ORDER
    skip_next = False
    for here, after in itertools.zip_longest(names, names[1:]):
        child = module._modules[here]
        if skip_next:
            skip_next = False
            continue
        norm = module._modules[after] if after else None
        if (
            in_order
            and type(child).__name__ in FOLDABLE
            and isinstance(child, nn.Conv2d)
            and isinstance(norm, nn.BatchNorm2d)
        ):
            module._modules[here] = fuse_conv_bn_eval(child, norm)
            act = getattr(norm, "act", None)
            module._modules[after] = act if isinstance(act, nn.Module) else nn.Identity()
            skip_next = True
        elif child is not None:
            fold_batch_norm(child)


def _flatten(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h*w, C); tokens (B, N, C) stay."""
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x


def _side(size: Any) -> int:
    """The side of a square that a library gives as one number or as (height, width)."""
    return int(size[0] if isinstance(size, (list, tuple)) else size)


# ---- where weights come from: folders, the hub, tags ----


class _TimmSource(NamedTuple):
    """What a timm name stands for.

    cfg: timm's description of how the weights were trained: mean, std, input_size and more.
    fetch: gives the path of a file that belongs to it; None where the weights are random.
    """

    architecture: str
    model_args: dict[str, Any]
    cfg: dict[str, Any]
    fetch: Callable[[str], Path] | None


# Arguments of timm.create_model that `model_args` may not set: they are decided here, or would
# load files that are not safetensors.
TIMM_OURS = (
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
    "num_classes", "global_pool", "img_size", "in_chans",
)  # fmt: skip


def has_weights(library: str, name: str) -> bool:
    """Whether a name brings pretrained weights, or stands for an architecture alone. Raises
    ModelError for a name that timm does not know."""
    return library == "transformers" or (library == "timm" and _timm_source(name).fetch is not None)


def _timm_source(name: str) -> _TimmSource:
    import timm

    folder = Path(name.removeprefix("local-dir:")).expanduser()
    if "." not in name and timm.is_model(name):  # is_model looks past a tag
        return _TimmSource(name, {}, _timm_cfg(name), None)
    fetch: Callable[[str], Path]
    if name.startswith("hf-hub:"):
        fetch = partial(_hub_file, name.removeprefix("hf-hub:"))
    elif folder.is_dir():
        fetch = folder.joinpath
        _need_safetensors(folder)
    else:
        architecture = name.split(".")[0]
        cfg = _timm_cfg(name) if timm.is_model(architecture) else {}
        if not cfg:
            raise ModelError(
                f"timm has no model named {name!r}, and there is no such folder; "
                "`timm.list_models()` lists its names. A model of the Hugging Face hub is written "
                "hf-hub:owner/model."
            )
        if not cfg.get("hf_hub_id"):
            raise ModelError(f"timm has no safetensors weights for {name!r}.")
        return _TimmSource(architecture, {}, cfg, partial(_hub_file, cfg["hf_hub_id"]))
    try:
        data = json.loads(fetch("config.json").read_text(encoding="utf-8"))
        architecture, cfg = data["architecture"], dict(data.get("pretrained_cfg") or data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The encoder {name} is not a timm model: its config.json is missing or names no "
            '"architecture".'
        ) from error
    if not timm.is_model(architecture):
        raise ModelError(f"The encoder {name} is a {architecture!r}, which this timm has not got.")
    model_args = {k: v for k, v in (data.get("model_args") or {}).items() if k not in TIMM_OURS}
    return _TimmSource(architecture, model_args, _timm_cfg(architecture) | cfg, fetch)


def _timm_cfg(name: str) -> dict[str, Any]:
    """timm's description of an architecture, or of one of its tags; {} for an unknown tag."""
    from timm.models import get_pretrained_cfg

    try:
        found = get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        return {}
    # An architecture that has no pretrained weights gets the defaults of the class.
    return found.to_dict() if found is not None else {}


def _timm_model(architecture: str, model_args: dict[str, Any], size: int, **extra: Any) -> Any:
    """A timm model with random weights, without its classifier; for `size` where it must know."""
    import timm

    if not timm.is_model(architecture):
        raise ModelError(
            f"timm has no model named {architecture!r}; `timm.list_models()` lists its names."
        )
    args = {k: v for k, v in model_args.items() if k not in TIMM_OURS}
    if _timm_cfg(architecture).get("fixed_input_size"):
        args["img_size"] = size
    if extra:  # the whole model with its pretrained weights
        with _sentences(architecture):
            return timm.create_model(architecture, **args, **extra)
    with _sentences(f"{architecture} at {size}x{size} pixels"):
        try:
            return timm.create_model(
                architecture, pretrained=False, num_classes=0, global_pool="", **args
            )
        except AssertionError:
            # A few models insist on their pool; `forward_features` comes before it.
            return timm.create_model(architecture, pretrained=False, num_classes=0, **args)


def _load_timm(net: nn.Module, source: _TimmSource, config: EncoderConfig) -> None:
    """Pretrained weights into `net`, every one of them or a ModelError.

    timm loads strictly (and resizes position embeddings) only with the classifier that the file
    has, so the whole model is loaded first and then gives its weights to `net`.
    """
    assert source.fetch is not None
    path = source.fetch("model.safetensors")
    cfg = {
        **source.cfg, "file": str(path), "source": "", "custom_load": False, "hf_hub_id": None,
        "url": None,
    }  # fmt: skip
    whole = _timm_model(
        source.architecture, source.model_args, config.size,
        pretrained=True, pretrained_cfg=cfg, num_classes=cfg.get("num_classes", 1000),
    )  # fmt: skip
    state = whole.state_dict()
    for part in ("weight", "bias"):
        # Models trained with a mean pool normalise after it; here each patch is normalised.
        if f"norm.{part}" not in state and f"fc_norm.{part}" in state:
            state[f"norm.{part}"] = state[f"fc_norm.{part}"]
    with _sentences(config.name):
        missing = net.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise ModelError(f"The encoder {config.name} lacks the weights of {missing[0]!r}.")


def _hub_file(repo: str, file: str) -> Path:
    """Download a file of a hub repository ("owner/model" or "owner/model@revision"), or find it
    in the cache."""
    from huggingface_hub import hf_hub_download

    repo, _, revision = repo.partition("@")
    with _sentences(f"{repo}: its {file}"):
        return Path(hf_hub_download(repo, file, revision=revision or None))


def _torchvision_name(name: str) -> None:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ModelError(
            f"torchvision has no model named {name!r}; "
            "`torchvision.models.list_models()` lists its names."
        )


def _vision_settings(name: str) -> Any:
    """The transformers config of a folder or hub id; of two towers, the vision tower's."""
    from transformers import AutoConfig

    folder = Path(name).expanduser()
    if folder.is_dir():
        _need_safetensors(folder)
    elif name.startswith(("/", ".", "~")):
        raise ModelError(f"There is no encoder folder {name}.")
    with _sentences(name):
        found = AutoConfig.from_pretrained(_place(name), trust_remote_code=False)
    return getattr(found, "vision_config", found)


def _load_transformers(name: str, settings: Any) -> Any:
    """The pretrained model in float32, every weight that is used or a ModelError."""
    from transformers import AutoModel

    with _sentences(name):
        net, info = AutoModel.from_pretrained(
            _place(name), config=settings, dtype=torch.float32, use_safetensors=True,
            trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    unused = ("pooler.", "embeddings.mask_token")
    absent = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    missing = sorted(key for key in absent if not key.startswith(unused))
    if missing:
        raise ModelError(
            f"The encoder {name} lacks the weights of {missing[0]!r}: its weights and its "
            "config.json do not belong together."
        )
    return net


def _settings_as_json(settings: Any) -> dict[str, Any]:
    """A transformers config as plain JSON values, without what does not shape the model."""
    data = json.loads(settings.to_json_string(use_diff=False))
    idle = (
        "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id",
        "problem_type", "transformers_version",
    )  # fmt: skip
    return {key: value for key, value in data.items() if key not in idle}


def _place(name: str) -> str:
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _need_safetensors(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind))
    raise ModelError(
        f"The encoder folder {folder} has no .safetensors weights"
        + (
            f"; its {pickles[0]} is a pickle, which can run code and is never loaded. Save the "
            "model again with save_pretrained, on a machine that trusts it."
            if pickles
            else "."
        )
    )


@contextmanager
def _sentences(what: str) -> Iterator[None]:
    """Whatever a library raises about a backbone becomes a ModelError that names the backbone."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # the libraries raise nearly every kind, KeyError and assertions too
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"The encoder {what} cannot be used{offline}: {first}") from error
