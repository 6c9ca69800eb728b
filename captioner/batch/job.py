"""A job from end to end: what is missing is captioned, written, and noted as done.

`command.py` sets a job up from a command line. An engine (`local_engine.py`, `ray_engine.py`) turns
batches of items into `Result`s; here batches are planned, and results written.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from captioner.errors import CaptionerError
from captioner.files import replace
from captioner.request import Request
from captioner.texts import to_line

from .decode import Captioned
from .items import Item, chunks
from .journal import Journal
from .metadata import Described, WriteMetadata
from .pool import Worker
from .progress import Progress, Tally
from .records import failure, record
from .sources import Ignored
from .writers import Sidecars

if TYPE_CHECKING:
    from captioner.captioner import Captioner

    from .run import Done


@dataclass(frozen=True)
class Task:
    """How photos are to be captioned: all that an engine needs to know. It pickles.

    seconds: for decoding a photo. skip: which photos to leave out. sheets: make contact sheets.
    ordered: give batches in the order of the input. steady: the threads do not depend on how many
    photos there are, since that can change the last digits. request: how they are captioned.
    """

    batch_size: int = 16
    seconds: float = 10.0
    skip: Captioned | None = None
    sheets: bool = False
    ordered: bool = False
    steady: bool = False
    request: Request = field(default_factory=Request)
    model: str | None = None
    device: str | None = None
    dtype: str | None = None


class Engine(Protocol):
    """A model at work, here or elsewhere."""

    settings: dict[str, Any]
    """What the captions depend on, for the journal."""

    def run(
        self, batches: Iterable[list[Item]], stop: Callable[[], bool]
    ) -> Iterator[list[Result]]:
        """The results of batches; once `stop()` is true no more are begun."""
        ...


def run_job(
    find: Callable[[Ignored], Iterator[Item]],
    task: Task,
    outputs: Outputs,
    start: Callable[[Task, list[Item]], AbstractContextManager[Engine]],
    tally: Tally,
    progress: Progress,
    *,
    stop: Callable[[], bool] = lambda: False,
    count: bool = True,
) -> None:
    """Do what is missing of a job. Once `stop()` is true, finish what the model has, and return.

    Args:
        find: gives the items, from the beginning each time it is called.
        start: starts an engine for a task, given its first batch. It is not called when there is
            nothing to do.
        count: find out how many items there are while the first are being captioned.

    Raises CaptionerError: the model cannot be loaded, a setting makes no sense, or results cannot
    be written.
    """
    items = find(tally.ignored)
    if outputs.sheets:
        items = outputs.sheets.named(items)
    batches = plan(items, task.batch_size, outputs.journal, tally)
    first = next(batches, None)
    if first is None:
        return
    with start(task, first) as engine:
        if outputs.journal:
            for change in outputs.journal.begin(engine.settings):
                progress.say(f"Note: for the photos done before, {change}.")
        progress.begin((lambda: sum(1 for _ in find(Ignored()))) if count else None)
        for results in engine.run(itertools.chain([first], batches), stop):
            outputs.write(results, tally, progress)


@dataclass(frozen=True)
class Result:
    """What became of one item, as it is written: its record, or the sentence that says why there
    is none; neither when it was left out. sheet: its contact sheet as PNG, where one is wanted."""

    item: Item
    record: dict[str, Any] | None = None
    error: str | None = None
    sheet: bytes | None = None


def result(done: Done, model: Captioner, *, sheet: bool) -> Result:
    """The result of a captioned item."""
    if done.caption is None:
        return Result(done.item, error=str(done.error) if done.error else None)
    png = io.BytesIO()
    if sheet:
        done.caption.contact_sheet().save(png, "PNG")
    return Result(done.item, record(done.item, done.caption, model), sheet=png.getvalue() or None)


def plan(
    items: Iterable[Item], size: int, journal: Journal | None, tally: Tally
) -> Iterator[list[Item]]:
    """Batches of what is missing, at most `size` items each.

    Batches are cut from the whole input, so that a run that was stopped continues with the very
    batches that it had not finished, and its captions come out the same to the last digit. What is
    missing here and there goes together. Of the batch that was being written when the run was
    killed, all items come again; those that have their record already are not written twice.
    """
    if journal is None:
        yield from chunks(items, size)
        return
    mixed: list[Item] = []
    for batch in chunks(items, size):
        names = {item.name for item in batch}
        tally.before += len(names & journal.done)
        tally.failed_before += len(names & journal.failed)
        tried = [item for item in batch if item.name not in journal.failed]
        missing = [item for item in tried if item.name not in journal.done]
        whole = len(missing) == len(tried) or journal.last in names
        if not missing:
            continue
        if mixed and (whole or len(mixed) + len(missing) > size):
            yield mixed
            mixed = []
        if whole:
            yield tried
        else:
            mixed = mixed + missing
    if mixed:
        yield mixed


@dataclass
class Outputs:
    """Where results go. The journal comes last: what it holds has been written everywhere."""

    journal: Journal | None = None
    sidecars: Sidecars | None = None
    metadata: WriteMetadata | None = None
    sheets: Sheets | None = None
    printed: str | None = None
    """"text" or "json", on stdout."""
    _writer: Worker | None = field(default=None, init=False)

    def write(self, results: Iterable[Result], tally: Tally, progress: Progress) -> None:
        """Write a batch, and count and tell what became of it."""
        records, errors = [], []
        for one in results:
            if self.journal and one.item.name in self.journal.done:
                continue
            error = one.error
            if one.record:
                try:
                    self._write_one(one, one.record)
                    records.append(one.record)
                except CaptionerError as problem:
                    error = str(problem)
            if error:
                errors.append(failure(one.item, error))
                progress.failed(error, str(self.journal.errors) if self.journal else "")
            elif not one.record:
                tally.left_out += 1
        if self.journal:
            self.journal.write(records, errors)
        tally.captioned += len(records)
        tally.failed += len(errors)
        progress.update()

    def _write_one(self, one: Result, content: dict[str, Any]) -> None:
        caption = content["caption"]
        if self.sheets and one.sheet:
            self.sheets.write(one.item, one.sheet)
        if self.sidecars:
            self.sidecars.write(one.item, caption)
        if self.metadata:
            self._write_inside(self.metadata, one.item, caption)
        if self.printed == "json":
            print(to_line(content), flush=True)
        elif self.printed:
            print(f"{_on_one_line(one.item.name)}\t{caption}", flush=True)

    def _write_inside(self, write: WriteMetadata, item: Item, caption: str) -> None:
        if item.file is None:
            raise CaptionerError(
                f"The caption was not written into {item.name}: it is no file of its own."
            )
        self._writer = self._writer or Worker(True)
        outcome = self._writer.ask(write, Described(item.name, item.file, caption), 60.0)
        if isinstance(outcome, Exception):
            raise outcome

    def close(self) -> None:
        if self._writer:
            self._writer.stop()
        if self.journal:
            self.journal.close()


def _on_one_line(name: str) -> str:
    """A file name for a line of `name<TAB>caption`: it may hold tabs and newlines itself."""
    for sign, shown in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        name = name.replace(sign, shown)
    return name


class Sheets:
    """Contact sheets in one folder, each with the name of its photo; where two photos share it, the
    second has a number, too."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def named(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items as they are; their sheets are named in this order, whenever they are made."""
        for item in items:
            stem = Path(item.name).stem
            name, n = f"{stem}.png", 2
            while name.lower() in self._taken:
                name, n = f"{stem}-{n}.png", n + 1
            self._taken.add(name.lower())
            self._names[item.name] = name
            yield item

    def write(self, item: Item, png: bytes) -> None:
        """Raises CaptionerError when the sheet cannot be written."""
        path = self.folder / self._names.pop(item.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace(path, png)
        except OSError as error:
            raise CaptionerError(
                f"The contact sheet {path} cannot be written: {error.strerror}."
            ) from error
