"""How a model's weights are stored: as floats of one kind, or in 8 bits.

In 8 bits ("int8") every tensor of two or more dimensions becomes whole numbers from -127 to 127,
with a scale for each row, so that row i is `scale[i] * numbers[i]`: the usual symmetric
quantisation by the largest absolute value (Jacob et al. 2018; weights only). What has one
dimension, biases and norms, stays float16. Weights are run as floats again; only the file is small.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from .errors import ModelError

_FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED = (*_FLOATS, "int8")
_DRAWS = (init.kaiming_uniform_, init.normal_, init.uniform_)
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


def shapes(stored: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The names of the tensors that `pack` was given, and their shapes."""
    return {name: tuple(t.shape) for name, t in stored.items() if not _is_scale(name, stored)}


def unpack(stored: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What `pack` was given, one after another, since floats take four times what 8 bits do: floats
    as they were stored, numbers of 8 bits as float32.

    Raises ModelError for scales that do not fit their tensor.
    """
    for name, tensor in stored.items():
        scale = stored.get(name + SCALE)
        if scale is not None:
            if tensor.dtype != torch.int8 or scale.shape != tensor.shape[:1]:
                raise ModelError(f"the scales of {name!r} do not fit it.")
            yield name, tensor.float() * _column(scale.float(), tensor.ndim)
        elif not _is_scale(name, stored):
            yield name, tensor


class Undrawn(TorchFunctionMode):
    """Within it, parameters are not drawn but have what is in their memory: for a model whose
    weights are about to be read from a file."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


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


def _is_scale(name: str, stored: dict[str, Tensor]) -> bool:
    return name.endswith(SCALE) and name.removesuffix(SCALE) in stored
