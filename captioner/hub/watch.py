"""The attention of a model of the library, kept where it is wanted.

The library gives attention weights of all queries to all keys, of every layer at once, and only in
its slow mode, which is a switch of the whole model. Here a model has an attention function of ours:
the library's fast one, which in a thread that watches keeps the weights of some queries to some
keys besides, computed explicitly.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

NAME = "captioner"


class Watch(threading.local):
    """What this thread keeps: `kept` gets (B, H, rows, columns) of each layer that is run; it is
    None when nothing is kept."""

    kept: list[Tensor] | None = None
    rows: slice
    columns: slice | Tensor
    length: int | None
    modules: Collection[int] | None


WATCH = Watch()


@contextlib.contextmanager
def watching(
    rows: slice,
    columns: slice | Tensor,
    within: nn.Module | None = None,
    *,
    length: int | None = None,
) -> Iterator[list[Tensor]]:
    """Keep the attention of queries `rows` to keys `columns`, of the layers within a module.

    length: how many keys there are in all, where a layer may have kept only the last of them; to
    those that are lost it pays no attention.
    """
    WATCH.rows, WATCH.columns, WATCH.length = rows, columns, length
    WATCH.modules = None if within is None else {id(module) for module in within.modules()}
    kept: list[Tensor] = []
    WATCH.kept = kept
    try:
        yield kept
    finally:
        WATCH.kept = None


def watchable(model: Any) -> bool:
    """Give a model of the library the attention function that can be watched, and say whether it
    takes one."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
        **how: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        if WATCH.kept is not None and (WATCH.modules is None or id(module) in WATCH.modules):
            WATCH.kept.append(_weights(module, query, key, mask, **how))
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **how)
        return out

    if NAME not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    if model.config._attn_implementation != "sdpa":  # it has some reason for another
        return False
    model.set_attn_implementation(NAME)
    return bool(model.config._attn_implementation == NAME)


def _weights(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, *,
    scaling: float | None = None, is_causal: bool | None = None,
    position_bias: Tensor | None = None, **_: Any,
) -> Tensor:  # fmt: skip
    """The formula written out, for the queries and keys that are watched."""
    queries, keys = query.shape[2], key.shape[2]
    rows = torch.arange(queries, device=query.device)[WATCH.rows]
    groups = query.shape[1] // key.shape[1]  # heads that share their keys
    key = key.repeat_interleave(groups, dim=1) if groups > 1 else key
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[3])
    scores = (query[:, :, rows] @ key.transpose(2, 3)).float() * scale
    if position_bias is not None:
        scores = scores + position_bias[:, :, rows]
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    if mask is None and causal and queries > 1:
        seen = rows[:, None] + keys - queries >= torch.arange(keys, device=rows.device)
        scores = scores.masked_fill(~seen, -torch.inf)
    elif mask is not None:
        mask = mask[:, :, rows if mask.shape[2] > 1 else slice(None), :keys]
        scores = (
            scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        )
    weights = scores.softmax(dim=-1)
    lost = WATCH.length - keys if WATCH.length is not None else 0
    if lost:
        weights = torch.nn.functional.pad(weights, (lost, 0))
    return weights[..., WATCH.columns]
