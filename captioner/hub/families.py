"""Which family a checkpoint belongs to, and how that is loaded."""

from __future__ import annotations

import contextlib
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from captioner.errors import ModelError

from .locate import Checkpoint, locate

FAMILIES = {
    "blip": "blip",
    "vision-encoder-decoder": "encoder_decoder",
    "florence2": "florence",
    "pix2struct": "pix2struct",
    "git": "git",
    "blip-2": "qformer",
    "instructblip": "qformer",
    "kosmos-2": "kosmos",
}
"""model_type in config.json -> the module here that loads it."""


def load_hub(
    name: str | Path, *, device: torch.device, dtype: torch.dtype, revision: str | None = None
) -> Any:
    """The model of a checkpoint by folder or hub name, ready on a device.

    Raises ModelError: there is none, it is of no family that is known here, it has no safetensors
    weights, or it does not fit into memory. All but the third are told before
    the weights are downloaded.
    """

    def look(checkpoint: Checkpoint, numbers: int | None) -> None:
        family(checkpoint)
        if numbers is not None:
            check_memory(checkpoint.name, numbers, device, dtype)

    checkpoint = locate(name, revision, look)
    module = family(checkpoint)
    check_weights(checkpoint)
    check_memory(checkpoint.name, sum(map(_numbers, checkpoint.weights)), device, dtype)
    return import_module(f"{__package__}.{module}").load(checkpoint, device=device, dtype=dtype)


def family(checkpoint: Checkpoint) -> str:
    """The module that loads a checkpoint. Raises ModelError for one that none knows."""
    from transformers.models.auto import modeling_auto as auto

    if checkpoint.kind in FAMILIES:
        return FAMILIES[checkpoint.kind]
    if checkpoint.kind in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return "chat"
    code = " with code of its own, which is never run" if "auto_map" in checkpoint.config else ""
    raise ModelError(
        f"{checkpoint.name} is a {checkpoint.kind or 'nameless'!r}{code}: it cannot be used "
        f"here. Known are {', '.join(sorted(FAMILIES))}, and the library's chat models that read "
        "images; without a model's name, the model in the box captions."
    )


def check_weights(checkpoint: Checkpoint) -> None:
    """Raises ModelError when a checkpoint has no safetensors weights."""
    if checkpoint.weights:
        return
    raise ModelError(
        f"{checkpoint.name} has no safetensors weights, and pickles, which can run code, are never "
        f"loaded: `captioner models --convert {checkpoint.source}` makes safetensors of them."
    )


def check_memory(name: str, numbers: int, device: torch.device, dtype: torch.dtype) -> None:
    """Raises ModelError when the weights alone, so many numbers, need more memory than is free."""
    free = free_memory(device)
    need = numbers * dtype.itemsize
    if free is not None and need > free:
        raise ModelError(
            f"{name} needs {need / 1e9:.1f} GB of memory for its weights in "
            f"{str(dtype).removeprefix('torch.')}, and {device} has {free / 1e9:.1f} GB free."
        )


def _numbers(file: Path) -> int:
    """How many numbers a safetensors file holds, by its header."""
    with safe_open(file, framework="pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return None
