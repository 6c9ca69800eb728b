"""What was made lately, kept so that the page can ask for pictures of it: bounded in bytes."""

import secrets
import threading
from typing import Generic, TypeVar

from cachetools import LRUCache

from captioner.errors import CaptionerError

T = TypeVar("T")


def new_id() -> str:
    """An id that cannot be guessed."""
    return secrets.token_urlsafe(16)


class PrivateCache(Generic[T]):
    """An LRU cache of about `max_bytes`, whose keys are ids that cannot be guessed: who does not
    have one cannot see another person's photo.

    what: what it holds, as the sentence for an id that has left it begins.
    """

    def __init__(self, max_bytes: int, what: str):
        self.what = what
        self._entries: LRUCache[str, tuple[T, int]] = LRUCache(max_bytes, lambda entry: entry[1])
        self._lock = threading.Lock()  # cachetools leaves locking to its users

    @property
    def held(self) -> float:
        """Bytes in use."""
        return self._entries.currsize

    def put(self, value: T, size: int, key: str | None = None) -> str:
        """Keep a value of about `size` bytes; its id, a new one where none is given. The newest is
        kept, however large."""
        key = key or new_id()
        with self._lock:
            self._entries[key] = (value, min(size, int(self._entries.maxsize)))
        return key

    def get(self, key: object) -> T:
        """Raises CaptionerError when it is no longer held."""
        with self._lock:
            entry = self._entries.get(key) if isinstance(key, str) else None
        if entry is None:
            raise CaptionerError(f"{self.what} is no longer held here; caption it again.")
        return entry[0]
