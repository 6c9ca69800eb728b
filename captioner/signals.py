"""Ctrl-C and SIGTERM as a wish to stop, which long work looks at between its steps."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stopping(
    announce: Callable[[], None], begun: Callable[[], bool] = lambda: True
) -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether a stop has been asked for.

    The first signal calls `announce`; a second one interrupts (KeyboardInterrupt), and so does the
    first while `begun()` is false: there is nothing to finish yet. Outside the main thread, where
    Python takes no signals, nothing is ever asked for.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or not begun():
            raise KeyboardInterrupt
        asked = True
        announce()

    kept = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        kept = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
