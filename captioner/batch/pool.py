"""Work on untrusted bytes in processes beside this one, which may hang or die without harm.

    with Pool(2) as pool:
        for place, answer in pool.map(function, items, window=64, limit=lambda item: 10.0):
            ...                 # answer: what function(items[place]) gave, or a PhotoError

The processes are our own children over a pair of sockets, not `multiprocessing`'s: those would
import the caller's main program again, and stay behind when it is killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe
from typing import Any, Protocol, TypeVar, cast

from captioner.errors import CaptionerError, PhotoError

from . import worker


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)
R = TypeVar("R")
START = 120.0
"""Seconds that a process may take to start; a busy machine needs some."""
_END = object()


class Pool:
    """`workers` processes, or threads of this process (quicker to start, but a crash is a crash and
    a hung thread stays until the program ends)."""

    def __init__(self, workers: int, *, processes: bool = True):
        self._workers = [Worker(processes) for _ in range(workers)]

    def __len__(self) -> int:
        return len(self._workers)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for one in self._workers:
            one.stop()

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        window: int,
        limit: Callable[[T], float],
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, R | PhotoError]]:
        """(place in `items`, answer) as they are done. The answer is the function's result, or a
        PhotoError: the one that it raised, or that it took longer than `limit(item)` seconds, or
        that the process died of it.

        `function` must be one that pickles. At most `window` items are under way or waiting to be
        taken. Once `stop()` is true no more are given out, and the iterator ends. What iterating
        over `items` raises is raised here.
        """
        source, lock, ended = enumerate(items), threading.Lock(), threading.Event()
        room = threading.Semaphore(window)
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def work(one: Worker) -> None:
            try:
                while True:
                    room.acquire()
                    with lock:
                        if ended.is_set():
                            break
                        place, item = next(source, (-1, None))
                        if item is None:
                            ended.set()
                            break
                    done.put((place, one.ask(function, item, limit(item))))
            except BaseException as error:
                ended.set()
                done.put(error)
            room.release()  # for a thread that waits, to see that it is over
            done.put(_END)

        for one in self._workers:
            threading.Thread(target=work, args=(one,), daemon=True).start()
        working = len(self._workers)
        try:
            while working and not stop():
                with contextlib.suppress(queue.Empty):
                    got = done.get(timeout=0.2)
                    if got is _END:
                        working -= 1
                    elif isinstance(got, BaseException):
                        raise got
                    else:
                        yield got
                        room.release()
        finally:
            ended.set()
            room.release(len(self._workers))


class Worker:
    """One process (or thread) and the pipe to it; started anew when it is lost."""

    def __init__(self, process: bool):
        self.isolated = process
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self._start()

    def _start(self) -> None:
        self.pipe, other = Pipe()
        self.ready = False
        if not self.isolated:
            threading.Thread(target=worker.serve, args=(other,), daemon=True).start()
            return
        # -P and the same path: nothing in the current folder is imported that this program would
        # not import. A session of its own: Ctrl-C is for this program to deal with.
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path)  # noqa: PTH100
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", worker.__name__, str(other.fileno())],
            pass_fds=[other.fileno()],
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        other.close()

    def ask(self, function: Callable[[T], R], item: T, seconds: float) -> R | PhotoError:
        """What the function gives for the item, or a PhotoError, as `Pool.map` says.

        Raises CaptionerError when the process cannot be started, or loads not what it needs."""
        try:
            if not self.ready and not (self.pipe.poll(START) and self.pipe.recv() == "ready"):
                raise EOFError
        except (EOFError, OSError):
            raise CaptionerError(
                "A process for decoding photos could not be started; the lines above may say why."
            ) from None
        self.ready = True
        try:
            self.pipe.send((function, item, seconds))
            if self.pipe.poll(seconds):
                answer = self.pipe.recv()
                if isinstance(answer, CaptionerError) and not isinstance(answer, PhotoError):
                    raise answer
                return cast(R | PhotoError, answer)
            problem = f"took longer than {seconds:g} s to decode and was given up"
        except (EOFError, OSError):
            problem = "was not decoded: the run was stopped" if self.stopped else self._death()
        if not self.stopped:
            self._end()
            self._start()
        return PhotoError(f"{item.name} {problem}.")

    def _death(self) -> str:
        code = self.process.wait() if self.process else 0
        if code == -signal.SIGKILL:
            return "ended the process that decoded it; it may need more memory than there is"
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"crashed its decoder ({name})"

    def stop(self) -> None:
        """For good. A thread that waits for an answer gets a PhotoError."""
        self.stopped = True
        self._end()

    def _end(self) -> None:
        if self.process:
            self.process.kill()  # before the pipe is closed: it wakes who waits at it
            self.process.wait()
        self.pipe.close()
