"""What became of folders, kept on the disk for a day: a server that is started anew still has it.

A file for each job, JSON lines: who began it on which server, and how many photos it has; then for
every photo its record and where its text file goes. Files are named by a digest of the job's id:
who can read the folder does not learn the ids. They and the folder are this user's only.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from captioner.batch.items import Item
from captioner.batch.records import Failure, Record
from captioner.files import own_folder

from .cache import new_id

AGE = 24 * 3600
"""Seconds that a job is kept for after its last photo."""
GONE = "This photo is no longer held here; upload it again."


def state_folder() -> Path:
    return own_folder("XDG_STATE_HOME", ".local/state") / "folders"


@dataclass
class KeptJob:
    """A job as far as it was written down. items: of the photos of `records`, whose bytes
    are not there any more. edits: a person's captions, by the photo's number. own: whether this
    server has captioned it, and not an earlier one."""

    user: str | None
    total: int
    own: bool
    items: list[Item]
    records: list[Record | Failure]
    edits: dict[int, str]


class JobFile:
    """A job's file, as it is written."""

    def __init__(self, file: IO[str] | None):
        self._file = file

    def add(self, item: Item, record: Record | Failure) -> None:
        """Write down one photo."""
        self._write({"name": item.name, "place": item.place, "record": record})

    def edit(self, i: int, caption: str) -> None:
        """Write down a person's caption of photo i; "" for the model's own. Closes the file."""
        self._write({"edited": i, "caption": caption})
        self.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):  # a full disk; a job that was ended
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Done with the photos."""
        if self._file is not None:
            self._file.close()


class KeptJobs:
    """The files of jobs in a folder; without one nothing is kept."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._server = new_id()
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            except OSError as error:
                print(f"Folders are not kept over a restart: {error}", file=sys.stderr)
                self.folder = None
        self.sweep()

    def begin(self, key: str, user: str | None, total: int) -> JobFile:
        """The file of a new job. key: its id."""
        path = self._path(key)
        if path is None:
            return JobFile(None)
        try:
            new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError:
            return JobFile(None)
        file = os.fdopen(new, "w", encoding="utf-8")
        about = {"user": user, "total": total, "server": self._server}
        file.write(json.dumps(about) + "\n")
        file.flush()
        return JobFile(file)

    def more(self, key: str) -> JobFile:
        """The file of a job that is kept, to write more into it."""
        path = self._path(key)
        try:
            return JobFile(path.open("a", encoding="utf-8") if path else None)
        except OSError:
            return JobFile(None)

    def get(self, key: object) -> KeptJob | None:
        """What is kept of a job; None where there is nothing."""
        path = self._path(key) if isinstance(key, str) else None
        try:
            if path is None or time.time() - path.stat().st_mtime > AGE:
                return None
            about, *lines = [json.loads(line) for line in path.read_text().splitlines()]
        except (OSError, ValueError):  # none, or cut off within a line
            return None
        own = about.get("server") == self._server
        job = KeptJob(about["user"], about["total"], own, [], [], {})
        for line in lines:
            if "edited" in line:
                job.edits[line["edited"]] = line["caption"]
            else:
                job.items.append(Item(line["name"], place=line["place"], problem=GONE))
                job.records.append(line["record"])
        job.edits = {i: caption for i, caption in job.edits.items() if caption}
        return job

    def sweep(self) -> None:
        """Remove what is older than a day."""
        for path in self.folder.glob("*.jsonl") if self.folder is not None else ():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > AGE:
                    path.unlink()

    def _path(self, key: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.jsonl"
