"""Long work that the page asks for: jobs of the server's, and not of a connection.

One thread does a step of one job at a time, and the page asks how far its job is. So nothing is
lost with a connection, and whoever comes next waits only for those who are still there.
"""

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from captioner.batch.items import Item
from captioner.captioner import Captioner
from captioner.request import Request

from .messages import State

ATTENDED = 3
"""Seconds since its page last asked, up to which a job counts as watched."""
ABANDONED = 600
"""Seconds since its page last asked, after which a job stops."""


@dataclass(eq=False, kw_only=True)
class Job:
    """Work on many photos.

    user: who is logged in; only they may ask for it. key: its id; "" when nobody asks for it by
    one. seen: when its page last asked, by the clock of `time.monotonic`.
    """

    items: list[Item]
    captioner: Captioner
    request: Request
    user: str | None = None
    key: str = ""
    state: State = "waiting"
    seconds: float = 0.0
    seen: float = field(default_factory=time.monotonic)
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def attended(self) -> bool:
        return time.monotonic() - self.seen < ATTENDED

    def step(self) -> None:
        """Do the next part of the work; the last one ends the job."""
        raise NotImplementedError

    def end(self, state: State) -> None:
        if self.state in ("waiting", "running"):
            self.state = state
        self.finished.set()

    def close(self) -> None:
        """Let go of what it needs no more, once it has ended."""


class JobQueue:
    """Jobs in the order in which they came; those that are watched before those whose page is gone.

    over: is told of each job that has ended, before it leaves.
    """

    def __init__(self, over: Callable[[Job], None]):
        self._over = over
        self._open: list[Job] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def add(self, job: Job) -> None:
        with self._changed:
            self._open.append(job)
            self._changed.notify()

    def find(self, key: object) -> Job | None:
        """The job with this id, where it is not over."""
        with self._changed:
            return next((job for job in self._open if job.key and job.key == key), None)

    def before(self, job: Job) -> int:
        """How many jobs get their turn before this one."""
        with self._changed:
            if job.state != "waiting" or job not in self._open:
                return 0
            older = self._open[: self._open.index(job)]
            return sum(other.attended for other in older)

    def files(self) -> set[str]:
        """The files that jobs are not done with."""
        with self._changed:
            return {item.path for job in self._open for item in job.items if item.path}

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._open:
                    self._changed.wait()
                job = min(self._open, key=lambda job: not job.attended)
            try:
                if time.monotonic() - job.seen > ABANDONED:
                    job.end("stopped")
                if job.state in ("waiting", "running"):
                    if job.state == "waiting":
                        job.state = "running"
                    began = time.perf_counter()
                    job.step()
                    job.seconds += time.perf_counter() - began
            except Exception:
                traceback.print_exc()
                job.end("failed")
            if job.finished.is_set():
                self._leave(job)

    def _leave(self, job: Job) -> None:
        try:
            job.close()
        except Exception:
            traceback.print_exc()
        self._over(job)
        with self._changed:
            self._open.remove(job)
