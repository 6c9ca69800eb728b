"""numpy arrays and torch tensors as PIL images. torch is not imported: who has a tensor has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from captioner.errors import PhotoError

from .limits import Limits, check_size

if TYPE_CHECKING:
    import torch


def from_array(array: np.ndarray, label: str, limits: Limits) -> Image.Image:
    takes = "takes (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16, bool, or float 0..1"
    got = f"{label} is an array of shape {array.shape} and dtype {array.dtype}"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "."
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; np.moveaxis(array, 0, -1) puts the channels last."
        elif array.ndim == 4:
            hint = "; give the photos of a batch one by one."
        raise PhotoError(f"{got}; a photo {takes}{hint}")
    check_size((array.shape[1], array.shape[0]), label, limits)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.rint(array.astype(np.float32) / 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        array = _from_floats(array, got)
    elif array.dtype != np.uint8:
        raise PhotoError(f"{got}; a photo {takes}.")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _from_floats(array: np.ndarray, got: str) -> np.ndarray:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PhotoError(f"{got} with values that are not numbers (NaN or infinite).")
    if low < -1e-3 or high > 1 + 1e-3:  # a little over is what interpolation leaves
        raise PhotoError(f"{got} with values {low:g}..{high:g}; floats are taken in 0..1.")
    return np.rint(np.clip(array.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def from_tensor(tensor: torch.Tensor, label: str, limits: Limits) -> Image.Image:
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    floating = tensor.dtype.is_floating_point
    if len(shape) != 3 or shape[0] not in (1, 3) or not (floating or dtype == "uint8"):
        hint = "; give the photos of a batch one by one." if len(shape) == 4 else "."
        raise PhotoError(
            f"{label} is a tensor of shape {shape} and dtype {dtype}; a photo takes (3, H, W) or"
            f" (1, H, W) of uint8, or float 0..1{hint}"
        )
    tensor = tensor.detach().cpu()
    array = (tensor.float() if floating else tensor).numpy()
    return from_array(np.moveaxis(array, 0, -1), label, limits)
