"""Checkpoints whose text looks at the photo by cross-attention, under our own search.

The library repeats a photo's keys and values for each of its beams and reorders the copies at every
step. Here they are computed once a photo; the cross-attention of a checkpoint is replaced by a
module over its own weights that lets the rows of a photo share them: the rows are laid side by side
as more queries (docs/cross-attention.md). The same module gives the weights of the second look.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.decoder import KeyValue
from captioner.evidence import fade
from captioner.photos import Photo
from captioner.request import Request

from .base import HubModel, Seen


class Reading(threading.local):
    """What the cross-attention modules of a model read at the moment, in each thread its own.

    memory: keys and values of each layer, (B, H, N, d). mask: (B, 1, 1, N), True where there is
    something; None where all is. weights: the layers' attention (B, H, T, N), while it is kept.
    """

    memory: Sequence[KeyValue] = ()
    mask: Tensor | None = None
    weights: list[Tensor] | None = None


class CrossAttention(nn.Module):
    """A cross-attention layer of a checkpoint over its own modules `query`, `keys_values` (which
    gives both) and `output`, in place of the library's. It returns as many things as that does."""

    def __init__(
        self,
        reading: Reading,
        layer: int,
        *,
        query: nn.Module,
        keys_values: nn.Module,
        heads: int,
        output: nn.Module | None = None,
        scale: float | None = None,
        returns: int = 2,
    ):
        super().__init__()
        self.reading, self.layer, self.heads, self.returns = reading, layer, heads, returns
        self.query, self.keys_values, self.output = query, keys_values, output or nn.Identity()
        self.scale = scale

    def memory(self, states: Tensor) -> KeyValue:
        """Encoder states (B, N, C) -> keys and values (B, H, N, d)."""
        k, v = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2).contiguous()
            for x in self.keys_values(states)
        )
        return k, v

    def forward(self, x: Tensor, *_: Any, **__: Any) -> tuple[Tensor | None, ...]:
        """x (R, T, D), the rows of a photo side by side."""
        keys, values = self.reading.memory[self.layer]
        mask = self.reading.mask
        rows, length = x.shape[:2]
        queries = self.query(x)
        queries = queries.reshape(len(keys), -1, self.heads, queries.shape[2] // self.heads)
        queries = queries.transpose(1, 2)  # (B, H, rows of a photo * T, d)
        if self.reading.weights is None:
            mixed = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, scale=self.scale
            )
        else:
            scale = self.scale if self.scale is not None else 1 / math.sqrt(queries.shape[3])
            scores = queries @ keys.transpose(2, 3) * scale
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            weights = scores.softmax(dim=-1)
            self.reading.weights.append(weights)
            mixed = weights @ values
        out = self.output(mixed.transpose(1, 2).reshape(rows, length, -1))
        return out, *[None] * (self.returns - 1)


def share_photos(net: nn.Module, reading: Reading) -> list[CrossAttention]:
    """Put a CrossAttention in the place of every cross-attention of a model, first layer first.

    The library writes them in a few ways: those of BERT and its kin, GPT-2, BART, and T5.
    """
    made: list[CrossAttention] = []
    for name, old in list(net.named_modules()):
        parts: dict[str, Any]
        if name.endswith("crossattention.self"):
            parts = {
                "query": old.query, "keys_values": Pair(old.key, old.value),
                "heads": old.num_attention_heads,
            }  # fmt: skip
        elif name.endswith("crossattention") and hasattr(old, "c_attn"):
            parts = {
                "query": old.q_attn, "keys_values": Halves(old.c_attn), "heads": old.num_heads,
                "output": old.c_proj, "scale": old.scaling,
            }  # fmt: skip
        elif name.endswith("encoder_attn"):
            parts = {
                "query": old.q_proj, "keys_values": Pair(old.k_proj, old.v_proj),
                "heads": old.num_heads, "output": old.out_proj, "scale": old.scaling,
            }  # fmt: skip
        elif name.endswith("encoder_decoder_attention.attention"):
            parts = {
                "query": old.query, "keys_values": Pair(old.key, old.value), "heads": old.n_heads,
                "output": old.output, "scale": old.scaling, "returns": 3,
            }  # fmt: skip
        elif name.endswith("EncDecAttention"):
            parts = {
                "query": old.q, "keys_values": Pair(old.k, old.v), "heads": old.n_heads,
                "output": old.o, "scale": old.scaling, "returns": 3,
            }  # fmt: skip
        else:
            continue
        made.append(CrossAttention(reading, len(made), **parts))
        net.set_submodule(name, made[-1])
    return made


class Pair(nn.Module):
    """A key and a value module as one that gives both."""

    def __init__(self, key: nn.Module, value: nn.Module):
        super().__init__()
        self.key, self.value = key, value

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.key(states), self.value(states)


class Halves(nn.Module):
    """A module whose output is the keys and the values side by side."""

    def __init__(self, both: nn.Module):
        super().__init__()
        self.both = both

    def forward(self, states: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.both(states).chunk(2, dim=-1))


