"""What a job has done, on disk, so that it can be killed at any moment and continued.

For `-o captions.jsonl` (for `-o captions.csv` too: the records are where the table comes from):

    captions.jsonl          a line for every captioned photo: the results, and the journal
    captions.errors.jsonl   a line for every photo that failed
    captions.run.json       the model and settings of the last run; also the lock

Lines are only ever appended, a batch at a time in one write, and only whole lines count: what a
killed process leaves after the last newline is completed if it is a whole record, else cut off, and
its photo is done again. Written lines survive the death of the process at once; they are flushed to
the disk every few seconds and at the end, so a power cut costs the work of those seconds at most.
The lock is the kernel's (flock): it goes when its process goes, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from captioner.errors import CaptionerError, DataError
from captioner.files import replace
from captioner.texts import to_line

from .name_set import NameSet
from .records import Failure, Record

FLUSHED_EVERY = 5.0
"""Seconds between flushes to the disk."""

ASKED = "asked"
"""The entry of the settings that says what was asked for: what came of it are the others."""

Line = dict[str, Any]
"""A line that was read: at least its `file` is there."""
Read = Callable[[bytes, str], Line | None]
"""Reads a line that is to have a key; None where it is something else."""

START = '{"file": "'
"""How every line begins."""


class Journal:
    """The records, errors and settings of one job; locked while it is open.

    done: names of the photos that have a caption. failed: of those that failed before and are not
    to be tried again. last: the photo of the last record, whose batch may be torn. settings: those
    of the last run.
    """

    def __init__(self, records: Path, *, overwrite: bool = False, retry_failed: bool = False):
        """Lock the job and read what it has done, mending a torn last line. With `overwrite`
        nothing counts as done.

        Raises:
            CaptionerError: another run has it, or the folder cannot be written to.
            DataError: the file is there but holds something else.
        """
        self.records = records
        self.errors = self.errors_file(records)
        self.overwrite = overwrite
        self.last: str | None = None
        self.done = NameSet()
        self.failed: set[str] = set()
        self.settings: dict[str, object] = {}
        self._files: list[int] = []
        with _writing(records):
            records.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self.run_file(records), f"writing {records}")
            if overwrite:
                return
            self.settings = _read_settings(self._lock)
            for line in _mended(records, "caption", _names):
                self.last = str(line["file"])
                self.done.add(self.last)
            failed = self._tidy_errors()
            if not retry_failed:
                self.failed.update(failed)

    @staticmethod
    def errors_file(records: Path) -> Path:
        return records.with_suffix(".errors.jsonl")

    @staticmethod
    def run_file(records: Path) -> Path:
        return records.with_suffix(".run.json")

    def asked_else(self, asked: Mapping[str, object]) -> bool:
        """Whether the photos that are done were captioned when something else was asked for than
        this (`EngineConfig.asked`)."""
        return bool(self.done) and self.settings.get(ASKED) != asked

    @property
    def seed(self) -> int | None:
        """The seed that the draws of the last run followed from; None where nothing was drawn."""
        seed = self.settings.get("seed")
        return seed if self.settings.get("sample") and isinstance(seed, int) else None

    def changes(self, settings: Mapping[str, object]) -> list[str]:
        """What of the settings has changed since the photos were captioned that are done before, in
        words."""
        return _changes(self.settings, settings) if self.done else []

    def begin(self, settings: Mapping[str, object]) -> None:
        """Make ready for writing, and note the model and settings; with `overwrite` what is there
        is dropped now."""
        with _writing(self.records):
            if self.overwrite:
                self.records.unlink(missing_ok=True)
                self.errors.unlink(missing_ok=True)
            _write_settings(self._lock, settings)
            self._files = [
                os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                for path in (self.records, self.errors)
            ]
        self._flushed = time.monotonic()

    def write(self, records: Iterable[Record], errors: Iterable[Failure]) -> None:
        """Append what became of a batch; when this returns, the death of the process cannot undo
        it. Raises CaptionerError when it cannot be written."""
        for file, lines in zip(
            self._files, (map(to_line, records), map(to_line, errors)), strict=True
        ):
            data = "".join(f"{line}\n" for line in lines).encode()
            with _writing(self.records):
                while data:
                    data = data[os.write(file, data) :]
        if time.monotonic() - self._flushed > FLUSHED_EVERY:
            self._flush()

    def close(self) -> None:
        """Flush, leave in the errors file only what still has no caption, and unlock."""
        if self._files:
            self._flush()
            for file in self._files:
                os.close(file)
            self._files = []
            self._tidy_errors()
        os.close(self._lock)

    def _flush(self) -> None:
        with _writing(self.records):
            for file in self._files:
                os.fsync(file)
        self._flushed = time.monotonic()

    def _tidy_errors(self) -> set[str]:
        """The photos whose failures still stand; the file is rewritten to hold just those, once
        each."""
        if not self.errors.exists():
            return set()
        every = list(_mended(self.errors, "error"))
        standing = {str(line["file"]): cast(Failure, line) for line in every}
        for line in read_records(self.records):
            standing.pop(line["file"], None)
        if not standing:
            self.errors.unlink()
        elif len(standing) < len(every):
            text = "".join(to_line(line) + "\n" for line in standing.values())
            replace(self.errors, text.encode())
        return set(standing)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CaptionerError(
            f"{error.filename or path} cannot be written: {error.strerror}. What has been written "
            "is safe; the same command continues."
        ) from error


def read_records(path: Path) -> Iterator[Record]:
    """All records of a job, as they were written; none where there is no file."""
    if path.exists():
        for _, content in _lines(path, "caption"):
            yield cast(Record, content)


def read_failures(records: Path) -> Iterator[Failure]:
    """What failed of a job; nothing where there is no file."""
    errors = Journal.errors_file(records)
    if errors.exists():
        for _, content in _lines(errors, "error"):
            yield cast(Failure, content)


def is_journal(path: Path) -> bool:
    """Whether a file begins as records and errors do, were it cut at any byte; `Journal` looks at
    all of its lines."""
    start = START.encode()
    with contextlib.suppress(OSError), path.open("rb") as stream:
        head = stream.read(len(start))
        return start.startswith(head)
    return False


def is_run_file(path: Path) -> bool:
    """Whether a file holds the settings of a run, or nothing yet."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        data = stream.read(1 << 20)
        return not data.strip(b"\0") or "captioner" in _settings(data)
    return False


