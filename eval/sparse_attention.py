"""Cross-attention that looks at less of a photo: what `python -m eval cost sparse` compares.

- the strongest keys: each head of each query attends only to the k keys with the highest scores
  (Gupta et al. 2021, Memory-efficient Transformers via Top-k Attention);
- pooled: the mean of 2x2 cells of the grid stands for its four patches;
- merged: alike patches become one inside a vision transformer, block by block (ToMe: Bolya et al.
  2023, Token Merging: Your ViT But Faster).

What groups patches is `group` (B, N) int64: the group that each patch belongs to, of n. As long as
softmax counts a group by its size (ToMe's proportional attention), n groups and N patches of which
each has the mean of its group give the same output. So the maps are undone by themselves: each
patch of a group has an even part of its weight.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.decoder import CrossAttention, KeyValue


class Strongest(nn.Module):
    """In place of a `CrossAttention`: each head of each query sees its `count` strongest keys."""

    def __init__(self, whole: CrossAttention, count: int):
        super().__init__()
        self.whole = whole
        self.count = count

    def memory(self, patches: Tensor) -> KeyValue:
        return self.whole.memory(patches)

    def forward(self, x: Tensor, memory: KeyValue) -> Tensor:
        """As `CrossAttention.forward`; only the values that are kept are read."""
        weights, kept = self._kept(x, memory)
        values = memory[1]  # (B, H, N, d)
        index = kept.flatten(2).unsqueeze(-1).expand(-1, -1, -1, values.shape[-1])
        picked = values.gather(2, index).view(*kept.shape, -1)  # (B, H, Q, k, d)
        return self._out(x, (weights.unsqueeze(-2) @ picked).squeeze(-2))

    def explicit(self, x: Tensor, memory: KeyValue) -> tuple[Tensor, Tensor]:
        """As `CrossAttention.explicit`: the weights of what is not kept are 0."""
        some, kept = self._kept(x, memory)
        photos, heads, queries, _ = kept.shape
        weights = some.new_zeros(photos, heads, queries, memory[0].shape[2]).scatter(3, kept, some)
        y = self._out(x, weights @ memory[1])
        rows, length = x.shape[:2]
        weights = weights.view(photos, heads, rows // photos, length, -1)
        return y, weights.transpose(1, 2).reshape(rows, heads, length, -1)

    def _kept(self, x: Tensor, memory: KeyValue) -> tuple[Tensor, Tensor]:
        """Weights (B, H, Q, k) and which keys they are of."""
        q = self.whole._queries(x, len(memory[0]))
        scores = q @ memory[0].transpose(-1, -2) / math.sqrt(q.shape[-1])
        some, kept = scores.topk(min(self.count, scores.shape[-1]), dim=-1, sorted=False)
        return some.softmax(-1), kept

    def _out(self, x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = self.whole.out(y.transpose(1, 2).flatten(2).reshape(x.shape))
        return found


class Counted(nn.Module):
    """In place of a `CrossAttention` over groups: `sizes` (B, n) are those of the photos at hand,
    and a key counts that many times."""

    def __init__(self, whole: CrossAttention, sizes: Tensor):
        super().__init__()
        self.whole = whole
        self.bias = sizes.log()[:, None, None]

    def memory(self, patches: Tensor) -> KeyValue:
        return self.whole.memory(patches)

    def forward(self, x: Tensor, memory: KeyValue) -> Tensor:
        q = self.whole._queries(x, len(memory[0]))
        y = F.scaled_dot_product_attention(q, *memory, attn_mask=self.bias.to(q.dtype))
        found: Tensor = self.whole.out(y.transpose(1, 2).flatten(2).reshape(x.shape))
        return found


# Groups -------------------------------------------------------------------------------------------


def sums(x: Tensor, group: Tensor, count: int) -> Tensor:
    """x (B, N, D) -> the sum of each of `count` groups (B, n, D)."""
    return x.new_zeros(len(x), count, x.shape[2]).scatter_add(1, group.unsqueeze(2).expand_as(x), x)


def sizes(group: Tensor, count: int) -> Tensor:
    """How many patches each of `count` groups has, (B, n) float."""
    return sums(torch.ones(*group.shape, 1), group, count)[..., 0]


def means(x: Tensor, group: Tensor, count: int) -> Tensor:
    """x (B, N, D) -> the mean of each of `count` groups (B, n, D)."""
    return sums(x, group, count) / sizes(group, count).unsqueeze(2).to(x.dtype)


def in_place(x: Tensor, group: Tensor) -> Tensor:
    """x (B, N, D) -> the same shape, each patch with the mean of its group."""
    found = means(x, group, int(group.max()) + 1)
    return found.gather(1, group.unsqueeze(2).expand_as(x))


def pooled(height: int, width: int, first: int = 0) -> Tensor:
    """The groups (1, N) of a grid's cells by 2x2; `first` tokens before them stay by themselves."""
    rows, columns = torch.arange(height) // 2, torch.arange(width) // 2
    cells = rows[:, None] * (-(-width // 2)) + columns
    return torch.cat([torch.arange(first), first + cells.flatten()])[None]


def matched(like: Tensor, count: int, first: int = 0) -> Tensor:
    """Bipartite soft matching (Bolya et al. 2023, section 3): of every second token (B, N, D), the
    `count` that are most like one of the others join it. Groups (B, N) of N - count; the `first`
    tokens (0 or 1) join nobody and stay first."""
    like = F.normalize(like, dim=-1)
    scores = like[:, ::2] @ like[:, 1::2].transpose(1, 2)
    if first:
        scores[:, 0] = -torch.inf
    best, partner = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    joining, staying = order[:, :count], order[:, count:].sort(dim=-1).values
    evens = torch.empty_like(partner)
    left = staying.shape[1]
    evens.scatter_(1, staying, torch.arange(left).expand(len(like), -1))
    evens.scatter_(1, joining, left + partner.gather(1, joining))
    group = torch.empty(like.shape[:2], dtype=torch.int64)
    group[:, ::2] = evens
    group[:, 1::2] = left + torch.arange(scores.shape[2])
    return group


def merged(x: Tensor, target: int) -> Tensor:
    """Groups (B, N) of tokens x (B, N, D) that are alike, `target` of them: matched again and
    again, as where there is no transformer in whose blocks it could be done."""
    group = torch.arange(x.shape[1]).expand(len(x), -1)
    count = x.shape[1]
    while count > target:
        now = means(x, group, count)
        step = min(count // 2, count - target)
        group = matched(now, step).gather(1, group)
        count -= step
    return group


@torch.inference_mode()
def encode_merged(vit: Any, pixels: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """What timm's vision transformer says of pixels (B, 3, S, S), with patches merged between the
    attention and the MLP of its blocks, evenly many in each, until `target` tokens are left:
    features (B, n, C), and the groups (B, N)."""
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(pixels)))
    first, count = int(vit.num_prefix_tokens), x.shape[1]
    group = torch.arange(count).expand(len(x), -1)
    size = torch.ones(*x.shape[:2], 1)
    each = math.ceil((count - target) / len(vit.blocks))
    for block in vit.blocks:
        attention = block.attn
        y = attention.qkv(block.norm1(x)).unflatten(2, (3, attention.num_heads, -1))
        q, k, v = y.permute(2, 0, 3, 1, 4)
        q, k = attention.q_norm(q), attention.k_norm(k)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=size.log()[:, None, :, 0].unsqueeze(1)
        )
        x = x + block.ls1(attention.proj(y.transpose(1, 2).flatten(2)))
        step = min(each, count - target, (count - first) // 2)
        if step > 0:
            now = matched(k.mean(dim=1), step, first)
            count -= step
            whole = sums(size, now, count)
            x, size = sums(x * size, now, count) / whole, whole
            group = now.gather(1, group)
        x = x + block.ls2(block.mlp(block.norm2(x)))
    return vit.norm(x), group
