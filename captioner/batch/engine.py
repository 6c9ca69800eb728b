"""What captions the photos of a job: batches of items in, an `Outcome` for each item out.

`local_engine.py` has the model on this machine, `ray_engine.py` many of them on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Protocol

from captioner.request import Request

from .decode import Captioned
from .items import Item
from .records import Record
from .wording import Wording

Stop = Callable[[], bool]
"""Says whether a stop was asked for."""


@dataclass(frozen=True)
class EngineConfig:
    """How photos are to be captioned: all that an engine needs to know. It pickles.

    request: how each is captioned; with `heatmaps`, contact sheets are made. wording: what becomes
    of its caption. seconds: for decoding
    a photo. skip: which photos to leave out. ordered: give batches in the order of the input.
    threads: cores to use on this machine, None for all.
    steady: the threads do not depend on how many photos there are, since that can change the last
    digits.
    """

    request: Request = field(default_factory=Request)
    wording: Wording = field(default_factory=Wording)
    batch_size: int = 16
    seconds: float = 10.0
    skip: Captioned | None = None
    ordered: bool = False
    steady: bool = False
    model: str | None = None
    revision: str | None = None
    server: str | None = None
    device: str | None = None
    dtype: str | None = None
    runtime: str | None = None
    threads: int | None = None

    @property
    def asked(self) -> dict[str, object]:
        """What was asked for that captions depend on, without what is left to the model: as JSON
        gives it back."""
        given = {
            f.name: value
            for one in (self.request, self.wording)
            for f in fields(one)
            if f.name != "heatmaps" and (value := getattr(one, f.name)) != f.default
        }
        machine = {n: getattr(self, n) for n in ("model", "revision", "server", "device", "dtype")}
        if self.runtime:
            machine["runtime"] = self.runtime
        return machine | {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}


@dataclass(frozen=True)
class Outcome:
    """What became of one item: its record, or the sentence that says why there is none; neither
    when it was left out because it has a caption already. picture: what was drawn of the caption,
    as a file's bytes, where that was asked for. left_out: where the caption is that it has."""

    item: Item
    record: Record | None = None
    error: str | None = None
    picture: bytes | None = None
    left_out: str = ""


class Engine(Protocol):
    """A model at work, here or elsewhere."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What the captions depend on, for the journal."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the person should know beforehand: sentences."""
        ...

    def run(self, batches: Iterable[list[Item]], stop: Stop) -> Iterator[list[Outcome]]:
        """The outcomes of batches; once `stop()` is true no more are begun. An empty list says that
        the work begins only now."""
        ...


Start = Callable[[EngineConfig, list[Item]], AbstractContextManager[Engine]]
"""Starts an engine, given the first batch.

Raises CaptionerError: the model cannot be loaded, or a setting makes no sense."""
