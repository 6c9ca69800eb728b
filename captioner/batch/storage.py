"""Object storage, and wherever else fsspec has a driver for: s3://, gs://, az://, hf://, sftp://.

Nothing else here knows fsspec. Credentials are found as its drivers find them (their own variables
and files, and fsspec's configuration); they are in no name and in no sentence.

A request is tried again some times, and given up for good after a minute, whatever the driver does
by itself. What is not there is an error at once.
"""

from __future__ import annotations

import functools
import io
import posixpath
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from captioner import retries
from captioner.errors import CaptionerError, PhotoError

from .addresses import redacted
from .fetch import TOTAL, TRIES

T = TypeVar("T")

PART = 8 << 20
"""Bytes that are asked for at a time, at most."""
TRY = 20.0
"""Seconds that one try to read a part may take."""
LISTING = 600.0
"""Seconds that a folder may take to be listed: that is one request for each thousand names."""
LASTING = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError,
    ValueError, TypeError, NotImplementedError,
)  # fmt: skip
"""What a later try would meet again."""
OTHERS = frozenset((
    "arrow_hdfs", "async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "data",
    "dir", "file", "filecache", "generic", "http", "https", "libarchive", "local", "pyscript",
    "reference", "simplecache", "tar", "zip",
))  # fmt: skip
"""Schemes of fsspec that are no places of their own, or that this program reads by itself."""


class UnreachableError(PhotoError):
    """A place that does not answer, now: no fault of a photo."""


def is_storage(path: str) -> bool:
    """Whether a path is an address that fsspec knows a driver for, installed or not."""
    scheme, found, _ = path.partition("://")
    return bool(found) and scheme in _schemes()


@functools.cache
def _schemes() -> frozenset[str]:
    try:
        from fsspec import available_protocols
    except ImportError:  # no address is known, then
        return frozenset()
    return frozenset(available_protocols()) - OTHERS


# Asking -------------------------------------------------------------------------------------------


def _opened(address: str) -> tuple[Any, str]:
    """The driver of an address, and the path as that has it.

    Raises:
        CaptionerError: the driver is not installed.
        Exception: whatever the driver raises where it cannot begin.
    """
    from fsspec.registry import get_filesystem_class, known_implementations

    scheme = address.partition("://")[0]
    try:
        driver: Any = get_filesystem_class(scheme)
    except ImportError as error:
        package = str(known_implementations.get(scheme, {}).get("class", "")).partition(".")[0]
        how = f"run pip install {package}" if package not in ("", "fsspec") else str(error)
        raise CaptionerError(
            f"{redacted(address)} needs a package that is not installed: {how.rstrip('.')}."
        ) from None
    # Not by `fsspec.open`: that takes a name with :: in it for a chain of file systems.
    options = driver._get_kwargs_from_urls(address)
    return driver(**options, use_listings_cache=False), driver._strip_protocol(address)


def check_driver(address: str) -> None:
    """Raises CaptionerError when the driver of an address is not installed."""
    _check_scheme(address.partition("://")[0])


@functools.cache
def _check_scheme(scheme: str) -> None:
    from fsspec.registry import get_filesystem_class

    try:
        get_filesystem_class(scheme)
    except ImportError:
        _opened(f"{scheme}://")


def _asked(
    address: str,
    call: Callable[[Any, str], T],
    *,
    seconds: float = TRY,
    total: float | None = None,
) -> T:
    """What `call(driver, path)` gives, tried again where that may help.

    seconds: for a try. total: for all, pauses included; None: TOTAL.

    Raises:
        PhotoError: there is no such thing, or it may not be read.
        UnreachableError: it has not answered, or not as it should.
    """
    end = time.monotonic() + (TOTAL if total is None else total)
    problem = Exception()
    for attempt in range(1, TRIES + 1):
        try:
            left = end - time.monotonic()
            return _within(min(seconds, left), lambda: call(*_opened(address)))
        except CaptionerError:
            raise
        except FileNotFoundError:
            raise PhotoError(f"{redacted(address)} does not exist.") from None
        except PermissionError as error:
            raise PhotoError(
                f"{redacted(address)} cannot be read: no permission ({_words(error, address)})."
            ) from None
        except LASTING as error:
            raise PhotoError(
                f"{redacted(address)} cannot be read: {_words(error, address)}."
            ) from None
        except Exception as error:  # each driver has its own
            problem = error
        pause = retries.pause(attempt)
        if attempt == TRIES or time.monotonic() + pause > end:
            break
        time.sleep(pause)
    raise UnreachableError(f"{redacted(address)} cannot be read: {_words(problem, address)}.")


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives or raises; TimeoutError when it takes longer. Then it is left behind in its
    thread: a driver that hangs cannot be stopped."""
    answer: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put((True, call()))
        except BaseException as error:
            answer.put((False, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        good, got = answer.get(timeout=max(seconds, 0.01))
    except queue.Empty:
        raise TimeoutError(f"it takes longer than {seconds:.0f} s") from None
    if not good:
        raise got
    result: T = got
    return result


def _words(error: Exception, address: str) -> str:
    """What a driver says, on a line, without what the address holds of names and passwords."""
    text = redacted(" ".join((str(error) or type(error).__name__).split()).rstrip("."))
    user, at, _ = address.partition("://")[2].rpartition("@")
    for secret in user.split(":") if at and redacted(address) != address else ():
        text = text.replace(secret, "...") if len(secret) > 2 else text
    return text[:300]


# Looking ------------------------------------------------------------------------------------------


def kind(address: str) -> str:
    """ "file" or "directory"; "" where there is nothing.

    Raises PhotoError: it cannot be asked.
    """

    def look(driver: Any, path: str) -> str:
        try:
            return str(driver.info(path)["type"])
        except FileNotFoundError:
            return ""

    return _asked(address, look)


def names_in(address: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files in a folder, sorted. All are held: a folder of a
    million takes some hundred megabytes.

    Raises PhotoError: it cannot be listed.
    """

    def ask(driver: Any, path: str) -> tuple[list[str], list[str]]:
        folders: set[str] = set()
        files: set[str] = set()
        for entry in driver.ls(path, detail=True):
            whole = entry["name"].rstrip("/")
            if whole == path.rstrip("/"):  # a key that only makes the folder be there
                continue
            name = whole.rpartition("/")[2]
            (folders if entry["type"] == "directory" else files).add(name)
        return sorted(folders), sorted(files)

    return _asked(address, ask, seconds=LISTING, total=LISTING)