@dataclass
class Looked(Seen):
    """Photos as keys and values: memory, mask as in `Reading`, of which the cells that the
    placements speak of, or the queries of the lens, begin at `first`."""

    memory: list[KeyValue]
    mask: Tensor | None
    first: int

    def part(self, photos: Sequence[int]) -> Self:
        index = torch.as_tensor(photos, device=self.memory[0][0].device)
        part = super().part(photos)
        part.memory = [(k[index], v[index]) for k, v in self.memory]
        part.mask = None if self.mask is None else self.mask[index]
        return part


class CrossModel(HubModel[Looked]):
    """A family gives `encode` (encoder states (B, N, C); and where it has one the mask (B, N) of
    the states to look at, or the lens (B, Q, cells) of `Seen`), `logits`, and `first`, which of the
    encoder's positions is the first cell of the photo."""

    first = 0

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self.reading = Reading()
        self.crosses = share_photos(self.net, self.reading)
        self.layers = [f"Layer {i + 1}" for i in range(len(self.crosses))]
        first = getattr(self.writing, "forced_bos_token_id", None)
        self.tokenizer.forced = () if first is None else (first,)

    def logits(self, ids: Tensor, states: Tensor, cache: Any) -> Tensor:
        """ids (R, T), a cache of what came before or None -> logits (R, T, V). `states` (R, 1, C)
        stands for the encoder's, which the layers have already."""
        raise NotImplementedError

    @torch.inference_mode()
    def see(self, photos: Sequence[Photo], request: Request) -> Looked:
        text, ids = self.prompt(request)
        parts = self.encoded(photos, text)
        states = torch.cat([part for part, _ in parts])
        others = [other for _, other in parts if other is not None]
        other = torch.cat(others) if others else None
        mask = other.bool()[:, None, None] if other is not None and other.dim() == 2 else None
        return Looked(
            [self.place(photo) for photo in photos], ids, other if mask is None else None,
            [cross.memory(states) for cross in self.crosses], mask, self.first,
        )  # fmt: skip

    def step(self, memory: Looked) -> Step:
        return Step(self, memory)

    @torch.inference_mode()
    def look(self, memory: Looked, captions: Sequence[Sequence[int]]) -> Iterable[Tensor]:
        longest = max(len(ids) for ids in captions)
        # Position t reads what stands before token t; the look at the end token is left out.
        before = [self.begin, *memory.prompt]
        rows = [[*before, *ids, *[self.begin] * (longest - len(ids))][:-1] for ids in captions]
        self.reading.weights = []
        try:
            self.run(torch.tensor(rows, device=self.device), memory, None)
            layers = self.reading.weights
        finally:
            self.reading.weights = None
        for i, ids in enumerate(captions):
            lens = None if memory.lens is None else memory.lens[i].float()
            count = memory.placements[i].cells if lens is None else len(lens)
            cells = slice(memory.first, memory.first + count)
            at = len(before) - 1
            weights = torch.stack([w[i, :, at : at + len(ids), cells] for w in layers]).float()
            yield (weights if lens is None else weights @ lens).cpu()

    @property
    def fades(self) -> bool:  # type: ignore[override]
        """Not where there are learned queries in place of cells."""
        return self.maps == "cross-attention"

    def faded(self, memory: Looked, shown: Tensor) -> Looked:
        return replace(memory, memory=fade(memory.memory, shown.to(self.device), memory.first))

    def read(self, ids: Tensor, memory: Looked) -> Tensor:
        return self.run(ids, memory, None)

    def run(self, ids: Tensor, memory: Looked, cache: Any) -> Tensor:
        """The decoder over the photos in `memory`: ids (R, T) -> logits (R, T, V)."""
        self.reading.memory, self.reading.mask = memory.memory, memory.mask
        try:
            nothing = memory.memory[0][0].new_zeros(1, 1, 1).expand(len(ids), 1, 1)
            return self.logits(ids, nothing, cache)
        finally:
            self.reading.memory, self.reading.mask = (), None


class Step:
    """The decoder as a `generation.Step`: holds the self-attention cache, follows the rows."""

    def __init__(self, model: CrossModel, memory: Looked):
        from transformers import DynamicCache, EncoderDecoderCache

        self.model, self.memory = model, memory
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.photo = torch.arange(len(memory.placements))  # which photo each row belongs to

    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        if parents is not None:
            self.cache.self_attention_cache.reorder_cache(parents)  # type: ignore[arg-type]
            # Photos that no row continues leave the memory, so that rows stay grouped by photo.
            photo = self.photo[parents.cpu()]
            alive = torch.unique_consecutive(photo)
            if len(alive) < len(self.memory.placements):
                self.memory = self.memory.part(alive.tolist())
                photo = torch.searchsorted(alive, photo)
            self.photo = photo
        return self.model.run(tokens, self.memory, self.cache)[:, -1]
