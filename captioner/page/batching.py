"""Dynamic batching: photos that are asked for at the same time go through the model together.

One photo keeps the cores busy badly: the search writes word by word. So whatever has come while the
model was at work makes the next batch. Nobody waits for others to come: one photo alone is begun at
once, and is a batch of one, as `Captioner.caption` has it.
"""

import threading
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from captioner.caption import Caption
from captioner.captioner import Captioner
from captioner.photos import Photo
from captioner.request import Request

MAX_BATCH = 8
"""Photos in a batch: more gain little and make the first of them wait for the last."""


@dataclass(frozen=True, eq=False)
class Pending:
    """A photo that waits for its caption."""

    captioner: Captioner
    photo: Photo
    request: Request
    caption: Future[Caption] = field(default_factory=Future)

    @property
    def key(self) -> Hashable:
        """Photos with the same one may share a batch."""
        return id(self.captioner), self.request


class DynamicBatcher:
    """`workers` threads that caption what is asked for, each on `threads` cores."""

    def __init__(self, workers: int, threads: int):
        self._pending: deque[Pending] = deque()
        self._arrived = threading.Condition()
        for _ in range(workers):
            threading.Thread(target=self._work, args=(threads,), daemon=True).start()

    def caption(self, captioner: Captioner, photo: Photo, request: Request) -> Caption:
        """The photo's caption, once it is written. Raises what the model raises."""
        pending = Pending(captioner, photo, request)
        with self._arrived:
            self._pending.append(pending)
            self._arrived.notify()
        return pending.caption.result()

    def _work(self, threads: int) -> None:
        torch.set_num_threads(threads)  # of this thread
        while True:
            batch = self._next_batch()
            first = batch[0]
            try:
                captions = first.captioner.caption_photos(
                    [pending.photo for pending in batch], first.request
                )
            except BaseException as error:
                for pending in batch:
                    pending.caption.set_exception(error)
                continue
            for pending, caption in zip(batch, captions, strict=True):
                pending.caption.set_result(caption)

    def _next_batch(self) -> list[Pending]:
        """The photo that has waited longest, and those that may share its batch."""
        with self._arrived:
            while not self._pending:
                self._arrived.wait()
            key = self._pending[0].key
            batch = [pending for pending in self._pending if pending.key == key][:MAX_BATCH]
            for pending in batch:
                self._pending.remove(pending)
            return batch
