"""A photo from the web: http and https only, with time and size limits, tried again when it helps.

Nothing else is ever opened: a redirect to a file or to ftp is an error. Proxies are taken from the
environment, as other programs do.
"""

import http.client
import ipaddress
import re
import socket
import time
import urllib.error
import urllib.request
import zlib
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from captioner import retries
from captioner.errors import PhotoError

from .addresses import redacted

TRIES = 4
SILENCE = 10.0
"""Seconds without a byte after which a try is given up."""
TOTAL = 60.0
"""Seconds for a photo, tries and pauses included."""

_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


def _connect_public(
    address: tuple[str, int], timeout: float | None = None, source: Any = None
) -> socket.socket:
    """`socket.create_connection` to a public address. What a name leads to is looked up once: it
    cannot lead elsewhere between the look and the connection."""
    host, port = address
    problem = OSError("it leads to an address that is not public")
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if is_public(str(place[0])):
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout)
            try:
                connection.connect(place)
                return connection
            except OSError as error:
                connection.close()
                problem = error
    raise problem


def is_public(address: str) -> bool:
    """Whether an IP address belongs to everybody's network."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return found.is_global and not found.is_multicast


class _PublicHTTP(http.client.HTTPConnection):
    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._create_connection = _connect_public


class _PublicHTTPS(http.client.HTTPSConnection):
    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._create_connection = _connect_public


class _PublicHTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTP, request)


class _PublicHTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTPS, request)


_PUBLIC_HANDLERS = (_PublicHTTPHandler, _PublicHTTPSHandler, *_HANDLERS[3:])


def fetch(url: str, max_bytes: int, *, public: bool = False) -> bytes:
    """The bytes at an address, which may have letters of any script and blanks in it.

    public: connect to public addresses only, after every redirect too, and through no proxy. Who
        fetches for strangers lets nobody into its own network so.

    Raises:
        PhotoError: there are none to be had, in a sentence.
    """
    opener = urllib.request.OpenerDirector()
    for handler in _PUBLIC_HANDLERS if public else _HANDLERS:
        opener.add_handler(handler())
    end = time.monotonic() + TOTAL
    for attempt in range(1, TRIES + 1):
        pause = retries.pause(attempt)
        try:
            return _try(opener, url, max_bytes, end)
        except urllib.error.HTTPError as error:
            problem = _answered(error)
            if error.code not in retries.PASSING:
                break
            pause = max(pause, retries.retry_after(error.headers.get("Retry-After")))
        except (ValueError, http.client.InvalidURL) as error:  # no such address can be
            problem = _words(error)
            break
        except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            problem = _words(reason)
            if isinstance(reason, socket.gaierror | str):  # no such host, kind or place
                break
        if attempt == TRIES or time.monotonic() + pause > end:
            break
        time.sleep(pause)
    raise PhotoError(f"{redacted(url)} cannot be fetched: {redacted(problem)}.")


def to_uri(address: str) -> str:
    """The address in ASCII, as it goes over the wire: RFC 3987, 3.1, and IDNA 2008 for the host.
    What is written with percent signs already stays. Raises ValueError."""
    scheme, place, path, query, _ = urlsplit(address)
    if not place.isascii():
        import idna

        user, at, host = place.rpartition("@")
        host, colon, port = host.partition(":")
        place = f"{user}{at}{idna.encode(host, uts46=True).decode()}{colon}{port}"
    return urlunsplit((scheme, place, _quoted(path), _quoted(query), ""))


def _quoted(text: str) -> str:
    text = re.sub("%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(text, safe="/%:@!$&'()*+,;=~?[]", errors="surrogateescape")


def _try(opener: Any, url: str, max_bytes: int, end: float) -> bytes:
    headers = {"User-Agent": "captioner", "Accept": "image/*"}
    request = urllib.request.Request(to_uri(url), headers=headers)
    too_large = PhotoError(
        f"{redacted(url)} is too large a file: more than the {max_bytes:,} bytes allowed."
    )
    blocks, size = [], 0
    with opener.open(request, timeout=SILENCE) as answer:
        promised = answer.length or 0
        # `read1` gives what is there: a server that sends a byte now and then is given up, too.
        while promised <= max_bytes and (block := answer.read1(1 << 16)):
            blocks.append(block)
            size += len(block)
            if time.monotonic() > end:
                raise TimeoutError(f"it takes longer than {TOTAL:.0f} s")
            if size > max_bytes:
                break
        coding = answer.headers.get("Content-Encoding") or ""
    if max(size, promised) > max_bytes:
        raise too_large
    if size < promised:
        raise http.client.IncompleteRead(b"", promised - size)
    data = b"".join(blocks)
    for name in reversed(coding.lower().split(",")):
        data = _unpacked(data, name.strip(), max_bytes)
    if len(data) > max_bytes:
        raise too_large
    return data


def _unpacked(data: bytes, coding: str, max_bytes: int) -> bytes:
    """What a server has packed though nobody asked for it; at most a byte more than `max_bytes`."""
    if coding in ("", "identity"):
        return data
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"the server has packed it as {coding[:20]!r}, which nobody asked for")
    # Of gzip and zlib the first bytes tell; some servers send deflate without any.
    for bits in (47, -15) if coding == "deflate" else (47,):
        unpacker, unpacked = zlib.decompressobj(bits), b""
        try:
            unpacked = unpacker.decompress(data, max_bytes + 1)
            while unpacker.eof and unpacker.unused_data and len(unpacked) <= max_bytes:
                rest, unpacker = unpacker.unused_data, zlib.decompressobj(bits)
                unpacked += unpacker.decompress(rest, max_bytes + 1 - len(unpacked))
        except zlib.error:
            if unpacked:
                return unpacked  # what follows is not packed
            continue
        if not unpacker.eof and len(unpacked) <= max_bytes:
            raise http.client.IncompleteRead(b"")
        return unpacked
    return data  # it says so, but is not packed


def _answered(error: urllib.error.HTTPError) -> str:
    """What a server answers, in words."""
    if str(error.reason).startswith(urllib.request.HTTPRedirectHandler.inf_msg):
        return "the server leads from one address to another without end"
    return f"the server answers {error.code} {_words(error.reason)}".strip()


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError) and not str(reason).startswith("it takes"):
        return f"no answer within {SILENCE:.0f} s"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split()).rstrip(".")
