"""The web page under load, and its pictures against the library's.

    python -m eval page_load                          # 20 clients for 2 minutes
    python -m eval page_load --clients 40 --queue 8   # some are told that it is busy
    python -m eval page_load --captions 800           # until there are so many
    python -m eval page_load --maps 100 --images ~/Pictures
    python -m eval page_load --picture docs/page.jpg  # the README's picture

A server of its own is started and asked over loopback by clients that each send a photo, wait for
its caption and send the next. Told: captions, how many were told that the server is busy, other
errors, the median and the 95th percentile of the seconds from asking to having, and the server's
memory over time. The exit status is 1 when there were errors, the median is above 5 seconds, or the
memory grew by more than a tenth in the second half, or by more than 150 MB since the hundredth
caption.

--maps captions that many photos in Chromium through the page instead, and compares the overlay that
the page shows for every word with `Caption.overlay(i)`, by every pixel.
"""

import argparse
import hashlib
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from captioner.exits import run

from .common import add_json, add_photos, parser, photos_of, print_json

ROOT = Path(__file__).parent.parent
SETTLED = 100
"""Captions after which the server's memory is to stay about as it is."""
MAY_GROW = 150
"""MB by which it may grow from then on."""


def main(arguments: list[str] | None = None) -> int:
    made = parser("page_load", __doc__)
    made.add_argument("--clients", type=int, default=20)
    made.add_argument("--seconds", type=float, default=120)
    made.add_argument("--captions", type=int, help="go on until there are so many, however long")
    made.add_argument("--queue", type=int, help="how many may wait; default: the server's")
    made.add_argument("--maps", type=int, help="compare the overlays of so many photos")
    made.add_argument("--picture", type=Path, help="take a picture of the page")
    add_photos(made)
    add_json(made)
    options = made.parse_args(arguments)
    return run(lambda: _page_load(options))


def _page_load(options: argparse.Namespace) -> int:
    photos = photos_of(options.images)
    if options.picture:
        take_picture(options.picture)
        return 0
    figures = maps(photos, options.maps) if options.maps else load(photos, options)
    if options.json:
        print_json(figures)
    else:
        for name, value in figures.items():
            print(f"{name:<34}{value}")
    return 0 if figures["as it should be"] else 1


@dataclass
class Served:
    """A page: its address, its process, and the lines it has written to stderr so far."""

    address: str
    process: int
    lines: list[str]


@contextmanager
def server(*options: str, **environment: str) -> Iterator[Served]:
    """A page of its own, started by `python app.py` as a person would."""
    process = subprocess.Popen(
        [sys.executable, "app.py", *options], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    stderr: Any = process.stderr
    lines: list[str] = []
    try:
        for line in stderr:
            lines.append(line)
            if found := re.search(r"The page is at (\S+)", line):
                threading.Thread(target=lambda: lines.extend(stderr), daemon=True).start()
                yield Served(found[1], process.pid, lines)
                return
        raise RuntimeError(f"The server did not start:\n{''.join(lines)}")
    finally:
        process.terminate()
        process.wait(30)


def load(photos: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Many clients at once; the figures."""
    from gradio_client import Client, handle_file

    waits: list[float] = []
    busy: list[str] = []
    errors: list[str] = []
    memory: list[float] = []
    settled: list[float] = []
    queue = ["--queue", str(options.queue)] if options.queue else []
    with server(*queue) as page:
        clients = [Client(page.address, verbose=False) for _ in range(options.clients)]
        began = time.monotonic()

        def over() -> bool:
            if options.captions:
                return len(waits) >= options.captions
            return time.monotonic() >= began + options.seconds

        def ask(number: int) -> None:
            for photo in islice(cycle(photos), number, None):
                if over():
                    return
                asked = time.monotonic()
                try:
                    clients[number].predict(handle_file(str(photo)), api_name="/caption")
                    waits.append(time.monotonic() - asked)
                except Exception as error:
                    (busy if "Queue is full" in str(error) else errors).append(str(error))
                    time.sleep(1)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(options.clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append(resident(page.process))
            if len(waits) >= SETTLED:
                settled.append(memory[-1])
            time.sleep(min(1.0, options.seconds / 10))
        seconds = time.monotonic() - began
    waits.sort()
    middle, last = memory[len(memory) // 2], memory[-1]
    grown = last - settled[0] if settled else 0.0
    median = statistics.median(waits) if waits else float("nan")
    return {
        "clients": options.clients,
        "seconds": round(seconds),
        "captions": len(waits),
        "told that the server is busy": len(busy),
        "errors": len(errors),
        "first error": errors[0] if errors else "",
        "median, s": round(median, 2),
        "95th percentile, s": round(waits[int(0.95 * len(waits))], 2) if waits else "",
        "memory at the start, MB": round(memory[0]),
        f"memory after {SETTLED} captions, MB": round(settled[0]) if settled else "",
        "memory half-way, MB": round(middle),
        "memory at the end, MB": round(last),
        "as it should be": bool(waits)
        and not errors
        and median < 5
        and last < 1.1 * middle
        and grown < MAY_GROW,
    }


def resident(process: int) -> float:
    """MB of memory that a process holds."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1000


DIGEST = """async () => {
  const image = document.querySelector('#c-viewer .c-heat');
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const digest = await crypto.subtle.digest('SHA-256', data);
  return [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join('');
}"""


@contextmanager
def opened(**options: Any) -> Iterator[Any]:
    """The page of a server of its own in Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with server() as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(**options)
        page.set_default_timeout(120_000)
        page.goto(served.address)
        page.wait_for_selector("#c-viewer .c-drop")
        yield page
        browser.close()


def take_picture(target: Path) -> None:
    """The page with scikit-image's cat: a photo by Stefan van der Walt, CC0."""
    from PIL import Image

    with opened(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5) as page:
        page.get_by_role("button", name="Try the photo chelsea").click()
        page.wait_for_selector("#c-viewer .c-heat:not([hidden])")
        page.locator("#c-viewer .c-word", has_text="cat").first.click()
        page.wait_for_load_state("networkidle")
        bottom = page.locator("[data-part=others-box]").bounding_box()["y"]
        box = {"x": 0, "y": 0, "width": 1280, "height": bottom}
        Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB").save(target, quality=84)


def maps(photos: list[Path], count: int) -> dict[str, Any]:
    """The overlay of every word of `count` captions, on the page and from the library."""
    from captioner.captioner import load as load_model

    model, words, different = load_model(), 0, 0
    with opened() as page:
        for photo in islice(cycle(photos), count):
            page.set_input_files("#c-viewer [data-part=file]", str(photo))
            page.wait_for_selector(".c-viewer[data-state=shown]")
            caption = model.caption(photo)
            for i in range(len(caption.words)):
                page.locator("#c-viewer .c-word").nth(i).click()
                page.wait_for_selector(f"#c-viewer .c-heat[data-word='{i}']:not([hidden])")
                wanted = caption.overlay(i).convert("RGBA").tobytes()
                words += 1
                different += page.evaluate(DIGEST) != hashlib.sha256(wanted).hexdigest()
    return {
        "captions": count,
        "words": words,
        "overlays that differ": different,
        "as it should be": not different,
    }
