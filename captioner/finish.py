"""What the search found, as a Caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .attention import WHOLE, Placement
from .caption import Caption, Word
from .doubt import doubtful
from .generation import Hypothesis
from .heatmaps import kind_of
from .interface import Model
from .photos import Photo
from .request import Request

ANY = Request()


def finish(
    model: Model[Any],
    photo: Photo,
    found: Hypothesis,
    maps: Sequence[np.ndarray] | None = None,
    placement: Placement | None = None,
    request: Request = ANY,
    given: int = 0,
    longest: int | None = None,
) -> Caption:
    """A hypothesis as a Caption; the heatmaps of its words and the placement that they were made
    by, without which there are none. given: how many of its tokens the model did not choose.
    longest: the tokens at which the search ended it: a sentence that the model would not end there
    has no full stop."""
    spans = model.tokenizer.words(found.ids)
    probabilities = [math.exp(sum(found.logprobs[s.start : s.stop])) for s in spans]
    doubted = doubtful([s.text for s in spans], probabilities, model.about)
    words = [
        Word(
            s.text, probabilities[i], None if maps is None else maps[i], given=s.stop <= given,
            doubtful=i in doubted and s.stop > given,
        )
        for i, s in enumerate(spans)
    ]  # fmt: skip
    sure = confidence(found.logprobs[given:], model.about)
    own_end = len(found.logprobs) > len(found.ids) and found.logprobs[-1] > math.log(0.5)
    whole = own_end or longest is None or len(found.ids) < longest
    text = model.tokenizer.sentence(found.ids, whole=whole)
    kind = "" if maps is None else kind_of(model, request.heatmaps)
    return Caption(
        text, sure, words, score=found.score, ids=found.ids,
        maps=kind, seen=placement.seen if placement else WHOLE, request=request, photo=photo,
    )  # fmt: skip


def confidence(logprobs: Sequence[float], about: Mapping[str, Any]) -> float:
    """How sure a model is of a caption, 0 to 1: the geometric mean of the probabilities of its
    tokens, to the power of 1 / `confidence_temperature` where the model has one (in `about`). With
    it the confidence is about the share of the caption's words that people use of such a photo;
    `python -m eval coco` fits it (temperature scaling, Guo et al. 2017, of a whole caption)."""
    if not logprobs:
        return 1.0
    return math.exp(sum(logprobs) / len(logprobs) / confidence_temperature(about))


def confidence_temperature(about: Mapping[str, Any]) -> float:
    """The temperature of a model's confidence; 1 for a model that has none."""
    known = about.get("confidence_temperature")
    return float(known) if isinstance(known, (int, float)) and known > 0 else 1.0
