"""The tabs of the page: their markup, their scripts, and what the scripts may ask the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from captioner.annotations import SPLITS
from captioner.batch.items import Item
from captioner.errors import CaptionerError
from captioner.html import render
from captioner.request import Request

from . import uploads
from .assets import script
from .caption import OTHERS, CaptionService
from .folder import FolderService
from .messages import Failure, PhotoAnswer, Question, Superseded, text
from .models import Models
from .sample_row import sample_row, samples
from .score import as_html, score_files
from .server_functions import asked_by, plain, plain_async, with_user
from .settings import Control, controls, useless
from .uploads import Upload, fetched, upload_of


def header() -> None:
    """The name, and the button for light or dark."""
    _html("header", elem_id="c-header")


def caption_tab(service: CaptionService, folders: FolderService) -> None:
    """One photo: its caption, its words, its heat."""
    photos = samples()

    def find(question: Question, user: str | None) -> Item:
        """The photo of a question: {"path", "name"} of an upload, {"sample": i}, {"folder": id,
        "i": number} of a photo there, or {"url"}."""
        number = question.get("sample")
        if isinstance(number, int) and 0 <= number < len(photos):
            return Upload(photos[number], photos[number].name).item
        if "folder" in question:
            return folders.item(question, user)
        upload = fetched(text(question, "url")) if "url" in question else upload_of(question)
        return Upload(upload.path, Path(upload.name).name).item

    async def ask(question: Any, request: gr.Request) -> PhotoAnswer | Superseded | Failure:
        asked: Question = question if isinstance(question, dict) else {}
        user = asked_by(request)
        return await service.ask(asked, lambda: find(asked, user))

    _html(
        "viewer",
        server_functions=[
            ask,
            plain_async(service.place),
            *map(
                plain,
                (
                    service.photo,
                    service.explain,
                    service.compare,
                    service.overlay,
                    service.thumbs,
                    service.heads,
                    service.download,
                ),
            ),
        ],
        elem_id="c-viewer",
        samples=sample_row(photos),
        **_settings(service.models, OTHERS),
    )


def folder_tab(service: FolderService) -> None:
    """Many photos, and the results as files."""
    methods = (
        service.start, service.progress, service.stop, service.edit, service.thumb,
        service.download, service.sheets,
    )  # fmt: skip
    _html(
        "folder",
        server_functions=[with_user(method) for method in methods],
        elem_id="c-folder",
        most_photos=uploads.MAX_PHOTOS,
        **_settings(service.models, 0),
    )


def score_tab() -> None:
    """Captions against references."""
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
            return render("captioner.page", "error.html", sentence=str(error))

    button.click(
        run, [results, references, split], shown, api_visibility="private",
        concurrency_id="score", concurrency_limit=1,
    )  # fmt: skip


def about_tab(models: Models) -> None:
    """The models' cards."""
    for name in models.names:
        gr.Markdown(models.card(name), elem_classes="c-card-text")


def _settings(models: Models, alternatives: int) -> dict[str, list[str] | list[Control]]:
    """What settings.html needs: the names of the models, and the controls."""
    base = models.get().model.search
    shown = min(alternatives, base.beams - 1)
    made = controls(Request, base, useless(models), alternatives=shown)
    return {"models": models.names, "controls": made}


def _html(
    name: str, *, elem_id: str, server_functions: list[Any] | None = None, **values: object
) -> gr.HTML:
    """A part of the page out of static/: its markup and its script."""
    return gr.HTML(
        html_template=render("captioner.page", f"{name}.html", part=name, **values),
        js_on_load=script(name),
        server_functions=server_functions,
        apply_default_css=False,
        elem_id=elem_id,
    )
