"""What the encoder is fed, batch after batch: cached features, or photographs that worker processes
load and augment meanwhile. Either way batch n of a plan is the same at every visit."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from captioner.annotations import AnnotatedImage
from captioner.errors import DataError

from .augment import FIRST_RANDOM_VIEW, Views, flipped
from .features import FeatureCache

Part = tuple[np.ndarray, np.ndarray]
"""Photos (n,) and the view of each (n,)."""


class Feed(Protocol):
    def batches(self, parts: Iterable[Part]) -> Iterator[Tensor]:
        """For each part pixels, uint8 (n, S, S, 3), or what the trunk gave, float (n, C, h, w)."""

    def views(self, order: np.random.Generator, count: int, epoch: int) -> np.ndarray:
        """The views (count,) that photos are seen in during an epoch (counted over all stages)."""

    def flipped(self, view: int, index: int) -> bool: ...


class CachedFeed:
    """Features of the trunk from files: the trunk must not learn."""

    def __init__(self, cache: FeatureCache):
        self.cache = cache

    def batches(self, parts: Iterable[Part]) -> Iterator[Tensor]:
        for indices, views in parts:
            yield self._read(indices, views)

    def _read(self, indices: np.ndarray, views: np.ndarray) -> Tensor:
        out = torch.empty(0)
        for view in np.unique(views):
            at = np.flatnonzero(views == view)
            found = self.cache.read(int(view), indices[at])
            if not out.numel():
                shape = (len(indices), *found.shape[1:])
                out = torch.empty(shape).to(memory_format=torch.channels_last)
            out[torch.from_numpy(at)] = found.float()
        return out

    def views(self, order: np.random.Generator, count: int, epoch: int) -> np.ndarray:
        return order.integers(self.cache.views, size=count)

    def flipped(self, view: int, index: int) -> bool:
        return self.cache.flipped(view, index)


class LiveFeed:
    """Photographs, in a fresh random view each epoch (`augment`) or as they are."""

    def __init__(
        self,
        examples: Sequence[AnnotatedImage],
        size: int,
        *,
        augment: bool,
        workers: int,
        pin: bool = False,
        seed: int = 0,
    ):
        self.dataset = Views(examples, size, seed)
        self.augment = augment
        self.workers = workers
        self.pin = pin
        self.seed = seed

    def batches(self, parts: Iterable[Part]) -> Iterator[Tensor]:
        loader = torch.utils.data.DataLoader(
            _Unraised(self.dataset),
            batch_sampler=_Keys(parts),
            collate_fn=_collated,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            pin_memory=self.pin,
            # Its own generator: it draws from the global one otherwise, which dropout draws from.
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch

    def views(self, order: np.random.Generator, count: int, epoch: int) -> np.ndarray:
        return np.full(count, FIRST_RANDOM_VIEW + epoch if self.augment else 0)

    def flipped(self, view: int, index: int) -> bool:
        return flipped(view, index, self.seed)


class _Unraised(torch.utils.data.Dataset):
    """Views, and the error in place of one that cannot be made: raised in a worker process, its
    sentence would come with that process's traceback."""

    def __init__(self, views: Views):
        self.views = views

    def __getitem__(self, key: tuple[int, int]) -> Tensor | DataError:
        try:
            return self.views[key]
        except DataError as error:
            return error


def _collated(views: list[Tensor | DataError]) -> Tensor | DataError:
    """The views as one batch, or the first error among them."""
    for view in views:
        if isinstance(view, DataError):
            return view
    return torch.utils.data.default_collate(views)


class _Keys(torch.utils.data.Sampler):
    """Parts as the lists of (index, view) that the data set is asked for."""

    def __init__(self, parts: Iterable[Part]):
        self.parts = parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for indices, views in self.parts:
            yield list(zip(indices.tolist(), views.tolist(), strict=True))
