"""How a job goes: a live bar on a terminal, a line now and then elsewhere, a summary at the end."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import typer

from captioner.exits import Exit

from .sources import Ignored

LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal."""
SHOWN = 20
"""Failures that are shown one by one when they are in a file, too."""


@dataclass
class Tally:
    """Photos by what became of them.

    before, failed_before: captioned and failed in earlier runs. left_out: of --skip-captioned.
    captions_in: where the captions of those left out are, and how many are there. unfinished: the
    job was stopped before its end.
    """

    captioned: int = 0
    failed: int = 0
    before: int = 0
    failed_before: int = 0
    left_out: int = 0
    captions_in: Counter[str] = field(default_factory=Counter)
    ignored: Ignored = field(default_factory=Ignored)
    began: float = field(default_factory=time.monotonic)
    unfinished: bool = False

    @property
    def seen(self) -> int:
        return self.captioned + self.failed + self.before + self.failed_before + self.left_out

    @property
    def rate(self) -> float:
        """Photos a second, of those that were worked on."""
        return (self.captioned + self.failed) / max(time.monotonic() - self.began, 1e-3)

    def status(self) -> Exit:
        """The exit status; photos of earlier runs count, too."""
        if not self.failed + self.failed_before:
            return Exit.DONE
        some = self.captioned + self.before + self.left_out
        return Exit.SOME_PHOTOS if some else Exit.ALL_PHOTOS

    def summary(self, errors: str = "", *, rate: bool = True) -> str:
        parts = [f"{self.captioned:,} captioned"]
        skipped = self.before + self.failed_before + self.left_out
        if skipped:
            reasons = [
                f"{n:,} {why}"
                for n, why in (
                    (self.before, "done before"),
                    (self.failed_before, "failed before: --retry-failed tries them again"),
                    (self.left_out, f"with a caption of their own{self._where()}"),
                )
                if n
            ]
            parts.append(f"{skipped:,} skipped ({'; '.join(reasons)})")
        if self.failed:
            parts.append(f"{self.failed:,} failed{f' ({errors})' if errors else ''}")
        if rate and self.captioned + self.failed > 1:
            parts.append(f"{self.rate:.1f} photos/s")
        text = ", ".join(parts)
        return f"{text}. Passed over: {self.ignored}." if self.ignored else f"{text}."

    def _where(self) -> str:
        """ ": 3 in a text file, 1 in IPTC Caption-Abstract" """
        places = sorted(self.captions_in.items())
        where = ", ".join(f"{number:,} in {place}" for place, number in places if place)
        return f": {where}" if where else ""


class Progress:
    """Shows a tally as it grows, on stderr. begun: the model has photos to work on."""

    def __init__(self, tally: Tally, *, quiet: bool, bar: bool):
        self.tally = tally
        self.quiet = quiet
        self.total: int | None = None
        self.begun = False
        self._to_count: Callable[[], int] | None = None
        self._shown = 0
        self._last = time.monotonic()
        self._bar: Any = None
        self._wants_bar = bar and not quiet

    def begin(self, count: Callable[[], int] | None) -> None:
        """Work begins now. `count` finds out how many photos there are, once the first ones have
        their captions: it is not to hold them up."""
        self.tally.began = self._last = time.monotonic()
        self.begun = True
        if self._wants_bar:
            from tqdm import tqdm

            self._bar = tqdm(unit="photo", smoothing=0.1, file=sys.stderr, dynamic_ncols=True)
        self._to_count = None if self.quiet else count

    def _count(self, count: Callable[[], int]) -> None:
        # Whatever is wrong with the input is said when the photo's turn comes.
        with contextlib.suppress(Exception):
            self.total = count()

    def update(self) -> None:
        """Show the tally as it is now."""
        if not self.tally.captioned + self.tally.failed + self.tally.left_out:
            self.tally.began = time.monotonic()  # what it takes to begin is no part of the rate
        if count := self._to_count:
            self._to_count = None
            threading.Thread(target=self._count, args=(count,), daemon=True).start()
        if self._bar is not None:
            if self._bar.total != self.total:
                self._bar.total = self.total
            # Photos of earlier runs are no part of the rate.
            self._bar.initial = self.tally.seen - self.tally.captioned - self.tally.failed
            failed = self.tally.failed + self.tally.failed_before
            self._bar.set_postfix(failed=failed, refresh=False)
            self._bar.update(self.tally.seen - self._bar.n)
        elif not self.quiet and time.monotonic() - self._last > LINE_EVERY:
            self._last = time.monotonic()
            self.say(self._line())

    def _line(self) -> str:
        tally, of = self.tally, f" of {self.total:,}" if self.total else ""
        line = f"{tally.seen:,}{of} photos, {tally.failed:,} failed, {tally.rate:.1f} photos/s"
        if self.total and tally.rate > 0:
            line += f", about {_duration((self.total - tally.seen) / tally.rate)} left"
        return line

    def failed(self, sentence: str, file: str = "") -> None:
        """Show a failure; where `file` lists them all, the first ones only."""
        if self.quiet and file:
            return
        self._shown += 1
        if file and self._shown > SHOWN:
            if self._shown == SHOWN + 1:
                self.say(f"Further errors are in {file} only.")
            return
        self.say(f"Error: {sentence}")

    def say(self, text: str) -> None:
        """A line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        typer.echo(text, err=True)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
