"""Cross-attention weights to one map per word.

The decoder's second look gives weights (L, H, T, N) for a finished caption, position t being what
the model looked at when it wrote token t. A token's map is the average over the layers and heads
that the model's config names; a word's map is the average of its tokens' maps. Every map is a
distribution over the patch grid: it is not negative and sums to 1. Scaling for the eye is
`render`'s business.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import ModelError
from .tokenizer import WordSpan


@dataclass(frozen=True)
class Combine:
    """Which layers and heads make a map; empty means all. Written in the checkpoint's config."""

    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) for k, v in asdict(self).items()}


def token_maps(weights: np.ndarray, combine: Combine) -> np.ndarray:
    """weights (L, H, T, N) -> one distribution per token, (T, N) float32."""
    layers, heads = weights.shape[:2]
    for name, chosen, count in (("layer", combine.layers, layers), ("head", combine.heads, heads)):
        if any(not -count <= i < count for i in chosen):
            raise ModelError(f"There is no {name} {list(chosen)}: this model has {count}.")
    picked = weights[list(combine.layers) or slice(None)]
    picked = picked[:, list(combine.heads) or slice(None)]
    maps = picked.mean(axis=(0, 1), dtype=np.float64)
    shares: np.ndarray = maps / maps.sum(axis=-1, keepdims=True)
    return shares.astype(np.float32)


def word_maps(
    weights: np.ndarray,
    words: Sequence[WordSpan],
    grid: tuple[int, int],
    combine: Combine | None = None,
) -> list[np.ndarray]:
    """One map (h, w) float32 for each word, summing to 1. weights (L, H, T, N), N = h * w."""
    if weights.shape[-1] != grid[0] * grid[1]:
        raise ModelError(f"{weights.shape[-1]} patches do not fill a grid of {grid[0]}x{grid[1]}.")
    tokens = token_maps(weights, combine or Combine())
    return [tokens[w.start : w.stop].mean(axis=0).reshape(grid) for w in words]
