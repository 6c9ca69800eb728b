"""What stands before gradio's own routes: who may ask, from where, and what browsers are told."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; "  # gradio's page has both
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "form-action 'self'; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
"""The content security policy: nothing from other servers, nothing sent there, in no frame."""
POLICY_OF_FILES = "default-src 'none'; sandbox"
"""That of uploaded files, in which there may be scripts."""


class Hosts:
    """The names by which the page may be asked for.

    A page elsewhere can have its own name lead to this machine (DNS rebinding), and would then be
    the same site for browsers as this page; but it cannot have a name that is listed here.
    """

    def __init__(self, bound: str, more: Iterable[str] = ()):
        """bound: the address or name that the server listens on. more: further names."""
        self.loopback = is_loopback(bound)
        self.names = {"localhost", bound.lower(), *map(_bare, more)}
        if not self.loopback:
            own = socket.gethostname().lower()
            self.names |= {own, f"{own.split('.')[0]}.local", socket.getfqdn().lower()}

    def add(self, address: str) -> None:
        """Allow the name of an address such as https://example.com/."""
        self.names.add(_bare(address))

    def allow(self, host: str) -> bool:
        """Whether a request with this Host header is served."""
        name = _bare(host)
        if name in self.names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback or not self.loopback
        except ValueError:
            return False


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bare(host: str) -> str:
    """The name alone of `name:port`, or of an address."""
    try:
        found = urlsplit(host if "//" in host else f"//{host}").hostname
    except ValueError:
        found = None
    return (found or "").rstrip(".")


class Guard:
    """Refuses requests that were sent for another host or by another site's page, and has gradio
    fetch no address for anybody (`file=https://...`). Tells browsers what the page may do.

    Programs send no Origin, and are let in.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":  # the page has none
                await self.app(scope, receive, send)
            return
        policy = POLICY_OF_FILES if re.search(r"/file[=/]", scope["path"]) else POLICY

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Content-Security-Policy"] = policy
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.hosts.allow(host):
            return PlainTextResponse(
                "This server is not asked by that name. Whoever runs it can allow the name: "
                "captioner demo --allow-host NAME\n",
                421,
            )
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("Only this server's own page may ask it.\n", 403)
        if re.search(r"/file[=/]\s*https?:", scope["path"], re.I):
            return PlainTextResponse("Only uploads are served.\n", 403)
        return None