def fitting(pattern: str) -> Iterator[tuple[str, str]]:
    """The addresses that fit a pattern, and their kinds, sorted; nothing hidden.

    Raises PhotoError: it cannot be listed.
    """
    base = above_pattern(pattern)

    def ask(driver: Any, path: str) -> list[tuple[str, str]]:
        above = driver._strip_protocol(base).rstrip("/")
        found = driver.glob(path, detail=True)
        return [(name.rstrip("/")[len(above) + 1 :], one["type"]) for name, one in found.items()]

    for name, what in sorted(_asked(pattern, ask, seconds=LISTING, total=LISTING)):
        if name and not any(part.startswith(".") for part in name.split("/")):
            yield f"{base}{name}", what


def above_pattern(pattern: str) -> str:
    """The folder of which a pattern says what is in it, with a slash at its end."""
    plain = min(at for sign in "*?[" if (at := pattern.find(sign)) >= 0)
    return pattern[: pattern.rindex("/", 0, plain) + 1]


# Reading ------------------------------------------------------------------------------------------


def read(address: str, most: int) -> bytes:
    """All bytes of a file.

    Raises PhotoError: there is no such file, it cannot be read, or has more than `most` bytes.
    """
    end = time.monotonic() + TOTAL
    data = _asked(address, functools.partial(_first, most=most))
    size = len(data)
    if size == PART:
        size = _size(address)
    if size > most:
        raise PhotoError(
            f"{redacted(address)} is too large a file: more than the {most:,} bytes allowed."
        )
    return data if size <= PART else data + read_span(address, PART, size - PART, end)


def _first(driver: Any, path: str, most: int) -> bytes:
    """The first part of a file, at most a byte more than `most`."""
    try:
        return bytes(driver.cat_file(path, start=0, end=min(PART, most + 1)))
    except FileNotFoundError:
        raise
    except Exception:
        if driver.info(path).get("size") == 0:  # which has no part that could be asked for
            return b""
        raise


def read_span(address: str, start: int, size: int, end: float | None = None) -> bytes:
    """`size` bytes of a file from the byte `start`; fewer where it ends before.

    end: when to give up, as `time.monotonic` has it.

    Raises PhotoError: there is no such file, or it cannot be read.
    """
    end = end or time.monotonic() + TOTAL
    parts = []
    for at in range(start, start + size, PART):
        until = min(at + PART, start + size)
        left = end - time.monotonic()
        parts.append(_asked(address, functools.partial(_part, start=at, end=until), total=left))
        if len(parts[-1]) < until - at:
            break
    return b"".join(parts)


def _part(driver: Any, path: str, start: int, end: int) -> bytes:
    return bytes(driver.cat_file(path, start=start, end=end))


def _size(address: str) -> int:
    return _asked(address, lambda driver, path: int(driver.info(path)["size"]))


def open_file(address: str, ahead: int = 1 << 16) -> io.BufferedReader:
    """A file to seek and read in, for what goes through archives. ahead: bytes that are asked for
    where fewer are read.

    Raises PhotoError, then and later: there is no such file, or it cannot be read.
    """
    return io.BufferedReader(_Ranges(address), ahead)


class _Ranges(io.RawIOBase):
    """A file as the ranges of it that are asked for."""

    def __init__(self, address: str):
        self.address, self.size, self.at = address, _size(address), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = (0, self.at, self.size)[whence] + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), PART, self.size - self.at)
        data = read_span(self.address, self.at, wanted) if wanted > 0 else b""
        if len(data) < wanted:
            raise UnreachableError(f"{redacted(self.address)} has changed while it was read.")
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def last(address: str) -> str:
    """The last part of an address."""
    return posixpath.basename(address.rstrip("/"))
