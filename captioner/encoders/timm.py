"""Backbones of timm: any image model whose feature map timm can give."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
from timm.models import get_pretrained_cfg, group_parameters
from torch import Tensor, nn

from ..errors import ModelError
from .base import PatchEncoder
from .config import EncoderConfig
from .sources import hub_file, local_folder, sentences

# Their last norm belongs to the classifier, and timm's map comes without it.
WITHOUT_NORM = ("Hiera", "HieraDet")
# Arguments of timm.create_model that `model_args` may not set: they are decided here, or would
# load files that are not safetensors.
OURS = (
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
    "num_classes", "global_pool", "img_size", "in_chans",
)  # fmt: skip


class TimmEncoder(PatchEncoder):
    """A timm image model.

    `name` is an architecture ("resnet18", random weights), an architecture with a tag
    ("resnet18.a1_in1k", weights from the hub), "hf-hub:owner/model", or a local folder as timm's
    save_for_hf writes it.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        if config.backbone is None:
            source = _source(config.name)
            net = _create(source.architecture, source.model_args, config.size)
            if source.fetch is not None:
                _load(net, source, config)
                config.found = {
                    "architecture": source.architecture,
                    "model_args": source.model_args,
                }
        else:
            stored = config.backbone
            if not isinstance(stored.get("architecture"), str):
                raise ModelError('The encoder\'s `backbone` names no timm "architecture".')
            net = _create(stored["architecture"], stored.get("model_args") or {}, config.size)
        self.backbone = net
        self.split = config.frozen_stages
        parts = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
        if self.split and not all(hasattr(net, part) for part in parts):
            raise ModelError(
                f"frozen_stages is for EfficientNet-like backbones; {config.name} has no such "
                "blocks. Set it to 0."
            )
        if self.split and self.split > (count := len(net.blocks)):
            raise ModelError(f"{config.name} has {count} blocks; frozen_stages is {self.split}.")
        self._finish()

    @staticmethod
    def preparation(name: str) -> tuple[Sequence[float], Sequence[float], int]:
        cfg = _source(name).cfg
        return cfg["mean"], cfg["std"], cfg["input_size"][-1]

    @staticmethod
    def has_weights(name: str) -> bool:
        return _source(name).fetch is not None

    def trunk(self, x: Tensor) -> Tensor:
        net: Any = self.backbone
        if self.split:
            x = net.blocks[: self.split](net.bn1(net.conv_stem(x)))
        return x

    def trunk_parameters(self) -> list[nn.Parameter]:
        if not self.split:
            return []
        net: Any = self.backbone
        parts = (net.conv_stem, net.bn1, net.blocks[: self.split])
        return [p for part in parts for p in part.parameters()]

    def feature_map(self, x: Tensor) -> Tensor:
        net: Any = self.backbone
        final: Tensor
        last: Tensor
        if self.split:
            final = net.bn2(net.conv_head(net.blocks[self.split :](x)))
            return final
        final, [last] = net.forward_intermediates(
            x, indices=1, norm=type(net).__name__ not in WITHOUT_NORM, output_fmt="NCHW"
        )
        if not isinstance(last, Tensor) or last.ndim != 4:
            raise ModelError(f"timm's {self.config.name} has no feature map to attend to.")
        # The map is of the last stage. Layers may follow: a convolution in the EfficientNet family,
        # class attention in XCiT. Where they give a map or patches, the features are theirs.
        prefix = getattr(net, "num_prefix_tokens", None)
        channels_last = last.permute(0, 2, 3, 1)
        if isinstance(final, Tensor) and final.ndim == 4 and final.shape != channels_last.shape:
            return final
        if isinstance(final, Tensor) and final.ndim == 3 and prefix is not None:
            return final[:, prefix:].mT.reshape(last.shape)
        return last

    def blocks(self) -> list[list[nn.Parameter]]:
        net: Any = self.backbone
        if not hasattr(net, "group_matcher"):
            return super().blocks()
        groups = group_parameters(net, net.group_matcher(coarse=False), return_values=True)
        return [groups[number] for number in sorted(groups)]


class _Source(NamedTuple):
    """What a name stands for.

    cfg: timm's description of how the weights were trained: mean, std, input_size and more.
    fetch: gives the path of a file that belongs to it; None where the weights are random.
    """

    architecture: str
    model_args: dict[str, Any]
    cfg: dict[str, Any]
    fetch: Callable[[str], Path] | None


def _source(name: str) -> _Source:
    if "." not in name and timm.is_model(name):  # is_model looks past a tag
        return _Source(name, {}, _description(name), None)
    fetch: Callable[[str], Path]
    if name.startswith("hf-hub:"):
        fetch = partial(hub_file, name.removeprefix("hf-hub:"))
    elif folder := local_folder(name.removeprefix("local-dir:")):
        fetch = folder.joinpath
    else:
        architecture = name.split(".")[0]
        cfg = _description(name) if timm.is_model(architecture) else {}
        if not cfg:
            raise ModelError(
                f"timm has no model named {name!r}, and there is no such folder; "
                "`timm.list_models()` lists its names. A model of the Hugging Face hub is written "
                "hf-hub:owner/model."
            )
        if not cfg.get("hf_hub_id"):
            raise ModelError(f"timm has no safetensors weights for {name!r}.")
        return _Source(architecture, {}, cfg, partial(hub_file, cfg["hf_hub_id"]))
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
    model_args = {k: v for k, v in (data.get("model_args") or {}).items() if k not in OURS}
    return _Source(architecture, model_args, _description(architecture) | cfg, fetch)


def _description(name: str) -> dict[str, Any]:
    """timm's description of an architecture, or of one of its tags; {} for an unknown tag."""
    try:
        found = get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        return {}
    # An architecture that has no pretrained weights gets the defaults of the class.
    return dict(found.to_dict()) if found is not None else {}


def _create(architecture: str, model_args: dict[str, Any], size: int, **extra: Any) -> Any:
    """A timm model with random weights, without its classifier; for `size` where it must know."""
    if not timm.is_model(architecture):
        raise ModelError(
            f"timm has no model named {architecture!r}; `timm.list_models()` lists its names."
        )
    args = {k: v for k, v in model_args.items() if k not in OURS}
    if _description(architecture).get("fixed_input_size"):
        args["img_size"] = size
    if extra:  # the whole model with its pretrained weights
        with sentences(architecture):
            return timm.create_model(architecture, **args, **extra)
    with sentences(f"{architecture} at {size}x{size} pixels"):
        try:
            return timm.create_model(
                architecture, pretrained=False, num_classes=0, global_pool="", **args
            )
        except AssertionError:
            # A few models insist on their pool; the features come before it.
            return timm.create_model(architecture, pretrained=False, num_classes=0, **args)


def _load(net: nn.Module, source: _Source, config: EncoderConfig) -> None:
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
    whole = _create(
        source.architecture, source.model_args, config.size,
        pretrained=True, pretrained_cfg=cfg, num_classes=cfg.get("num_classes", 1000),
    )  # fmt: skip
    state = whole.state_dict()
    for part in ("weight", "bias"):
        # Models trained with a mean pool normalise after it; here each patch is normalised.
        if f"norm.{part}" not in state and f"fc_norm.{part}" in state:
            state[f"norm.{part}"] = state[f"fc_norm.{part}"]
    with sentences(config.name):
        missing = net.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise ModelError(f"The encoder {config.name} lacks the weights of {missing[0]!r}.")
