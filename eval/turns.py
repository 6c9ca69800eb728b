"""Calls that are timed in turns, so that what else the machine does meets all of them."""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

K = TypeVar("K", bound=Hashable)
LEAST = 0.01
"""Seconds: shorter calls are repeated until a sample takes this long."""


def in_turns(calls: Mapping[K, Callable[[], object]], rounds: int) -> dict[K, list[float]]:
    """Seconds of every call in every round; the calls take turns. With one thread the clock counts
    the CPU time of the process, not the time it waits for a core."""
    repeats = {}
    for key, call in calls.items():
        call()  # the first call pays for what is set up once
        repeats[key] = max(1, math.ceil(LEAST / max(_seconds(call, 1), 1e-6)))
    samples: dict[K, list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            samples[key].append(_seconds(call, repeats[key]))
    return samples


def _seconds(call: Callable[[], object], repeats: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


@contextmanager
def using(threads: int) -> Iterator[None]:
    """torch with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
