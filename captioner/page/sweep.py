"""The server's own folder for uploads, and how nothing stays behind in it for long.

A live server holds a lock in its folder. A folder without one belonged to a server that was killed.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

PREFIX = "captioner-"
LOCK = ".lock"
AGE = 3600
"""Seconds that an upload is kept for."""
EVERY = 600
"""Seconds from sweep to sweep."""


class UploadFolder:
    """A folder that belongs to this server until `remove`, or until the process ends."""

    def __init__(self) -> None:
        root = os.environ.get("GRADIO_TEMP_DIR") or None
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        self._lock = (self.path / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        sweep_dead(self.path.parent)

    def remove(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def sweep_from_time_to_time(
        self, in_use: Callable[[], Collection[str]], also: Callable[[], None]
    ) -> None:
        """Start to remove what is old. in_use: gives the files that are needed however old they
        are. also: sweeps elsewhere."""

        def work() -> None:
            while True:
                time.sleep(EVERY)
                try:
                    sweep_dead(self.path.parent)
                    sweep_old(self.path, in_use())
                    also()
                except Exception:
                    traceback.print_exc()

        threading.Thread(target=work, daemon=True).start()


def sweep_dead(root: Path) -> None:
    """Remove this user's folders in `root` whose servers are gone."""
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another server's sweep may be there first
            about = folder.lstat()
            if folder.is_dir() and not folder.is_symlink() and about.st_uid == os.getuid():
                lock = _free_lock(folder, about.st_mtime)
                if lock:
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.close()


def _free_lock(folder: Path, modified: float) -> IO[str] | None:
    """The folder's lock, when no server holds it."""
    try:
        lock = (folder / LOCK).open("r")
    except FileNotFoundError:  # a server that has just begun, or one of before there were locks
        return (folder / LOCK).open("w") if time.time() - modified > AGE else None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def sweep_old(folder: Path, in_use: Collection[str] = ()) -> None:
    """Remove the files in an upload folder that came over an hour ago, but for those in use."""
    before = time.time() - AGE
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        with contextlib.suppress(OSError):
            if path.lstat().st_ctime > before or path.name == LOCK or str(path) in in_use:
                continue
            path.rmdir() if path.is_dir() else path.unlink()
