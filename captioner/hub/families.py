"""Which family a checkpoint belongs to, and how that is loaded."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch

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
    weights, or it does not fit into memory.
    """
    checkpoint = locate(name, revision)
    module = family(checkpoint)
    check_weights(checkpoint)
    return import_module(f"{__package__}.{module}").load(checkpoint, device=device, dtype=dtype)


def family(checkpoint: Checkpoint) -> str:
    """The module that loads a checkpoint. Raises ModelError for one that none knows."""
    if checkpoint.kind in FAMILIES:
        return FAMILIES[checkpoint.kind]
    raise ModelError(
        f"{checkpoint.name} is a {checkpoint.kind or 'nameless'!r}, which cannot be used here. "
        f"Known are {', '.join(sorted(FAMILIES))}; without a model's name, the model in the box "
        "captions."
    )


def check_weights(checkpoint: Checkpoint) -> None:
    """Raises ModelError when a checkpoint has no safetensors weights."""
    if checkpoint.weights:
        return
    pickles = sorted(p.name for kind in ("*.bin", "*.pt") for p in checkpoint.folder.glob(kind))
    why = (
        f"; its {pickles[0]} is a pickle, which can run code and is never loaded" if pickles else ""
    )
    raise ModelError(f"{checkpoint.name} has no safetensors weights{why}.")
