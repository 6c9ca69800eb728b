"""Backbones of transformers: vision models whose outputs are known to be patches."""

import inspect
import json
import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from ..errors import ModelError
from .base import PatchEncoder
from .config import EncoderConfig
from .sources import local_folder, sentences

# Tokens before the patches. Each architecture fixes its class tokens (read in its embeddings class,
# transformers 5); register tokens are counted by the config.
CLASS_TOKENS = {
    "vit": 1, "deit": 2, "vit_mae": 1, "vit_msn": 1, "ijepa": 0, "beit": 1, "data2vec-vision": 1,
    "dinov2": 1, "dinov2_with_registers": 1, "dinov3_vit": 1, "clip_vision_model": 1,
    "chinese_clip_vision_model": 1, "mlcd_vision_model": 1, "siglip_vision_model": 0,
    "siglip2_vision_model": 0, "blip_vision_model": 1,
    "dinov3_convnext": 1,  # the mean of the map, put before it
}  # fmt: skip
# Tokens that are patches only, as many rows of them as columns.
WINDOWED = ("swin", "swinv2", "focalnet")
# Feature maps (B, C, h, w).
MAPS = (
    "convnext", "convnextv2", "resnet", "regnet", "bit", "mobilenet_v1", "mobilenet_v2",
    "poolformer", "segformer", "pvt_v2", "swiftformer", "florence_vision",
)  # fmt: skip
# Vision towers that AutoModel does not know: where their class is, and the names of their weights
# within those of a whole captioner.
TOWERS = {
    "blip_vision_model": ("blip", "BlipVisionModel", r"^vision_model\."),
    "florence_vision": ("florence2", "Florence2VisionBackbone", r"^(model\.)?vision_tower\."),
}
# Settings of parts that have no place here: masking, and heads that pool.
SWITCHES = {"mask_ratio": 0.0, "vision_use_head": False}
# What of a config does not shape the model.
IDLE = (
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "problem_type",
    "transformers_version",
)  # fmt: skip


class TransformersEncoder(PatchEncoder):
    """A transformers vision model by local folder or hub id: ViT, DeiT, DINOv2 (also with
    registers), DINOv3, CLIP, SigLIP, BLIP and Florence-2 vision towers, Swin, ConvNeXt, ResNet and
    their kin.

    Of a model that has more (CLIP, SigLIP, BLIP, Florence-2) only the vision tower is built and
    loaded.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        if config.frozen_stages:
            raise ModelError(
                "frozen_stages is for timm's EfficientNet-like backbones; set it to 0."
            )
        settings = _settings(config)
        self.kind: str = settings.model_type
        if self.kind not in (*CLASS_TOKENS, *WINDOWED, *MAPS):
            raise ModelError(
                f"The encoder {config.name} is transformers' {self.kind!r}. Which of its outputs "
                "are patches is not known here, so no grid can be laid over the photograph; "
                "docs/encoders.md lists the kinds that can be used."
            )
        for switch, value in SWITCHES.items():
            if hasattr(settings, switch):
                setattr(settings, switch, value)
        self.side = _patches_across(config, settings)
        if config.backbone is None:
            net = _load(config.name, settings)
            config.found = _as_json(settings)
        else:
            with sentences(config.name):
                tower = _tower(settings)
                make = tower._from_config if tower else AutoModel.from_config
                net = make(settings, dtype=torch.float32)
        # A learned pooler is of no use here, and the weights for it are often not even there.
        pooler = getattr(net, "pooler", None)
        if pooler is not None and list(pooler.parameters()):
            net.pooler = None
        self.backbone = net
        takes = inspect.signature(net.forward).parameters
        native = getattr(settings, "image_size", None)
        self.interpolate = (
            "interpolate_pos_encoding" in takes and native and _length(native) != config.size
        )
        self._finish()

    @staticmethod
    def preparation(name: str) -> tuple[Sequence[float], Sequence[float], int]:
        settings = _pretrained_settings(name)
        with sentences(f"{name}: its preprocessor_config.json"):
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

    @staticmethod
    def has_weights(name: str) -> bool:
        return True

    def feature_map(self, x: Tensor) -> Tensor:
        net: Any = self.backbone
        out: Tensor = net(**self._inputs(x)).last_hidden_state
        if self.kind in MAPS:
            return out
        side = self.side
        if self.kind in CLASS_TOKENS:
            registers = getattr(net.config, "num_register_tokens", 0) or 0
            out = out[:, CLASS_TOKENS[self.kind] + registers :]
        else:
            side = math.isqrt(out.shape[1])  # patches only, of a square
        return out.mT.reshape(len(out), -1, side, side)

    def _inputs(self, x: Tensor) -> dict[str, Any]:
        batch, side = len(x), self.side
        if self.kind == "siglip2_vision_model":
            # It takes patches, each (row, column, channel) in one line, and their grid.
            patch = x.shape[-1] // side
            x = x.reshape(batch, 3, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1)
            return {
                "pixel_values": x.reshape(batch, side * side, -1),
                "pixel_attention_mask": None,
                "spatial_shapes": torch.tensor([[side, side]] * batch),
            }
        if self.kind == "florence_vision":
            return {"hidden_states": x}
        inputs: dict[str, Any] = {"pixel_values": x}
        if self.interpolate:
            inputs["interpolate_pos_encoding"] = True
        if self.kind == "vit_mae":
            # It shuffles its patches by noise, unless the noise is in order already.
            inputs["noise"] = torch.arange(side * side, device=x.device).expand(batch, -1)
        return inputs


def _settings(config: EncoderConfig) -> Any:
    """The transformers config of a saved model's `backbone`, or of a folder or hub id."""
    if config.backbone is None:
        return _pretrained_settings(config.name)
    stored = dict(config.backbone)
    with sentences(config.name):
        return AutoConfig.for_model(stored.pop("model_type", ""), **stored)


