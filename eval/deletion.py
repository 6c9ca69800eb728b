"""Does a word hang on the places that its map ranks highest? They are hidden, and so are others.

Hiding the top fifth of the patches should lower the word's probability more than hiding a fifth at
random (the deletion game of Petsiuk et al. 2018, in one step). Hidden is what the model does for
evidence maps, too: in place of a patch stands the mean of all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from captioner.attention import Placement
from captioner.interface import Model

HIDDEN = 0.2
"""The share of the patches that is hidden."""
DRAWS = 8
"""How many random sets of patches stand for chance."""
CHANCE = "chance"


@torch.inference_mode()
def drops(
    model: Model[Any],
    memory: Any,
    ids: Sequence[int],
    tokens: Sequence[int],
    maps: Mapping[str, np.ndarray],
    random: np.random.Generator,
) -> dict[str, float]:
    """How much less probable a word of a caption becomes when the top patches of each map (h, w)
    are hidden, and on average by chance.

    memory: of one photo. ids: the caption's. tokens: the places in it of the word's tokens.
    """
    placement = model.placement(memory, 0)
    count = max(1, round(HIDDEN * placement.cells))
    ranked = [np.argsort(-at_cells(found, placement), kind="stable") for found in maps.values()]
    ranked += [random.permutation(placement.cells) for _ in range(DRAWS)]
    shown = torch.ones(1 + len(ranked), placement.cells)
    for row, order in zip(shown[1:], ranked, strict=True):
        row[order[:count].copy()] = 0
    part = model.faded(model.part(memory, [0] * len(shown)), shown)
    rows = model.logprobs(part, [ids] * len(shown))
    probable = torch.stack([row[list(tokens)].sum() for row in rows]).exp().tolist()
    lost = [probable[0] - one for one in probable[1:]]
    return {**dict(zip(maps, lost, strict=False)), CHANCE: float(np.mean(lost[len(maps) :]))}


def at_cells(heatmap: np.ndarray, placement: Placement) -> np.ndarray:
    """A map (h, w) over the whole photo -> its values (N,) in the middles of the cells that the
    model sees; 0 beyond the photo."""
    height, width = heatmap.shape
    found = []
    for view in placement.views:
        left, top, right, bottom = view.box
        y = top + (np.arange(view.rows) + 0.5) / view.rows * (bottom - top)
        x = left + (np.arange(view.columns) + 0.5) / view.columns * (right - left)
        rows, columns = np.floor(y * height).astype(int), np.floor(x * width).astype(int)
        inside = np.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
        values = heatmap[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
        found.append(np.where(inside, values, 0).ravel())
    return np.concatenate(found)
