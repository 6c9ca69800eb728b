"""Validation by our own metrics: caption every photo once, over all processes, and score."""

from collections.abc import Sequence

import numpy as np
import torch

from captioner.annotations import AnnotatedImage
from captioner.generation import Hypothesis
from captioner.metrics import score

from .feed import Feed
from .learner import Learner
from .processes import Processes

BATCH = 64


class Validator:
    """Captions the photographs of one validation set with the learner's model."""

    def __init__(self, examples: Sequence[AnnotatedImage], feed: Feed, processes: Processes):
        self.examples = examples
        self.feed = feed
        self.processes = processes

    @torch.no_grad()
    def write(self, learner: Learner) -> list[Hypothesis]:
        """The best caption of each photo, in their order, on every process.

        Process r takes photos r, r + world, ...: each photo is captioned once.
        """
        device = next(learner.model.parameters()).device
        rank, world = self.processes.rank, self.processes.world
        mine = np.arange(rank, len(self.examples), world)
        parts = [mine[i : i + BATCH] for i in range(0, len(mine), BATCH)]
        found: dict[int, Hypothesis] = {}
        plan = ((part, np.zeros(len(part), dtype=int)) for part in parts)
        for part, seen in zip(parts, self.feed.batches(plan), strict=True):
            memory = learner.model.memory_of(learner.features(seen.to(device)))
            hypotheses = learner.model.write(memory)
            found |= {i: best[0] for i, best in zip(part.tolist(), hypotheses, strict=True)}
        everyone: dict[int, Hypothesis] = {}
        for theirs in self.processes.gather(found):
            everyone |= theirs
        return [everyone[i] for i in range(len(self.examples))]

    def score(self, captions: Sequence[str]) -> dict[str, float]:
        """CIDEr-D and BLEU-4 of one caption for each photo."""
        references = [list(e.captions) for e in self.examples]
        result = score(captions, references, metrics=("CIDEr-D", "BLEU-4"), bootstrap=0)
        return {m: round(result[m].value, 4) for m in ("CIDEr-D", "BLEU-4")}
