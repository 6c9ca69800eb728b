"""The text decoder: a pre-norm transformer whose every layer attends to the patch features.

Each layer is causal self-attention over the caption so far, cross-attention to the photograph, and
an MLP, each behind a LayerNorm with a residual around it (Vaswani et al. 2017; pre-norm as in Xiong
et al. 2020). Input embedding and output projection share one matrix (Press and Wolf 2017).

Two things make it quick. The keys and values of cross-attention are computed once per photo
(`photo_memory`), and rows of the same photo (its beams, or its five captions in training) share
them: their queries are laid side by side, so the memory is never copied. Self-attention keeps a
cache of keys and values (`cache`), so a step costs one token.

Rows are grouped by photo: with B photos and K rows a photo, row r belongs to photo r // K.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KeyValue = tuple[Tensor, Tensor]


@dataclass
class DecoderConfig:
    """Sizes of the decoder; `positions` is the longest caption in tokens, begin token included.

    Dropout is on the embeddings and on what each sublayer adds, not on attention weights, which
    would shut torch out of its fused attention on a CPU.
    """

    vocab_size: int = 6000
    width: int = 384
    layers: int = 3
    heads: int = 6
    mlp_ratio: float = 4.0
    positions: int = 64
    dropout: float = 0.1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class SelfAttention(nn.Module):
    """Causal multi-head self-attention with an optional cache."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, past: KeyValue | None = None) -> tuple[Tensor, KeyValue]:
        """x (R, T, D), past keys and values (R, H, P, d) -> (R, T, D) and the longer past."""
        q, k, v = (_split(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if past is not None:
            k = torch.cat([past[0], k], dim=2)
            v = torch.cat([past[1], v], dim=2)
        # With a past, only single steps are asked for: one query sees all keys.
        y = _attend(q, k, v, causal=past is None)
        return self.out(_merge(y)), (k, v)


class CrossAttention(nn.Module):
    """Multi-head attention from the caption (queries) to the photograph (keys and values)."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.heads = config.heads
        self.q = nn.Linear(config.width, config.width)
        self.kv = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def memory(self, patches: Tensor) -> KeyValue:
        """patches (B, N, D) -> keys and values, each (B, H, N, d)."""
        k, v = self.kv(patches).chunk(2, dim=-1)
        return _split(k, self.heads), _split(v, self.heads)

    def forward(self, x: Tensor, memory: KeyValue) -> Tensor:
        """The fast path: x (R, T, D), memory of B photos -> (R, T, D), R a multiple of B."""
        q = self._queries(x, len(memory[0]))
        y = _attend(q, *memory, causal=False)
        out: Tensor = self.out(_merge(y).reshape(x.shape))
        return out

    def explicit(self, x: Tensor, memory: KeyValue) -> tuple[Tensor, Tensor]:
        """The same, with its weights softmax(Q K^T / sqrt(d)): (R, T, D) and (R, H, T, N)."""
        k, v = memory
        q = self._queries(x, len(k))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        y = self.out(_merge(weights @ v).reshape(x.shape))
        rows, length = x.shape[:2]
        photos, heads, _, patches = weights.shape
        weights = weights.view(photos, heads, rows // photos, length, patches)
        return y, weights.transpose(1, 2).reshape(rows, heads, length, patches)

    def _queries(self, x: Tensor, photos: int) -> Tensor:
        """(B*K, T, D) -> (B, H, K*T, d): the rows of one photo side by side."""
        return _split(self.q(x).reshape(photos, -1, x.shape[-1]), self.heads)


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        inner = int(config.width * config.mlp_ratio)
        self.norm_self = nn.LayerNorm(config.width)
        self.self_attention = SelfAttention(config)
        self.norm_cross = nn.LayerNorm(config.width)
        self.cross_attention = CrossAttention(config)
        self.norm_mlp = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, inner), nn.GELU(), nn.Linear(inner, config.width)
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, memory: KeyValue | None, past: KeyValue | None, explicit: bool
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        y, present = self.self_attention(self.norm_self(x), past)
        x = x + self.drop(y)
        weights = None
        if memory is not None:
            if explicit:
                y, weights = self.cross_attention.explicit(self.norm_cross(x), memory)
            else:
                y = self.cross_attention(self.norm_cross(x), memory)
            x = x + self.drop(y)
        return x + self.drop(self.mlp(self.norm_mlp(x))), present, weights


class TextDecoder(nn.Module):
    """Token ids and a photo's memory -> logits of the next token."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Embedding(config.positions, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        # Training may trade time for memory: a layer's activations are computed again (`_run`).
        self.checkpointing = False
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        # GPT-2's scheme: small normals, and smaller still where a residual branch ends.
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, (SelfAttention, CrossAttention)):
            nn.init.normal_(module.out.weight, std=0.02 / math.sqrt(3 * self.config.layers))
        if isinstance(module, Layer):
            last: Any = module.mlp[2]
            nn.init.normal_(last.weight, std=0.02 / math.sqrt(3 * self.config.layers))

    def photo_memory(self, patches: Tensor) -> list[KeyValue]:
        """patches (B, N, D) -> for each layer its cross-attention keys and values (B, H, N, d)."""
        return [layer.cross_attention.memory(patches) for layer in self.layers]  # type: ignore[union-attr,operator]

    def forward(
        self,
        ids: Tensor,
        memory: list[KeyValue] | None,
        past: list[KeyValue] | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """The fast path.

        ids (R, T) int64; memory from `photo_memory`, or None to run as a plain language model;
        past from the last call, for a single further token. Returns logits (R, T, V) and the past.
        """
        x, present, _ = self._run(ids, memory, past, explicit=False)
        return self._logits(x), present

    def hidden(self, ids: Tensor, memory: list[KeyValue] | None) -> Tensor:
        """The last layer's states (R, T, D), before the output projection."""
        return self._run(ids, memory, None, explicit=False)[0]

    def pointed(
        self, ids: Tensor, memory: list[KeyValue], layers: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """As `hidden`, and the cross-attention weights of some layers (R, l, H, T, N)."""
        x, _, weights = self._run(ids, memory, None, explicit=True)
        found = [w for w in weights if w is not None]
        return x, torch.stack([found[layer] for layer in layers], dim=1)

    def explain(self, ids: Tensor, memory: list[KeyValue]) -> tuple[Tensor, Tensor]:
        """The second look: one pass over finished captions, with explicit attention.

        ids (R, T). Returns logits (R, T, V) and cross-attention weights (R, L, H, T, N), each row
        of the last axis summing to 1; position t is what the model looked at when it read token t
        and wrote token t + 1.
        """
        x, _, weights = self._run(ids, memory, None, explicit=True)
        return self._logits(x), torch.stack([w for w in weights if w is not None], dim=1)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self.embed.weight)

    def _run(
        self,
        ids: Tensor,
        memory: list[KeyValue] | None,
        past: list[KeyValue] | None,
        explicit: bool,
    ) -> tuple[Tensor, list[KeyValue], list[Tensor | None]]:
        start = 0 if past is None else past[0][0].shape[2]
        places = torch.arange(start, start + ids.shape[1], device=ids.device)
        x = self.drop(self.embed(ids) + self.position(places))
        present, weights = [], []
        for i, layer in enumerate(self.layers):
            inputs = (
                x,
                None if memory is None else memory[i],
                None if past is None else past[i],
                explicit,
            )
            if self.checkpointing and torch.is_grad_enabled():
                x, key_value, layer_weights = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x, key_value, layer_weights = layer(*inputs)
            present.append(key_value)
            weights.append(layer_weights)
        return self.norm(x), present, weights


def _attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Attention whose weights nobody asks for, (R, H, T, d) over (R, H, S, d): torch's fused one,
    but plain products where gradients are wanted on a CPU, which there take a quarter of the time
    at the length of a caption."""
    if not (q.device.type == "cpu" and q.requires_grad and torch.is_grad_enabled()):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    if causal:
        later = torch.full(scores.shape[-2:], -torch.inf, dtype=scores.dtype)
        scores = scores + later.triu(1)
    return torch.softmax(scores, dim=-1) @ v


def _split(x: Tensor, heads: int) -> Tensor:
    """(R, T, D) -> (R, H, T, d)."""
    rows, length, width = x.shape
    return x.view(rows, length, heads, width // heads).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    """(R, H, T, d) -> (R, T, D)."""
    return x.transpose(1, 2).flatten(2)
