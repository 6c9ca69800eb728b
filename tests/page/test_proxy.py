"""Behind a proxy, under a path of its own, with accounts."""

import http.client
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .conftest import ARTEFACTS, caption_text, free_port, serving, shown
from .test_for_everyone import serious

PREFIX = "/captions"


class Proxy(BaseHTTPRequestHandler):
    """What nginx does with the lines of docs/page.md: the prefix is taken off, answers stream."""

    protocol_version = "HTTP/1.0"  # a closed connection ends an answer
    target: tuple[str, int]

    def answer(self):
        if not self.path.startswith(PREFIX):
            self.send_error(404)
            return
        length = int(self.headers.get("Content-Length") or 0)
        upstream = http.client.HTTPConnection(*self.target, timeout=120)
        upstream.request(
            self.command, self.path.removeprefix(PREFIX) or "/", self.rfile.read(length),
            {**self.headers, "X-Forwarded-Proto": "http", "Connection": "close"},
        )  # fmt: skip
        found = upstream.getresponse()
        self.send_response(found.status)
        for name, value in found.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        while block := found.read1(1 << 16):
            self.wfile.write(block)
            self.wfile.flush()

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def proxied(builtin, tmp_path_factory):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")
    folder = tmp_path_factory.mktemp("uploads")
    options = ["--root-path", PREFIX, "--model", str(builtin)]
    for address in serving(folder, *options, CAPTIONER_AUTH="ann:open sesame"):
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        handler = type("Here", (Proxy,), {"target": ("127.0.0.1", port)})
        proxy = ThreadingHTTPServer(("127.0.0.1", free_port()), handler)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}{PREFIX}/", address
        proxy.shutdown()


def test_a_caption_behind_a_proxy_for_who_has_an_account(proxied, browser, photos):
    address, _ = proxied
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    assert page.title() == "Log in · captioner"
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("sesame")
    page.get_by_role("button", name="Log in").click()
    assert page.get_by_role("alert").inner_text() == "That name or password is wrong."
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / "login.png")
    assert not serious(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.body.classList.contains('dark')")
    page.screenshot(path=ARTEFACTS / "login-dark.png")
    assert not serious(page)
    page.keyboard.type("open sesame")  # in place of the wrong one
    page.keyboard.press("Enter")
    page.wait_for_selector("#c-viewer .c-drop")
    page.set_input_files("#c-viewer [data-part=file]", str(photos[2]))
    shown(page)
    assert caption_text(page).endswith(".")
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Password").wait_for()
    assert not context.cookies()
    context.close()


@pytest.mark.parametrize(
    "path", ["config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"]
)
def test_without_an_account_nothing_is_told(proxied, path):
    for address in proxied:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(address + path)
        assert refusal.value.code == 401
