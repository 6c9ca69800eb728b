"""A folder that fills: which photos have arrived since one last looked, and are all there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .engine import Stop
from .items import Item

EVERY = 2.0
"""Seconds between two looks. A file that has changed since the last one is still being written."""


class Arrivals:
    """Photos as they arrive, each once."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}

    def new(self, items: Iterable[Item]) -> Iterator[Item]:
        """Those that were not given before, and that nobody is writing any more."""
        for item in items:
            if item.name not in self._known and self._whole(item):
                self._known.add(item.name)
                self._seen.pop(item.name, None)
                yield item

    def _whole(self, item: Item) -> bool:
        try:
            found = Path(item.path or "").stat()
        except OSError:
            return True  # what is wrong with it is told when it is decoded
        state = (found.st_size, found.st_mtime_ns)
        before, self._seen[item.name] = self._seen.get(item.name), state
        return state == before or time.time() - found.st_mtime > EVERY

    def wait(self, stop: Stop) -> bool:
        """Let time pass until the next look; whether there is to be one."""
        until = time.monotonic() + EVERY
        while time.monotonic() < until and not stop():
            time.sleep(0.1)
        return not stop()
