"""The endpoints for programs: /caption, /heatmaps, /batch, /score. docs/page.md shows their use."""

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.data_classes import FileDataDict
from gradio.events import api
from gradio_client import handle_file

from captioner.batch.records import record
from captioner.caption import Caption
from captioner.errors import CaptionerError
from captioner.heatmaps import no_maps

from .caption import CaptionService, concurrency
from .folder import FolderService
from .score import score_files
from .settings import model_and_request
from .uploads import Upload, upload_folder, upload_of

BROKEN = "Something broke on the server; try again."
"""For the caller, who is told nothing of what the server is like inside."""

P = ParamSpec("P")
T = TypeVar("T")
Json = dict[str, Any]


def add_endpoints(service: CaptionService, folders: FolderService) -> None:
    """Add the endpoints to the page being built."""

    @_sentences
    def caption(photo: FileDataDict, options: Json | None = None) -> Json:
        """Caption a photo.

        options: model, beams, alternatives, prefix, without, sample, temperature, top_k, top_p,
        seed, min_length, max_length, length_penalty, no_repeat, explain, heatmaps;
        all may be left out.
        Returns the caption, its confidence, words with probabilities, and alternatives.
        """
        return _caption(service, photo, options)[0]

    @_sentences
    def heatmaps(
        photo: FileDataDict, options: Json | None = None
    ) -> tuple[Json, list[FileDataDict], FileDataDict]:
        """Caption a photo and draw where the model looked.

        Returns what /caption returns, a PNG for each word (the photo under its heat), and the
        contact sheet of all words as a PNG.
        """
        captioner, _ = model_and_request(service.models, options or {})
        if not captioner.model.maps:
            raise CaptionerError(no_maps(captioner.model, captioner.name))
        record, found = _caption(service, photo, options)
        folder = Path(mkdtemp(prefix="heat-", dir=upload_folder()))
        overlays = []
        for i in range(len(found.words)):
            path = folder / f"word-{i + 1:02}.png"
            found.overlay(i).save(path, compress_level=1)
            overlays.append(handle_file(path))
        found.contact_sheet().save(folder / "words.png", compress_level=1)
        return record, overlays, handle_file(folder / "words.png")

    @_sentences
    def batch(photos: list[FileDataDict], options: Json | None = None) -> list[Json]:
        """Caption many photos, or zips of photos, in order.

        Returns one object a photo: what /caption returns, or {"file", "error"}. options as there.
        """
        return [dict(r) for r in folders.caption([_upload(p) for p in photos], options or {})]

    @_sentences
    def score(results: FileDataDict, references: FileDataDict, split: str | None = None) -> Json:
        """Score a results file against a references file, as `captioner score` does.

        split: of Karpathy's dataset file. Returns the signature, each metric with its 95% interval
        (as fractions), what was left out, and the best and worst captions.
        """
        return score_files(_upload(results), _upload(references), split)

    queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": concurrency()}
    api(caption, api_name="caption", **queue)
    api(heatmaps, api_name="heatmaps", **queue)
    api(batch, api_name="batch", concurrency_id="folder", concurrency_limit=1)
    api(score, api_name="score", concurrency_id="score", concurrency_limit=1)


def _caption(
    service: CaptionService, photo: FileDataDict, options: Json | None
) -> tuple[Json, Caption]:
    item = _upload(photo).item
    captioner, request = model_and_request(service.models, options or {})
    best = service.caption(item, captioner, request)
    return dict(record(item, best, captioner)), best


def _upload(file: object) -> Upload:
    if not isinstance(file, dict):
        raise CaptionerError("A file is given as gradio_client's handle_file(PATH).")
    upload = upload_of({"path": file.get("path"), "name": file.get("orig_name")})
    return Upload(upload.path, Path(upload.name).name)


def _sentences(work: Callable[P, T]) -> Callable[P, T]:
    """The caller's mistakes reach the caller as a sentence, and leave no traceback here."""

    @wraps(work)
    def with_sentences(*args: P.args, **options: P.kwargs) -> T:
        try:
            return work(*args, **options)
        except CaptionerError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            traceback.print_exc()
            raise gr.Error(BROKEN, print_exception=False) from error

    return with_sentences
