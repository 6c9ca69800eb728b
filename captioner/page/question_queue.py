"""The queue of the Caption tab: so many photos in work, the others in their order behind them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from captioner.errors import CaptionerError

T = TypeVar("T")


class SupersededError(Exception):
    """The page has asked for another photo before this one's turn came."""


@dataclass(eq=False)
class Waiting:
    """A question in the queue; `turn` is done when its turn has come."""

    page: str
    turn: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class QuestionQueue:
    """Runs work in threads, `running` at a time; `waiting` may wait for it.

    A page waits for one answer only: when it asks anew, what it asked before leaves the queue.
    All methods belong to the server's event loop.
    """

    def __init__(self, running: int, waiting: int):
        self.running = running
        self.waiting = waiting
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="question")
        self._at_work = 0
        self._queue: list[Waiting] = []

    async def run(self, page: str, work: Callable[[], T]) -> T:
        """What the work gives, in its turn.

        page: an id of the page that asks. Raises SupersededError, CaptionerError when too many
        wait, and what the work raises.
        """
        for older in [w for w in self._queue if w.page == page]:
            self._queue.remove(older)
            older.turn.set_exception(SupersededError())
        if self._at_work < self.running:
            self._at_work += 1
        else:
            await self._turn(page)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._leave()

    async def _turn(self, page: str) -> None:
        if len(self._queue) >= self.waiting:
            raise CaptionerError(
                f"The server is busy: {len(self._queue) + self._at_work} photos are before yours, "
                "and no more can wait. Try again in a moment."
            )
        me = Waiting(page)
        self._queue.append(me)
        try:
            await me.turn
        except asyncio.CancelledError:  # who asked has gone
            if me in self._queue:
                self._queue.remove(me)
            elif not me.turn.cancelled() and me.turn.exception() is None:
                self._leave()  # its turn had just come
            raise

    def _leave(self) -> None:
        """The place at work goes on to the next."""
        if self._queue:
            self._queue.pop(0).turn.set_result(None)
        else:
            self._at_work -= 1

    def before(self, page: str) -> int:
        """How many photos wait before this page's; 0 when its turn has come."""
        places = [place for place, w in enumerate(self._queue, 1) if w.page == page]
        return places[0] if places else 0
