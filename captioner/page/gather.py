"""Photos that are asked for at the same time go through the model together.

One photo keeps the cores busy badly: the search writes word by word. So whatever has come while the
model was at work makes the next batch. Nobody waits for others to come: one photo alone is begun at
once, and is a batch of one, as `Captioner.caption` has it.
"""

import threading
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from captioner.captioner import Caption, Captioner
from captioner.photos import Photo
from captioner.request import Request

MOST = 8
"""Photos in a batch: more gain little and make the first of them wait for the last."""


@dataclass(frozen=True, eq=False)
class Task:
    """A photo to caption, and how."""

    captioner: Captioner
    photo: Photo
    request: Request
    caption: Future[Caption] = field(default_factory=Future)

    @property
    def way(self) -> Hashable:
        """Tasks with the same one can be done together."""
        return id(self.captioner), self.request


class Gather:
    """`workers` threads that caption what is asked for, each on `threads` cores."""

    def __init__(self, workers: int, threads: int):
        self._waiting: deque[Task] = deque()
        self._arrived = threading.Condition()
        for _ in range(workers):
            threading.Thread(target=self._work, args=(threads,), daemon=True).start()

    def caption(self, *of_task: Any, **more: Any) -> Caption:
        """The caption of a `Task` with these fields. Raises what the model raises."""
        task = Task(*of_task, **more)
        with self._arrived:
            self._waiting.append(task)
            self._arrived.notify()
        return task.caption.result()

    def _work(self, threads: int) -> None:
        torch.set_num_threads(threads)  # of this thread
        while True:
            tasks = self._next()
            first = tasks[0]
            try:
                captions = first.captioner.caption_photos(
                    [task.photo for task in tasks], first.request
                )
            except BaseException as error:
                for task in tasks:
                    task.caption.set_exception(error)
                continue
            for task, caption in zip(tasks, captions, strict=True):
                task.caption.set_result(caption)

    def _next(self) -> list[Task]:
        """The task that has waited longest, and those that can be done with it."""
        with self._arrived:
            while not self._waiting:
                self._arrived.wait()
            way = self._waiting[0].way
            tasks = [task for task in self._waiting if task.way == way][:MOST]
            for task in tasks:
                self._waiting.remove(task)
            return tasks
