"""Words that may name what is not on the photo.

A model that was not sure of a noun has more often made it up. `python -m eval grounding` measures
how often (docs/heatmaps.md): below which probability a noun is doubtful stands in the config of the
model that it was measured with, as `doubtful_below`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .objects import mentions


def doubtful(
    texts: Sequence[str], probabilities: Sequence[float], about: Mapping[str, Any]
) -> set[int]:
    """The places of the words of a caption that name one of COCO's things, where these words
    together are less probable than the model's `doubtful_below` (in `about`; none without it)."""
    below = about.get("doubtful_below")
    found: set[int] = set()
    if isinstance(below, (int, float)):
        for mention in mentions(texts):
            here = range(mention.start, mention.stop)
            if math.prod(probabilities[i] for i in here) < below:
                found.update(here)
    return found
