"""Files that are written whole or not at all: beside their place first, then renamed over it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MAX_NAME = 255
"""Bytes of a file's name, on nearly all file systems."""


def fitted(name: str, suffix: str) -> str:
    """The name with the suffix at its end, cut where that would be too long for a file's name.
    What is cut off is told apart by 8 signs that follow from the whole name."""
    whole = os.fsencode(name)
    if len(whole) + len(os.fsencode(suffix)) <= MAX_NAME:
        return name + suffix
    end = f"-{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    return whole[: MAX_NAME - len(os.fsencode(end))].decode("utf-8", "ignore") + end


def own_folder(variable: str, default: str) -> Path:
    """Where a program keeps things of its own for the user, who may set another place by a variable
    (XDG_STATE_HOME, XDG_CACHE_HOME); `default` lies in the home folder. After the XDG Base
    Directory Specification."""
    return Path(os.environ.get(variable) or Path.home() / default) / "captioner"


@contextmanager
def replacing(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """A stream, as `open` gives it, whose content takes the place of `path` at the end.

    After an error `path` is as it was before. A reader never sees half a file, and neither does
    one who comes after a power cut.
    """
    part = path.with_name(fitted(f".{path.name}", ".part"))
    try:
        with part.open(mode, **options) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replace(path: Path, data: bytes) -> None:
    """Write `data` as the file `path`, whole or not at all."""
    with replacing(path) as stream:
        stream.write(data)