def lock(path: Path, what: str) -> int:
    """Open a file or folder for this process alone; the lock lasts until it is closed.

    Raises CaptionerError when another process has it.
    """
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    file = os.open(path, mode, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise CaptionerError(
            f"Another run is {what}: wait for it to end, or give another place with -o."
        ) from None
    except OSError:
        pass  # a file system without locks
    return file


# Lines --------------------------------------------------------------------------------------------


def _mended(path: Path, key: str, read: Read | None = None) -> Iterator[Line]:
    """The lines of a file whose lines all have `key`, as `read` gives them; a torn last one is
    mended first. None where there is no file.

    Raises DataError for a file of something else.
    """
    if not path.exists():
        return
    size = 0  # of the whole lines
    for whole, content in _lines(path, key, read):
        size += whole
        yield content
    if size < path.stat().st_size:
        _mend(path, size, key)
        rest = path.stat().st_size
        if rest > size:  # the torn line was a whole record
            with path.open("rb") as stream:
                stream.seek(size)
                yield json.loads(stream.read())


def _lines(path: Path, key: str, read: Read | None = None) -> Iterator[tuple[int, Line]]:
    """(bytes, content) of every whole line."""
    read = read or _content
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.endswith(b"\n"):
                content = read(line, key)
                if content is None:
                    raise DataError(
                        f"{path}, line {number} is not a record of captioner; if it is another "
                        "file, give another -o, else repair the line or give --overwrite."
                    )
                yield len(line), content


def _mend(path: Path, size: int, key: str) -> None:
    with path.open("r+b") as stream:
        stream.seek(size)
        tail = stream.read()
        if _content(tail, key) is None:
            stream.truncate(size)
        else:
            stream.write(b"\n")
        os.fsync(stream.fileno())


def _names(line: bytes, key: str) -> Line | None:
    """`_content` with nothing but the file, where the line begins and ends as ours do and nothing
    is torn off or lost within: in a fifth of the time, which counts among a million lines. The
    values are looked at when they are used."""
    with contextlib.suppress(UnicodeDecodeError):
        text = line.decode()
        name, _, rest = text[len(START) :].partition('"')
        ours = text.startswith(START) and text.endswith("}\n") and text[:-1].isprintable()
        if ours and "\\" not in name and f', "{key}": "' in rest and START not in rest:
            return {"file": name}
    return _content(line, key)


def _content(line: bytes, key: str) -> Line | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(content, dict) and isinstance(content.get("file"), str) and key in content:
        return content
    return None


# Settings -----------------------------------------------------------------------------------------


def _read_settings(file: int) -> dict[str, object]:
    os.lseek(file, 0, os.SEEK_SET)
    return _settings(os.read(file, 1 << 20))


def _settings(data: bytes) -> dict[str, object]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}  # not there yet, or torn by a power cut: nothing depends on it
    return content if isinstance(content, dict) else {}


def _write_settings(file: int, settings: Mapping[str, object]) -> None:
    data = json.dumps(settings, indent=2, sort_keys=True).encode() + b"\n"
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, data)


def _changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What differs between the settings of two runs, in words."""
    return [
        f"{name} was {before[name]!r} and is {now.get(name)!r}"
        for name in sorted(before)
        if name != ASKED and before[name] != now.get(name)
    ]
