"""How a photo is named in an error's sentence, and how a sentence is made of an exception."""

import errno
import os
from pathlib import Path
from typing import Any


def label_of(source: Any) -> tuple[str, str]:
    """How error sentences name the source, and the name of its file or "photo"."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        return repr(path) if not path.isprintable() or not path else path, Path(path).name or path
    filename = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(filename, str) and Path(filename).name:
        return filename, Path(filename).name
    return "The photo", "photo"


def unopened(label: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{label} does not exist."
    if isinstance(error, PermissionError):
        return f"{label} cannot be opened: no permission to read it."
    if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
        return f"{label} does not exist."
    return f"{label} cannot be opened: {words(error)}."


def damaged(label: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:  # the disk's fault, not the file's
        return f"{label} cannot be read: {words(error)}."
    said = words(error)
    if "truncated" in said.lower():
        return f"{label} is cut short: the file ends before the picture does. Copy it again."
    if "unsupported" in said.lower():
        return f"{label} is of a kind that cannot be read here ({said})."
    why = f" ({said})" if " " in said else ""  # some give a bare number
    return f"{label} is damaged, or not the picture its first bytes promise{why}."


def words(error: Exception) -> str:
    """An exception in a few words on one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:200].rstrip(".") or type(error).__name__
