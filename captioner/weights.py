"""How a model's weights are stored: as floats of one kind, or in 8 bits.

In 8 bits ("int8") every tensor of two or more dimensions becomes whole numbers from -127 to 127,
with a scale for each row, so that row i is `scale[i] * numbers[i]`: the usual symmetric
quantisation by the largest absolute value (Jacob et al. 2018; weights only). What has one
dimension, biases and norms, stays float16. Weights are run as floats again; only the file is small.
"""

import torch
from torch import Tensor

from .errors import ModelError

_FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED = (*_FLOATS, "int8")
SCALE = ".scale"  # a tensor's scales are stored under its name and this


def pack(state: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The tensors to store, contiguous; `kind` is one of STORED."""
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            stored[name] = tensor.contiguous()
        elif kind == "int8" and tensor.ndim > 1:
            stored[name], stored[name + SCALE] = _quantised(tensor.float())
        else:
            stored[name] = tensor.to(_FLOATS.get(kind, torch.float16)).contiguous()
    return stored


def unpack(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` was given: floats as they were stored, numbers of 8 bits as float32.

    Raises ModelError for scales that do not fit their tensor.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        scale = stored.get(name + SCALE)
        if scale is not None:
            if tensor.dtype != torch.int8 or scale.shape != tensor.shape[:1]:
                raise ModelError(f"the scales of {name!r} do not fit it.")
            state[name] = tensor.float() * _column(scale.float(), tensor.ndim)
        elif not (name.endswith(SCALE) and name.removesuffix(SCALE) in stored):
            state[name] = tensor
    return state


def _quantised(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """int8 of the same shape, and bfloat16 scales (rows,).

    A scale of 8 significant bits times a number of 7 is exact in float32, and the largest number of
    a row is always 127: so what was unpacked packs to the same bytes again.
    """
    largest = tensor.flatten(1).abs().amax(1)
    scale = (largest / 127).to(torch.bfloat16)
    divisor = torch.where(scale > 0, scale, 1).float()
    numbers = (tensor / _column(divisor, tensor.ndim)).round().clamp(-127, 127)
    return numbers.to(torch.int8).contiguous(), scale


def _column(values: Tensor, ndim: int) -> Tensor:
    return values.view(-1, *[1] * (ndim - 1))
