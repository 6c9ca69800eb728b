"""What was made lately, kept so that the page can ask for pictures of it: bounded in bytes."""

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from captioner.errors import CaptionerError

T = TypeVar("T")


class Shelf(Generic[T]):
    """The latest things up to `max_bytes`, the least recently used leaving first.

    Ids cannot be guessed: who does not have one cannot see another person's photo.
    """

    def __init__(self, max_bytes: int, what: str):
        self.max_bytes = max_bytes
        self.what = what
        self.held = 0
        self._things: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, thing: T, size: int) -> str:
        """Keep a thing of about `size` bytes; its id."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._things[name] = (thing, size)
            self.held += size
            while self.held > self.max_bytes and len(self._things) > 1:
                _, (_, freed) = self._things.popitem(last=False)
                self.held -= freed
        return name

    def get(self, name: object) -> T:
        """Raises CaptionerError when it is no longer held."""
        with self._lock:
            if not isinstance(name, str) or name not in self._things:
                raise CaptionerError(f"{self.what} is no longer held here; caption it again.")
            self._things.move_to_end(name)
            return self._things[name][0]
