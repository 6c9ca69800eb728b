"""A photo from the web: http and https only, with time and size limits, tried again when it helps.

Nothing else is ever opened: a redirect to a file or to ftp is an error. Proxies are taken from the
environment, as other programs do.
"""

import http.client
import random
import socket
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

from captioner.errors import PhotoError

TRIES = 4
SILENCE = 10.0
"""Seconds without a byte after which a try is given up."""
TOTAL = 60.0
"""Seconds for a photo, tries and pauses included."""
PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses that a later try may not meet again."""

_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


def fetch(url: str, max_bytes: int) -> bytes:
    """The bytes at an address.

    Raises:
        PhotoError: there are none to be had, in a sentence.
    """
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    end = time.monotonic() + TOTAL
    for attempt in range(1, TRIES + 1):
        pause = 0.5 * 2**attempt * random.uniform(0.5, 1.0)  # apart from one another
        try:
            return _try(opener, url, max_bytes, end)
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code} {error.reason}".strip()
            if error.code not in PASSING:
                break
            pause = max(pause, _retry_after(error.headers))
        except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            problem = _words(reason)
            if isinstance(reason, socket.gaierror) or "unknown url type" in problem:
                break
        except ValueError as error:  # no host, spaces in the address, ...
            problem = _words(error)
            break
        if attempt == TRIES or time.monotonic() + pause > end:
            break
        time.sleep(pause)
    raise PhotoError(f"{url} cannot be fetched: {problem}.")


def _try(opener: Any, url: str, max_bytes: int, end: float) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "captioner", "Accept": "image/*"})
    blocks, size = [], 0
    with opener.open(request, timeout=SILENCE) as answer:
        promised = int(answer.headers.get("Content-Length") or 0)
        while promised <= max_bytes and (block := answer.read(1 << 16)):
            blocks.append(block)
            size += len(block)
            if time.monotonic() > end:
                raise TimeoutError(f"it takes longer than {TOTAL:.0f} s")
            if size > max_bytes:
                break
    if max(size, promised) > max_bytes:
        raise PhotoError(f"{url} is too large a file: more than the {max_bytes:,} bytes allowed.")
    if size < promised:
        raise http.client.IncompleteRead(b"", promised - size)
    return b"".join(blocks)


def _retry_after(headers: Message) -> float:
    wait = headers.get("Retry-After") or ""
    return float(wait) if wait.isdigit() else 0.0


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError) and not str(reason).startswith("it takes"):
        return f"no answer within {SILENCE:.0f} s"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split()).rstrip(".")
