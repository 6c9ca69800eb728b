"""A job from end to end: what is missing is captioned, written, and noted as done.

`spec.py` says what is asked for, an engine (`engine.py`) turns batches of items into outcomes; here
batches are planned, and outcomes written.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.outputs import Guard
from captioner.texts import percent, to_line

from .engine import EngineConfig, Outcome, Start, Stop
from .items import Item, chunks
from .journal import Journal, lock
from .metadata import Described, WriteMetadata
from .pool import Worker
from .progress import Progress, Tally
from .records import Failure, Record, failure
from .sidecars import XmpSidecars
from .sources import Ignored
from .spec import JobSpec
from .watch import Arrivals
from .writers import Sheets, Sidecars


def run_job(
    spec: JobSpec, guard: Guard, start: Start, tally: Tally, progress: Progress, stop: Stop
) -> None:
    """Do what is missing of a job. Once `stop()` is true, finish what the model has, and return.

    Args:
        guard: `spec.check()`. start: it is not called when there is nothing to do.

    Raises CaptionerError: the model cannot be loaded, a setting makes no sense, another run is at
    work on the same files, or results cannot be written.
    """
    with contextlib.ExitStack() as ending:
        folders = [p for p in map(Path, spec.named) if spec.in_place and p.is_dir()]
        for folder in folders:
            ending.callback(os.close, lock(folder, f"captioning {folder}"))
        writer = _writer(spec, guard)
        ending.callback(writer.close)
        ending.callback(progress.close)
        if spec.records:
            writer.journal = Journal(
                spec.records, overwrite=spec.overwrite, retry_failed=spec.retry_failed
            )
        arrivals = Arrivals() if spec.watch else None

        known = writer.journal.done if writer.journal else ()

        def find(ignored: Ignored) -> Iterator[Item]:
            items = spec.find(ignored, known)
            items = writer.sheets.named(items) if writer.sheets else items
            return arrivals.new(items) if arrivals else items

        batches = plan(find(tally.ignored), spec.batch_size, writer.journal, tally)
        first = next(batches, None)
        idle = first is None and not arrivals
        config = _with_seed(spec.config, writer.journal)
        if idle and not (writer.journal and writer.journal.asked_else(config.asked)):
            return
        # Where all is done and something else is asked for, the model says what that amounts to.
        engine = ending.enter_context(start(config, first or []))
        for note in engine.notes if first else ():
            progress.say(f"Note: {note}")
        if writer.journal:
            if changes := writer.journal.changes(engine.settings):
                progress.say(_changed(len(writer.journal.done), changes))
            if not idle:
                writer.journal.begin(engine.settings)
        elif config.request.seed != spec.request.seed and not spec.quiet:
            progress.say(f"Note: --seed {config.request.seed} draws the same captions again.")
        if idle:
            return
        progress.begin(
            (lambda: sum(1 for _ in spec.find(Ignored(), known))) if spec.countable else None
        )
        while True:
            left = Counted(itertools.chain([first] if first else [], batches))
            for outcomes in engine.run(left, stop):
                left.items -= len(outcomes)
                writer.write(outcomes, tally, progress)
            tally.unfinished = bool(left.items) or not left.exhausted
            if not arrivals or not arrivals.wait(stop):
                return
            first, batches = None, chunks(find(Ignored()), spec.batch_size)


def _with_seed(config: EngineConfig, journal: Journal | None) -> EngineConfig:
    """With the seed of the draws, where there are some: the one given, that of the run which is
    continued, or a new one."""
    request = config.request
    if request.sample and request.seed is None:
        request = request.with_(seed=journal.seed if journal else None).seeded()
    return replace(config, request=request)


def _changed(number: int, changes: list[str]) -> str:
    return (
        f"Note: {number:,} photos were captioned before with other settings: {'; '.join(changes)}. "
        "Their captions stay as they are; --overwrite makes them anew, and another -o keeps both."
    )


class Counted:
    """Batches as they are, counted as they are taken.

    items: those in the batches taken so far. exhausted: there are no more.
    """

    def __init__(self, batches: Iterable[list[Item]]):
        self._batches = batches
        self.items = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[list[Item]]:
        for batch in self._batches:
            self.items += len(batch)
            yield batch
        self.exhausted = True


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
        undone = [item for item in batch if item.name not in journal.done]
        tally.before += len(batch) - len(undone)
        if not undone:
            continue
        tried = [item for item in batch if item.name not in journal.failed]
        missing = [item for item in undone if item.name not in journal.failed]
        tally.failed_before += len(batch) - len(tried)
        if not missing:
            continue
        whole = len(missing) == len(tried) or any(item.name == journal.last for item in batch)
        if mixed and (whole or len(mixed) + len(missing) > size):
            yield mixed
            mixed = []
        if whole:
            yield tried
        else:
            mixed = mixed + missing
    if mixed:
        yield mixed


def _writer(spec: JobSpec, guard: Guard) -> JobWriter:
    return JobWriter(
        sidecars=Sidecars(spec.text_folder, guard, spec.extension) if spec.kind == "txt" else None,
        xmp=XmpSidecars(guard) if spec.sidecar else None,
        metadata=WriteMetadata(spec.alt_text, spec.overwrite) if spec.write_metadata else None,
        sheets=Sheets(spec.sheets, guard) if spec.sheets else None,
        printed=spec.printed,
    )


@dataclass
class JobWriter:
    """Writes outcomes wherever they go. The journal comes last: what it holds has been written
    everywhere."""

    journal: Journal | None = None
    sidecars: Sidecars | None = None
    xmp: XmpSidecars | None = None
    metadata: WriteMetadata | None = None
    sheets: Sheets | None = None
    printed: str | None = None
    """"text", "words" or "json", on stdout."""
    _worker: Worker | None = field(default=None, init=False)

    def write(self, outcomes: Iterable[Outcome], tally: Tally, progress: Progress) -> None:
        """Write a batch, and count and show what became of it."""
        records: list[Record] = []
        errors: list[Failure] = []
        for one in outcomes:
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
                tally.captions_in[one.left_out] += 1
        if self.journal:
            self.journal.write(records, errors)
        tally.captioned += len(records)
        tally.failed += len(errors)
        progress.update()

    def _write_one(self, one: Outcome, record: Record) -> None:
        caption = record["caption"]
        if self.sheets and one.picture:
            self.sheets.write(one.item, one.picture)
        if self.sidecars:
            self.sidecars.write(one.item, caption)
        if self.xmp:
            self.xmp.write(one.item, caption)
        if self.metadata:
            self._write_inside(self.metadata, one.item, caption)
        if self.printed == "json":
            print(to_line(record), flush=True)
        elif self.printed:
            texts = [caption, *(other["caption"] for other in record["alternatives"])]
            lines = ["\t".join([_on_one_line(one.item.name), *texts])]
            if self.printed == "words":
                lines += [f"{percent(w['probability']):>6}  {w['text']}" for w in record["words"]]
            print("\n".join(lines), flush=True)

    def _write_inside(self, write: WriteMetadata, item: Item, caption: str) -> None:
        if item.file is None:
            raise CaptionerError(
                f"The caption was not written into {item.name}: it is no file of its own."
            )
        self._worker = self._worker or Worker(True)
        problem = self._worker.ask(write, Described(item.name, item.file, caption), 60.0)
        if problem is not None:
            raise problem

    def close(self) -> None:
        if self._worker:
            self._worker.stop()
        if self.journal:
            self.journal.close()


def _on_one_line(name: str) -> str:
    """A file name for a line of `name<TAB>caption`: it may hold tabs and newlines itself."""
    for sign, shown in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        name = name.replace(sign, shown)
    return name
