"""What the machine gives: cores, bfloat16, a GPU; and the device and dtype to use on it.

torch is imported when it is asked of: the cores are wanted before it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CaptionerError

if TYPE_CHECKING:
    import torch


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or ARM's BF16).

    Without it torch still computes in bfloat16, but slower than in float32.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = set(
        next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), "").split()
    )
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def choose_device(name: str | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, Apple's MPS, else the CPU."""
    import torch

    if name in (None, "", "auto"):
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CaptionerError(
            f"The device {name!r} cannot be used here; try --device cpu, or leave it out."
        ) from error
    return device


DTYPES = ("float32", "bfloat16", "float16")


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The dtype asked for, or the one to use: bfloat16 on a GPU that has it, else float32.

    On a CPU the default is float32 even where bfloat16 is in hardware, so that captions are the
    same on every machine; whether bfloat16 is quicker there, `python -m eval speed` tells.
    """
    import torch

    if name in (None, "", "auto"):
        if device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.bfloat16
        return torch.float32
    if name not in DTYPES:
        raise CaptionerError(f"There is no dtype {name!r}; choose one of {', '.join(DTYPES)}.")
    found: torch.dtype = getattr(torch, name)
    return found


def describe() -> dict[str, object]:
    """What `captioner info` says of the machine."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cores": cores(),
        "bfloat16": has_bfloat16(),
        "gpu": gpu or ("Apple MPS" if torch.backends.mps.is_available() else None),
        "torch": torch.__version__,
    }
