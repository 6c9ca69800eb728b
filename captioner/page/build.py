"""The page: header, tabs and endpoints, put together."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from captioner.annotations import SPLITS
from captioner.batch.items import Item
from captioner.errors import CaptionerError
from captioner.machine import cores
from captioner.samples import sample_photos

from . import settings
from .api import add_endpoints
from .caption import CaptionService
from .folder import FolderService
from .models import Models
from .score import as_html, score_files
from .theme import STATIC, static, theme
from .uploads import Upload, uploaded

FAILED = "() => document.dispatchEvent(new Event('captioner:failed'))"


def concurrency() -> int:
    """Photos that are being read, captioned or drawn at the same time."""
    return 4 * cores()


def build(models: Models, waiting: int | None = None) -> gr.Blocks:
    """The whole page over these models. `launch_options` has what belongs to its launch.

    waiting: how many questions may wait; who comes later is told that the server is busy.
    """
    service = CaptionService(models)
    folders = FolderService(service)
    queue = {"concurrency_id": "model", "concurrency_limit": concurrency()}
    with gr.Blocks(title="captioner", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        _html("header", elem_id="c-header")
        with gr.Tabs(elem_id="c-tabs") as tabs:
            with gr.Tab("Caption", id="caption"):
                viewer, controls, ask = _caption_tab(service, queue)
            with gr.Tab("Folder", id="folder"):
                gallery = _folder_tab(folders, controls)
            with gr.Tab("Score", id="score"):
                _score_tab()
            with gr.Tab("About", id="about"):
                for name in models.names:
                    gr.Markdown(models.card(name), elem_classes="c-card-text")

        def open_photo(event: gr.EventData, *chosen: Any) -> tuple[Any, dict[str, Any]]:
            """A photo of the gallery in the first tab: {"id": of the folder, "i": of the photo}."""
            asked = event._data or {}
            return gr.Tabs(selected="caption"), ask(
                lambda: folders.item(asked.get("id"), asked.get("i")), asked, chosen
            )

        gallery.open(
            open_photo, controls, [tabs, viewer], show_progress="hidden",
            api_visibility="private", trigger_mode="always_last", **queue,
        )  # fmt: skip
        add_endpoints(service, folders, queue)
    waiting = 16 * cores() if waiting is None else waiting
    return page.queue(max_size=waiting, default_concurrency_limit=concurrency())


def launch_options() -> dict[str, Any]:
    """What of the page gradio takes at launch."""
    return {
        "app_kwargs": {"middleware": [Middleware(NoFetching)]},
        "theme": theme(),
        "css": static("page.css"),
        "favicon_path": str(STATIC / "icon.svg"),
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "state_session_capacity": 1000,
    }


class NoFetching:
    """Refuses `file=https://...`, by which gradio would fetch any public page for anybody."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and re.search(r"/file[=/]\s*https?:", scope["path"], re.I):
            await PlainTextResponse("Only uploads are served.", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _html(name: str, **options: Any) -> gr.HTML:
    """A part of the page out of static/: its markup and its script."""
    options = {"html_template": static(f"{name}.html"), **options}
    script = static("shared.js") if name != "header" else ""
    return gr.HTML(js_on_load=script + static(f"{name}.js"), apply_default_css=False, **options)


def _served(*methods: Callable[[dict[str, Any]], Any]) -> list[Callable[[dict[str, Any]], Any]]:
    """Methods as the plain functions that gradio lets a script call, by the same names."""

    def plain(method: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def call(ask: dict[str, Any]) -> Any:
            return method(ask if isinstance(ask, dict) else {})

        call.__name__ = method.__name__
        return call

    return [plain(method) for method in methods]


# The Caption tab ----------------------------------------------------------------------------------

Ask = Callable[[Callable[[], Item], dict[str, Any], Sequence[Any]], dict[str, Any]]


def _caption_tab(
    service: CaptionService, queue: dict[str, Any]
) -> tuple[gr.HTML, list[gr.components.Component], Ask]:
    samples = _samples()
    viewer = _html(
        "viewer",
        html_template=static("viewer.html").replace("<!--samples-->", _sample_row(samples)),
        server_functions=_served(service.photo, service.overlay, service.heads, service.download),
        elem_id="c-viewer",
    )
    controls = settings.settings(service.models)

    def ask(
        find: Callable[[], Item], asked: dict[str, Any], chosen: Sequence[Any]
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {"n": asked.get("n")}
        try:
            return answer | service.show(find(), settings.read(*chosen))
        except CaptionerError as error:
            return answer | {"error": str(error)}

    def asked_for(event: gr.EventData, *chosen: Any) -> dict[str, Any]:
        """A photo to caption: {"n": number of the question, "path", "name"} or {"sample": i}."""
        asked = event._data or {}
        return ask(lambda: _upload(asked, samples).item, asked, chosen)

    viewer.ask(
        asked_for, controls, viewer, show_progress="hidden", api_visibility="private",
        trigger_mode="always_last", **queue,
    ).failure(None, js=FAILED)  # fmt: skip
    return viewer, controls, ask


def _upload(asked: dict[str, Any], samples: Sequence[Path]) -> Upload:
    number = asked.get("sample")
    if isinstance(number, int) and 0 <= number < len(samples):
        return Upload(samples[number], samples[number].name)
    path = uploaded(asked.get("path"))
    return Upload(path, Path(str(asked.get("name") or path.name)).name)


def _samples() -> list[Path]:
    try:
        return sample_photos()
    except CaptionerError:  # scikit-image is not installed: a page without the row
        return []


def _sample_row(samples: Sequence[Path]) -> str:
    """The row of photos to try, as buttons."""
    if not samples:
        return ""
    buttons = []
    for number, path in enumerate(samples):
        name = escape(path.stem.removesuffix("_left"))
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((400, 300))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=80)
        source = base64.b64encode(file.getvalue()).decode()
        buttons.append(
            f'<button type="button" class="c-sample" data-sample="{number}" '
            f'aria-label="Try the photo {name}">'
            f'<img src="data:image/jpeg;base64,{source}" alt="The sample photo {name}"></button>'
        )
    return (
        '<section class="c-samples"><h3 class="c-title">Or try one of these</h3>'
        f'<div class="c-samples-row">{"".join(buttons)}</div></section>'
    )


# The Folder tab -----------------------------------------------------------------------------------


def _folder_tab(folders: FolderService, controls: list[gr.components.Component]) -> gr.HTML:
    gallery = _html(
        "folder", server_functions=_served(folders.thumb, folders.download), elem_id="c-folder"
    )

    def start(event: gr.EventData, *chosen: Any) -> Iterator[dict[str, Any]]:
        """Photos to caption: {"n": number of the question, "files": [{"path", "name"}]}."""
        asked = event._data or {}
        answer = {"n": asked.get("n")}
        try:
            files = asked.get("files") or []
            uploads = [Upload(uploaded(f["path"]), str(f["name"])) for f in files]
            job = folders.begin(uploads)
            for state in folders.run(job, settings.read(*chosen) | {"alternatives": 0}):
                yield answer | state
        except CaptionerError as error:
            yield answer | {"error": str(error)}

    started = gallery.start(
        start, controls, gallery, show_progress="hidden", api_visibility="private",
        concurrency_id="folder", concurrency_limit=1,
    )  # fmt: skip
    started.failure(None, js=FAILED)
    gallery.stop(None, cancels=[started], api_visibility="private")
    return gallery


# The Score tab ------------------------------------------------------------------------------------


def _score_tab() -> None:
    gr.HTML(
        "<p>Captions against what people wrote: COCO results JSON, or our JSONL or CSV; and "
        "references as COCO captions JSON, or Karpathy's dataset file.</p>",
        elem_id="c-score-help",
        apply_default_css=False,
    )
    with gr.Row(equal_height=True):
        results = gr.File(label="Captions", height=150, min_width=300)
        references = gr.File(label="References", height=150, min_width=300)
    with gr.Row(equal_height=True, elem_classes="c-score-row"):
        splits = [("test, or no splits", ""), *((name, name) for name in SPLITS)]
        split = gr.Dropdown(splits, value="", label="Split, of a Karpathy file", min_width=300)
        button = gr.Button("Score the captions", variant="primary", min_width=300)
    shown = gr.HTML(elem_id="c-score", apply_default_css=False)

    def run(results: str | None, references: str | None, split: str) -> str:
        try:
            if not results or not references:
                raise CaptionerError("Give both files: the captions, and the references.")
            pair = [Upload(Path(p), Path(p).name) for p in (results, references)]
            return as_html(score_files(pair[0], pair[1], split))
        except CaptionerError as error:
            return f'<div class="c-error" role="alert">{escape(str(error))}</div>'

    button.click(
        run, [results, references, split], shown, api_visibility="private",
        concurrency_id="score", concurrency_limit=1,
    )  # fmt: skip
