"""Evidence: which places on the photo a word's probability hangs on.

The model's memory of the photo is faded: the keys and values of every position go four fifths of
the way to their mean over the photo, so that little is left but what is the same everywhere. The
gradient of the word's log-probability with respect to how much of a position is shown then says
what the word gains where the photo comes back: one step of integrated gradients (Sundararajan et
al. 2017) on the path from the mean to the photo, close to its beginning, where words are not yet
sure. Attention says where the model looked; this says what it made use of there.

A position's gain is spread over the photo as a Gaussian as wide as a cell. What is left above 0,
as shares of its sum, is the word's map: how strong the evidence is altogether it does not say.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .attention import Placement
from .decoder import KeyValue
from .interface import Model
from .tokenizer import WordSpan

M = TypeVar("M")
SHOWN = 0.2
"""How much is shown of the photo where the gradient is taken. This, the mean in place of the rest
and the width of the Gaussian were chosen on photos of COCO train2017 (docs/heatmaps.md)."""
FINER = 4
"""Cells of an evidence map along a side of a cell of the model's grid."""
ROWS = 8
"""Words whose gradients are computed together: each has a memory of the photo of its own."""


def word_evidence(
    model: Model[M], memory: M, photo: int, ids: Sequence[int], words: Sequence[WordSpan]
) -> list[np.ndarray]:
    """The evidence map of each word of a caption `ids` of one photo in the memory: (FINER * h,
    FINER * w) float32 over the whole photo, not negative, summing to 1."""
    placement = model.placement(memory, photo)
    maps: list[np.ndarray] = []
    for at in range(0, len(words), ROWS):
        gains = _gains(model, memory, photo, ids, words[at : at + ROWS], placement.cells)
        maps += [_shares(gain, placement) for gain in gains]
    return maps


def fade(memory: Sequence[KeyValue], shown: Tensor, first: int = 0) -> list[KeyValue]:
    """Keys and values (B, H, S, d) of which `shown` (B, N), 0 to 1, is left at the N positions from
    `first` on: the rest is the mean over these positions."""

    def faded(x: Tensor) -> Tensor:
        before, cells, after = x.tensor_split([first, first + shown.shape[1]], dim=2)
        mean = cells.mean(dim=2, keepdim=True)
        left = mean + shown.to(x.dtype)[:, None, :, None] * (cells - mean)
        return torch.cat([before, left, after], dim=2)

    return [(faded(keys), faded(values)) for keys, values in memory]


def _gains(
    model: Model[M],
    memory: M,
    photo: int,
    ids: Sequence[int],
    words: Sequence[WordSpan],
    cells: int,
) -> np.ndarray:
    """(words, cells) float32: the gradient of each word's log-probability."""
    with torch.inference_mode(False), torch.enable_grad():
        part = model.part(memory, [photo] * len(words))
        shown = torch.full((len(words), cells), SHOWN, requires_grad=True)
        found = model.logprobs(model.faded(part, shown), [ids] * len(words))
        total = torch.stack(
            [row[word.start : word.stop].sum() for row, word in zip(found, words, strict=True)]
        ).sum()
        [gains] = torch.autograd.grad(total, shown)
    return gains.numpy()


def _shares(gain: np.ndarray, placement: Placement) -> np.ndarray:
    """Gains (N,) over what the model sees -> a map over the whole photo; what it has not seen is 0.
    Where nothing gains, the map is even."""
    height, width = (FINER * side for side in placement.grid)
    total, seen = np.zeros((height, width)), np.zeros((height, width), bool)
    at = 0
    for view in placement.views:
        down = _bells(height, view.rows, view.box[1], view.box[3])
        across = _bells(width, view.columns, view.box[0], view.box[2])
        total += down @ gain[at : at + view.cells].reshape(view.rows, -1) @ across.T
        seen |= np.outer(down.any(axis=1), across.any(axis=1))
        at += view.cells
    positive = np.where(seen, total.clip(0), 0)
    if not positive.any():
        positive = seen.astype(float)
    shares: np.ndarray = (positive / positive.sum()).astype(np.float32)
    return shares


def _bells(count: int, cells: int, start: float, stop: float) -> np.ndarray:
    """(count, cells): at the middles of `count` equal pieces of 0..1 the height of each of `cells`
    equal pieces of start..stop when it is blurred by a Gaussian that is a cell wide; 0 outside."""
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    places = (middles - start) / (stop - start) * cells
    edges = torch.special.ndtr(places[:, None] - torch.arange(cells + 1))
    inside = (places > 0) & (places < cells)
    heights: np.ndarray = ((edges[:, :-1] - edges[:, 1:]) * inside[:, None]).numpy()
    return heights
