"""The heatmaps of finished captions, of the kind that is asked for."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from .attention import word_maps
from .evidence import word_evidence
from .interface import Model
from .request import ATTENTION, EVIDENCE

M = TypeVar("M")


def heatmaps(
    model: Model[M], memory: M, captions: Sequence[Sequence[int]], kind: str
) -> Iterator[list[np.ndarray] | None]:
    """Of each caption, one a photo in the memory, the maps of its words: (h, w) float32 over the
    whole photo. None where no kind is asked for, or the model has none."""
    words = [model.tokenizer.words(ids) for ids in captions]
    if not kind or not model.maps:
        yield from [None] * len(captions)
    elif kind == EVIDENCE:
        for i, ids in enumerate(captions):
            yield word_evidence(model, memory, i, ids, words[i])
    else:
        for i, weights in enumerate(model.look(memory, captions)):
            placement = model.placement(memory, i)
            yield word_maps(weights.numpy(), words[i], placement, model.combine)


def kinds(model: Model[M]) -> list[str]:
    """The kinds of heatmap that a model has."""
    return [] if not model.maps else [ATTENTION, EVIDENCE] if model.fades else [ATTENTION]


def no_maps(model: Model[M], name: str) -> str:
    """The sentence about a model, called by its name, that has none."""
    why = "it does not say which of its tokens lie where on the photo"
    if "server" in model.about:
        why = "it runs on a server, which does not say where it looked"
    return f"{name} gives no heatmaps: {why}, so its captions come without them."


def kind_of(model: Model[M], kind: str) -> str:
    """What the heatmaps of a model are called, for people."""
    return EVIDENCE if kind == EVIDENCE else model.maps
