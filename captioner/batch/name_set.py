"""Which names have been met, of as many as a job may have."""

from __future__ import annotations

from array import array
from bisect import bisect_left

import numpy as np

SMALL = 50_000
"""Names that are always kept as they are met."""


class NameSet:
    """A set of names that keeps their hashes alone: 8 bytes each, where a set of the names
    themselves takes some 140.

    Hashes have 64 bits and another seed in every process, so that nobody can choose two names that
    share one; among a million names the chance that any two do is 3 in 100 million.
    """

    def __init__(self) -> None:
        self._sorted: array[int] = array("q")
        self._recent: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def __contains__(self, name: object) -> bool:
        return self._holds(hash(name))

    def add(self, name: str) -> bool:
        """Whether the name is new."""
        one = hash(name)
        if self._holds(one):
            return False
        self._recent.add(one)
        if len(self._recent) > max(SMALL, len(self._sorted) // 4):
            self._merge()
        return True

    def _holds(self, one: int) -> bool:
        if one in self._recent:
            return True
        at = bisect_left(self._sorted, one)
        return at < len(self._sorted) and self._sorted[at] == one

    def _merge(self) -> None:
        recent = np.fromiter(self._recent, np.int64, len(self._recent))
        both = np.sort(np.concatenate([np.frombuffer(self._sorted, np.int64), recent]))
        self._sorted = array("q")
        self._sorted.frombytes(both.tobytes())
        self._recent = set()
