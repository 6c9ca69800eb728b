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


Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """A part of the photo as a model sees it: `rows` x `columns` cells over a box (left, top,
    right, bottom) in shares of the photo's width and height. The box of a model that crops lies
    within the photo, that of one that pads reaches beyond it."""

    rows: int
    columns: int
    box: Box = WHOLE

    @property
    def cells(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class Placement:
    """Where on the photo the N positions are that a model looks at: those of its views one after
    another, rows first."""

    views: tuple[View, ...]

    @classmethod
    def whole(cls, grid: tuple[int, int]) -> "Placement":
        """One grid (h, w) that covers the photo."""
        return cls((View(*grid),))

    @property
    def cells(self) -> int:
        return sum(view.cells for view in self.views)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the maps on the whole photo, with cells about as small as the smallest seen."""
        rows = max(view.rows / (view.box[3] - view.box[1]) for view in self.views)
        columns = max(view.columns / (view.box[2] - view.box[0]) for view in self.views)
        return max(1, round(rows)), max(1, round(columns))

    @property
    def seen(self) -> Box:
        """The part of the photo that the model has seen."""
        boxes = np.array([view.box for view in self.views])
        low, high = boxes[:, :2].min(axis=0).clip(0, 1), boxes[:, 2:].max(axis=0).clip(0, 1)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def lay(self, maps: np.ndarray) -> np.ndarray:
        """Maps (..., N) over what the model sees -> maps (..., h, w) over the whole photo, of the
        same dtype. What lies beyond the photo's edges is left out, and the rest sums to what it
        summed to before; what the model has not seen is 0."""
        height, width = self.grid
        if self.views == (View(height, width),):
            return maps.reshape(*maps.shape[:-1], height, width)
        laid = np.zeros((*maps.shape[:-1], height, width))
        at = 0
        for view in self.views:
            cells = maps[..., at : at + view.cells].reshape(*maps.shape[:-1], view.rows, -1)
            down = _shares(height, view.rows, view.box[1], view.box[3])
            across = _shares(width, view.columns, view.box[0], view.box[2])
            laid += down @ cells @ across.T
            at += view.cells
        total = laid.sum(axis=(-2, -1), keepdims=True)
        scale = maps.sum(axis=-1)[..., None, None] / np.where(total > 0, total, 1)
        scaled: np.ndarray = laid * scale
        return scaled.astype(maps.dtype)


def _shares(count: int, cells: int, start: float, stop: float) -> np.ndarray:
    """(count, cells): the share of each of `cells` equal pieces of start..stop that lies in each
    of `count` equal pieces of 0..1."""
    to = np.linspace(0, 1, count + 1)
    of = np.linspace(start, stop, cells + 1)
    common = np.minimum(to[1:, None], of[None, 1:]) - np.maximum(to[:-1, None], of[None, :-1])
    return common.clip(0) * (cells / (stop - start))


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
    grid: tuple[int, int] | Placement,
    combine: Combine | None = None,
) -> list[np.ndarray]:
    """One map (h, w) float32 for each word, summing to 1. weights (L, H, T, N); `grid` says how
    the N positions lie on the photo, (h, w) being rows and columns over the whole of it."""
    placement = grid if isinstance(grid, Placement) else Placement.whole(grid)
    if weights.shape[-1] != placement.cells:
        shape = " and ".join(f"{view.rows}x{view.columns}" for view in placement.views)
        raise ModelError(f"{weights.shape[-1]} patches do not fill a grid of {shape}.")
    tokens = token_maps(weights, combine or Combine())
    return [placement.lay(tokens[w.start : w.stop].mean(axis=0)) for w in words]
