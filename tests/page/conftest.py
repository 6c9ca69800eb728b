"""The page in a real browser: one server for all tests, a fresh browser context for each."""

import asyncio
import base64
import contextlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.samples import sample_photos
from eval.page_load import server as page_server

from ..conftest import ROOT

ARTEFACTS = ROOT / "build" / "page"
PATIENCE = 60_000
"""Milliseconds that a test waits for the page: machines that test are busy."""


@pytest.fixture(scope="session")
def uploads_root(tmp_path_factory) -> Path:
    """Where the server makes its folder for uploads."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="session")
def server(builtin, uploads_root) -> str:
    """The address of a page served by `python app.py`, as a person would start it."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")
    yield from serving(uploads_root, "--allow-host", "photos.example")


def serving(folder: Path, *options: str, **environment: str):
    """Serve the page; yields its address, and looks at the end that nothing was left behind."""
    port = ("--port", str(free_port()))
    kept = str(folder.parent / f"{folder.name}-state")
    environment = {"GRADIO_TEMP_DIR": str(folder), "XDG_STATE_HOME": kept, **environment}
    with page_server(*port, *options, **environment) as page:
        yield page.address
    assert not list(folder.iterdir()), "uploads were left behind"
    assert not any(re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line) for line in page.lines), (
        "".join(page.lines)
    )


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
            ],
        )  # fmt: skip
        yield chromium
        chromium.close()


@contextlib.contextmanager
def one_page(browser, address: str):
    """A browser's page that several tests may share: nothing is asked of what it complains of."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("#c-viewer .c-drop")
    yield page
    page.close()


@contextlib.contextmanager
def web_server(photo: Path, before: Callable[[SimpleHTTPRequestHandler], bool]):
    """The port of a server of this process that answers with a photo, unless `before` answers."""

    class Here(SimpleHTTPRequestHandler):
        def do_GET(self):
            if not before(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(photo.read_bytes())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Here)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def open_page(browser, server):
    """A function that opens the page; at the end no page may have complained, asked another
    server for anything, or been refused anything."""
    contexts, pages, complaints = [], [], []

    def open_one(address: str = server, expected: str = "", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda m: m.type == "error" and complaints.append(f"console: {m.text}"))
        page.on("request", lambda r: foreign(r.url) and complaints.append(f"asks {r.url}"))
        page.goto(address)
        page.wait_for_selector("#c-viewer .c-drop")
        page.expected = expected
        pages.append(page)
        return page

    yield open_one
    expected = [
        e
        for page in pages
        for e in ([page.expected] if isinstance(page.expected, str) else page.expected)
        if e
    ]
    for context in contexts:
        context.close()
    assert not [c for c in complaints if not any(e in c for e in expected)]


def foreign(url: str) -> bool:
    return not url.startswith(("data:", "blob:", "http://127.0.0.1", "about:"))


@pytest.fixture
def page(open_page):
    return open_page()


@pytest.fixture(scope="session")
def model(builtin):
    return captioner.load(builtin)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    pytest.importorskip("skimage")
    return sample_photos()


def upload(page, file: Path) -> None:
    """Give the Caption tab a photo and wait for its caption and the first heat."""
    old = page.evaluate("document.querySelector('#c-viewer [data-part=caption]').textContent")
    page.set_input_files("#c-viewer [data-part=file]", str(file))
    shown(page, old)


def shown(page, old: str = "") -> None:
    page.wait_for_selector(".c-viewer[data-state=shown]")
    page.wait_for_selector("#c-viewer .c-heat:not([hidden])")


def open_folder_tab(page, waiting_for: str = ".c-drop") -> None:
    page.get_by_role("tab", name="Folder").click()
    page.wait_for_selector(f"#c-folder {waiting_for}")


def caption_text(page) -> str:
    return page.inner_text("#c-viewer [data-part=caption]")


def heat(page, word: int, rank: int = 0) -> np.ndarray:
    """The overlay in view, once it is that of the word: its own pixels, (h, w, 3) uint8."""
    page.wait_for_selector(f".c-heat[data-word='{word}'][data-rank='{rank}']:not([hidden])")
    page.wait_for_function("document.querySelector('.c-heat').complete")
    width, height, values = page.evaluate(
        """() => {
          const image = document.querySelector('.c-heat');
          const canvas = document.createElement('canvas');
          canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          let text = '';
          for (let i = 0; i < data.length; i += 4)
            text += String.fromCharCode(data[i], data[i + 1], data[i + 2]);
          return [canvas.width, canvas.height, btoa(text)];
        }"""
    )
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 3)


def same_picture(seen: np.ndarray, image: Image.Image) -> bool:
    wanted = np.asarray(image.convert("RGB"))
    return seen.shape == wanted.shape and bool((seen == wanted).all())


def wait_until(condition, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def run_apart(coroutine):
    """Run a coroutine in a thread of its own: the browser has an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(asyncio.wait_for(coroutine, 60))).result()