def _pretrained_settings(name: str) -> Any:
    """The transformers config of a folder or hub id; of two towers, the vision tower's."""
    folder = local_folder(name)
    if folder is None and name.startswith(("/", ".", "~")):
        raise ModelError(f"There is no encoder folder {name}.")
    with sentences(name):
        found = AutoConfig.from_pretrained(str(folder or name), trust_remote_code=False)
    return getattr(found, "vision_config", found)


def _load(name: str, settings: Any) -> Any:
    """The pretrained model in float32, every weight that is used or a ModelError."""
    tower = _tower(settings)
    part = {"key_mapping": {TOWERS[settings.model_type][2]: ""}} if tower else {}
    with sentences(name):
        net, info = (tower or AutoModel).from_pretrained(
            str(local_folder(name) or name), config=settings, dtype=torch.float32,
            use_safetensors=True, trust_remote_code=False, output_loading_info=True,
            ignore_mismatched_sizes=True, **part,
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


def _tower(settings: Any) -> Any:
    """The class of a vision tower that AutoModel does not know; None for those that it knows."""
    if settings.model_type not in TOWERS:
        return None
    module, name, _ = TOWERS[settings.model_type]
    return getattr(import_module(f"transformers.models.{module}.modeling_{module}"), name)


def _as_json(settings: Any) -> dict[str, Any]:
    """A transformers config as plain JSON values, without what does not shape the model."""
    data = json.loads(settings.to_json_string(use_diff=False))
    return {key: value for key, value in data.items() if key not in IDLE}


def _patches_across(config: EncoderConfig, settings: Any) -> int:
    """How many patches lie side by side; 0 for the kinds that give the shape of their map.

    Raises ModelError where patches do not fill the photograph: its right and lower edge would be
    seen by no cell.
    """
    if settings.model_type not in CLASS_TOKENS:
        return 0
    if settings.model_type == "dinov3_convnext":
        # A stem of stride 4, then one halving a stage.
        return int(config.size // (4 * 2 ** (len(settings.hidden_sizes) - 1)))
    size, patch = config.size, _length(settings.patch_size)
    if size % patch:
        below = size // patch * patch
        raise ModelError(
            f"The encoder {config.name} cuts the photograph into patches of {patch} pixels, so its "
            f"size must be a multiple of {patch}, not {size}: "
            f"{f'{below} or ' if below else ''}{below + patch}."
        )
    return size // patch


def _length(side: Any) -> int:
    """The side of a square that a library gives as one number or as (height, width)."""
    return int(side[0] if isinstance(side, (list, tuple)) else side)
