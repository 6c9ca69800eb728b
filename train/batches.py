"""The batches of a run: which photographs, views and captions a step takes, and in which parts.

All of it follows from the seed, the stage and the step alone, whatever the number of processes,
loader workers and parts: so a resumed run meets the batches that an unbroken one meets, and two
processes compute what one computes.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captioner.annotations import AnnotatedImage
from captioner.errors import DataError
from captioner.tokenizer import CaptionTokenizer

from .augment import cropped, swap_sides
from .feed import Feed, Part
from .imagined import Imagination, things_in
from .learner import IGNORE, pad_rows
from .processes import Processes
from .settings import Tables

GROUPS = 4  # of photos with captions of like length


@dataclass
class Piece:
    """A process's part of a step's batch, or one of `accumulate` parts of that.

    photos, views (n,): which photographs, and the view of each. rows: token ids of their captions,
    as many for each photo. seen: what the feed gives of them; None for captions without
    photographs. patches (n, kept): those that the decoder sees; None for all. mirrored (n,): which
    of the photographs are; None without photographs.
    """

    photos: np.ndarray
    views: np.ndarray
    rows: list[list[int]]
    seen: Tensor | None = None
    patches: Tensor | None = None
    mirrored: np.ndarray | None = None


@dataclass
class Term:
    """One loss of a step: what the learner is given, and the weight of its sum over tokens.

    kind: the losses of a kind are divided by the tokens of that kind in the whole batch.
    """

    kind: str
    seen: Tensor | None
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    patches: Tensor | None = None
    teacher: Tensor | None = None
    named: Tensor | None = None
    pointing: float = 0.0
    factor: float = 1.0

    @property
    def tokens(self) -> int:
        return int((self.targets != IGNORE).sum())

    @property
    def captions(self) -> int:
        return int((self.targets != IGNORE).any(1).sum())


class Batches:
    """The batches of one process, of photographs that its feed gives.

    count: the parts that all processes take a batch in. mine: which of them are this process's.
    """

    def __init__(
        self,
        recipe: Tables,
        examples: Sequence[AnnotatedImage],
        feed: Feed,
        tokenizer: CaptionTokenizer,
        grid: tuple[int, int],
        processes: Processes,
        device: torch.device,
    ):
        self.recipe = recipe
        self.examples = examples
        self.feed = feed
        self.tokenizer = tokenizer
        self.patches = math.prod(grid)
        self.device = device
        parts = recipe.optimizer.accumulate
        self.count = processes.world * parts
        self.mine = slice(processes.rank * parts, (processes.rank + 1) * parts)
        self.things_of = functools.lru_cache(maxsize=100_000)(self._things_of)
        self._order = functools.lru_cache(maxsize=2)(self._epoch)

    def pieces(self, stage: int, first: int, steps: int, epoch: int) -> Iterator[list[Piece]]:
        """The pieces of each step from `first` to `steps`, where an epoch has `epoch` steps and
        `stage` is the number of the stage."""

        def plan() -> Iterator[Part]:
            for step in range(first, steps):
                yield from self.parts(stage, step, epoch)

        seen = self.feed.batches(plan())
        for step in range(first, steps):
            yield [self._piece(step, *part, seen) for part in self.parts(stage, step, epoch)]

    def parts(self, stage: int, step: int, epoch: int) -> list[Part]:
        """The photos and views of this process in a step."""
        size = self.recipe.optimizer.batch_photos
        number, place = divmod(step, epoch)
        photos, views = self._order(stage, number)
        at = slice(place * size, (place + 1) * size)
        photos, views = photos[at], views[at]
        if len(photos) < self.count:
            accumulate = self.recipe.optimizer.accumulate
            raise DataError(
                f"A batch of {len(photos)} photos cannot be taken in {self.count} parts "
                f"({self.count // accumulate} processes, accumulate {accumulate})."
            )
        split = zip(*(np.array_split(each, self.count) for each in (photos, views)), strict=True)
        return list(split)[self.mine]

    def _epoch(self, stage: int, epoch: int) -> Part:
        """All photos in the order of an epoch, and the view of each."""
        order = np.random.default_rng((self.recipe.run.seed, stage, epoch))
        photos = order.permutation(len(self.examples))
        return photos, self.feed.views(order, len(photos), 1000 * stage + epoch)

    def _piece(
        self, step: int, photos: np.ndarray, views: np.ndarray, feed: Iterator[Tensor]
    ) -> Piece:
        pairs = zip(views.tolist(), photos.tolist(), strict=True)
        mirrored = np.array([self.feed.flipped(*pair) for pair in pairs], bool)
        rows = self._captions(photos, mirrored, step)
        seen = next(feed).to(self.device, non_blocking=True)
        if self.recipe.data.feature_crop < 1:
            seen = cropped(seen, self._random(17, step, photos), self.recipe.data.feature_crop)
        return Piece(photos, views, rows, seen, self._patches(photos, step), mirrored)

    def _captions(self, photos: np.ndarray, mirrored: np.ndarray, step: int) -> list[list[int]]:
        """`captions_per_photo` token rows for each photo; a photo with fewer has empty rows."""
        count = self.recipe.data.captions_per_photo
        rows: list[list[int]] = []
        for photo, swapped in zip(photos.tolist(), mirrored, strict=True):
            captions = list(self.examples[photo].captions)
            if len(captions) > count:
                picked = np.random.default_rng((self.recipe.run.seed, step, photo))
                captions = [captions[k] for k in picked.permutation(len(captions))[:count]]
            if swapped:
                captions = [swap_sides(c) for c in captions]
            rows += self._rows(captions)
        return rows

    def _rows(self, captions: Sequence[str]) -> list[list[int]]:
        """The captions of a photo, and empty rows up to `captions_per_photo`."""
        empty = self.recipe.data.captions_per_photo - len(captions)
        return [*map(self.tokenizer.encode, captions), *[[]] * empty]

    def _patches(self, photos: np.ndarray, step: int) -> Tensor | None:
        """The patches (n, kept) of photos that the decoder sees in a step; None for all."""
        share = self.recipe.data.patch_dropout
        if not share:
            return None
        kept = max(1, round(self.patches * (1 - share)))
        orders = self._random(13, step, photos)
        chosen = np.stack([order.permutation(self.patches)[:kept] for order in orders])
        return torch.from_numpy(chosen).to(self.device)

    def _random(self, use: int, step: int, photos: np.ndarray) -> list[np.random.Generator]:
        """Random numbers of each photo's own in a step: `use` tells what they are for."""
        return [np.random.default_rng((self.recipe.run.seed, use, step, i)) for i in photos]

    def imagined(self, imagination: Imagination, use: int, step: int, photos: np.ndarray) -> Piece:
        """As many photographs as `photos`, imagined for captions that have none; their numbers
        follow on those of the training photographs."""
        count = self.recipe.data.captions_per_photo
        groups, found = imagination(self._random(use, step, photos))
        rows: list[list[int]] = []
        for order, group in zip(self._random(use + 1, step, photos), groups, strict=True):
            lines = imagination.groups[group]
            rows += self._rows([lines[i] for i in order.permutation(len(lines))[:count]])
        seen, numbers = found.to(self.device), groups + len(self.examples)
        views = np.zeros_like(numbers)
        return Piece(numbers, views, rows, seen, self._patches(photos, step), views > 0)

    def terms(
        self, kind: str, piece: Piece, rows: list[list[int]], weights: Tensor | None = None,
        *, pointing: float = 0.0, factor: float = 1.0,
    ) -> list[Term]:  # fmt: skip
        """The losses of a piece with these captions of its photos, as many for each, and a weight
        (R,) for each of them. `pointing`: how much it counts where a word looks that names a thing.
        `factor`: how much all of it counts.

        On a CPU there is one for each group of photos with captions of like length: there padding
        costs as much as words. (On a GPU one large batch costs less.)
        """

        def term(
            rows: list[list[int]], seen: Tensor | None, weights: Tensor | None,
            patches: Tensor | None,
        ) -> Term:  # fmt: skip
            named = self._named(rows) if pointing else None
            return Term(
                kind, seen, *self.pad(rows), weights, patches, named=named, pointing=pointing,
                factor=factor,
            )  # fmt: skip

        photos = len(piece.photos)
        groups = min(GROUPS, self.recipe.optimizer.batch_photos // self.count, photos)
        if piece.seen is None or self.device.type != "cpu" or groups < 2:
            return [term(rows, piece.seen, weights, piece.patches)]
        each = len(rows) // photos  # of a photo
        longest = [max(map(len, rows[i * each : (i + 1) * each])) for i in range(photos)]
        terms = []
        for some in np.array_split(np.argsort(longest, kind="stable"), groups):
            at, lines = torch.from_numpy(some), (some[:, None] * each + np.arange(each)).ravel()
            terms.append(term(
                [rows[i] for i in lines], piece.seen[at],
                None if weights is None else weights[torch.from_numpy(lines)],
                None if piece.patches is None else piece.patches[at],
            ))  # fmt: skip
        return terms

    def _named(self, rows: list[list[int]]) -> Tensor:
        """The thing that each token of the rows names, as `pad` has targets; IGNORE for none."""
        length = min(max(map(len, rows), default=0), self.recipe.data.max_tokens) + 1
        named = torch.full((len(rows), length), IGNORE)
        for row, found in zip(named, map(self.things_of, map(tuple, rows)), strict=True):
            for thing, start, stop in found:
                row[start:stop] = thing
        return named.to(self.device)

    def _things_of(self, row: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """The things that a row of tokens names: number, first token and the one after the last."""
        words = self.tokenizer.words(row)
        return [
            (thing, words[start].start, words[stop - 1].stop)
            for thing, start, stop in things_in([word.text for word in words])
        ]

    def pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Token rows as inputs and targets (R, T), no longer than `max_tokens`."""
        inputs, targets = pad_rows(rows, self.recipe.data.max_tokens)
        return inputs.to(self.device), targets.to(self.device)
