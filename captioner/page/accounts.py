"""Who may come in: the login page, logging out, and wrong passwords slowed down."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captioner.html import render

from .assets import static

SLOW = 1.0
"""Seconds that a wrong password takes; the next one from the same address waits for it."""
MAX_WAITING = 10
"""Passwords from one address that may wait; more are refused unread."""


def user_of(request: Request) -> str | None:
    """The name that the person has logged in by; None where nobody needs to."""
    for token in _tokens(request):
        user: str | None = request.app.tokens.get(token)
        if user is not None:
            return user
    return None


def _tokens(request: Request) -> list[str]:
    """What gradio's cookies say: one for https, and one for http too."""
    names = (
        f"{kind}-{request.app.cookie_id}" for kind in ("access-token", "access-token-unsecure")
    )
    return [token for name in names if (token := request.cookies.get(name))]


@dataclass(eq=False)
class _Door:
    """Passwords from one address are tried one after the other."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Accounts:
    """The page's own login page and logging out, where gradio was started with accounts."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self._doors: dict[str, _Door] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["app"].auth:
            await self.app(scope, receive, send)
            return
        request, path = Request(scope), scope["path"].rstrip("/")
        if path == "" and request.method in ("GET", "HEAD") and user_of(request) is None:
            page = render("captioner.page", "login.html", css=static("page.css"))
            answer = HTMLResponse(page, headers={"Cache-Control": "no-store"})
            await answer(scope, receive, send)
        elif path == "/logout":
            await _log_out(request)(scope, receive, send)
        elif path == "/login" and request.method == "POST":
            await self._log_in(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio's answer; a wrong password takes its time."""
        address = scope["client"][0] if scope.get("client") else ""
        door = self._doors.setdefault(address, _Door())
        if door.waiting >= MAX_WAITING:
            sentence = "Too many passwords are being tried from there. Try again in a minute."
            refusal = PlainTextResponse(sentence, 429, {"Retry-After": "60"})
            await refusal(scope, receive, send)
            return

        async def slowly(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 400:
                await asyncio.sleep(SLOW)
            await send(message)

        door.waiting += 1
        try:
            async with door.lock:
                await self.app(scope, receive, slowly)
        finally:
            door.waiting -= 1
            if not door.waiting:
                self._doors.pop(address, None)


def _log_out(request: Request) -> Response:
    """Forget this browser's login. By POST only, which no other site's page can send."""
    if request.method != "POST":
        return PlainTextResponse("Log out with the button on the page.\n", 405, {"Allow": "POST"})
    answer = Response(status_code=204)
    for token in _tokens(request):
        request.app.tokens.pop(token, None)
    for kind in ("access-token", "access-token-unsecure"):
        answer.delete_cookie(f"{kind}-{request.app.cookie_id}", path="/")
    return answer
