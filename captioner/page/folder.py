"""The Folder tab: many photos or a zip; their captions as they come; the results as files."""

import base64
import io
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from captioner.batch import Outcome, caption_items
from captioner.batch.items import Item
from captioner.batch.names import sidecar, with_stems
from captioner.batch.records import Failure, Record, failure
from captioner.batch.writers import write_table
from captioner.captioner import Caption
from captioner.errors import CaptionerError
from captioner.texts import to_line

from .cache import PrivateCache
from .caption import CaptionService, or_error
from .settings import model_and_request
from .uploads import PHOTO_LIMITS, Upload, photos_in, renamed, upload_folder

THUMB = 480
BATCH = 8
"""Photos that the model takes at once; after each batch the page shows what is done."""
CACHE_BYTES = 128 << 20


@dataclass
class FolderJob:
    """The photos of one press of the button, and what became of each so far, in their order."""

    items: list[Item]
    records: list[Record | Failure] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)


class FolderService:
    """Captions many photos for the page and for programs."""

    def __init__(self, service: CaptionService):
        self.service = service
        self.jobs: PrivateCache[FolderJob] = PrivateCache(CACHE_BYTES, "This folder")

    def begin(self, uploads: list[Upload]) -> FolderJob:
        """Raises CaptionerError when there are too many photos, or none."""
        return FolderJob(photos_in(uploads))

    def run(self, job: FolderJob, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Caption the photos of a run; yields after every batch what the page shows.

        Raises CaptionerError when an option makes no sense.
        """
        captioner, request = model_and_request(self.service.models, options)
        key = self.jobs.put(job, 40_000 * len(job.items))
        began = time.perf_counter()
        yield _progress(key, job, began)
        done = caption_items(
            captioner,
            job.items,
            request,  # with heatmaps: the thumbnails are made of the photos that come with them
            batch_size=BATCH,
            limits=PHOTO_LIMITS,
            draw=_thumbnail,
        )
        for outcome in done:
            _add(job, outcome)
            if len(job.records) % BATCH == 0:
                yield _progress(key, job, began)
        yield _progress(key, job, began)

    def item(self, key: Any, i: Any) -> Item:
        """One photo of a run, to be opened by itself. Raises CaptionerError."""
        job = self.jobs.get(key)
        if not isinstance(i, int) or not 0 <= i < len(job.items):
            raise CaptionerError(f"There is no photo {i!r}.")
        return job.items[i]

    # What the page's script asks for.

    def thumb(self, ask: dict[str, Any]) -> dict[str, Any]:
        def find() -> dict[str, Any]:
            thumbs, i = self.jobs.get(ask.get("id")).thumbs, ask.get("i")
            if not isinstance(i, int) or not 0 <= i < len(thumbs):
                raise CaptionerError(f"There is no photo {i!r}.")
            return {"src": thumbs[i]}

        return or_error(find)

    def download(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The results as CSV, JSONL, or a zip of both with a text file for each photo."""

        def make() -> dict[str, Any]:
            job, kind = self.jobs.get(ask.get("id")), ask.get("kind")
            if kind == "csv":
                return _file("captions.csv", "text/csv", _csv(job))
            if kind == "jsonl":
                return _file("captions.jsonl", "application/jsonl", _jsonl(job))
            if kind == "zip":
                return _file("captions.zip", "application/zip", _zip(job))
            raise CaptionerError(f"There is no download {kind!r}.")

        return or_error(make)


def _progress(key: str, job: FolderJob, began: float) -> dict[str, Any]:
    return {
        "id": key,
        "total": len(job.items),
        "rows": [
            {k: r[k] for k in ("file", "caption", "confidence", "error") if k in r}
            for r in map(dict, job.records)
        ],
        "seconds": round(time.perf_counter() - began, 1),
        "done": len(job.records) == len(job.items),
    }


def _add(job: FolderJob, outcome: Outcome) -> None:
    item = outcome.item
    job.records.append(outcome.record or failure(item, renamed(outcome.error or "", item)))
    job.thumbs.append(_data(outcome.picture, "image/jpeg") if outcome.picture else None)


def _thumbnail(caption: Caption) -> bytes:
    small = caption.photo.image.copy()
    small.thumbnail((THUMB, THUMB))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=80)
    return jpeg.getvalue()


def _captioned(job: FolderJob) -> list[Record]:
    return [r for r in job.records if "caption" in r]


def _csv(job: FolderJob) -> bytes:
    with TemporaryDirectory(dir=upload_folder()) as folder:
        path = Path(folder) / "captions.csv"
        write_table("csv", _captioned(job), path)
        return path.read_bytes()


def _jsonl(job: FolderJob) -> bytes:
    return "".join(to_line(r) + "\n" for r in _captioned(job)).encode()


def _zip(job: FolderJob) -> bytes:
    """The tables, what failed, and a text file for each photo, at the photo's place."""
    content = io.BytesIO()
    failed = "".join(f"{r['file']}\t{r['error']}\n" for r in job.records if "error" in r)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("captions.csv", _csv(job))
        file.writestr("captions.jsonl", _jsonl(job))
        if failed:
            file.writestr("failed.txt", failed)
        for item, found in zip(with_stems(job.items, Path()), job.records, strict=False):
            if "caption" in found:
                file.writestr(str(sidecar(item, Path())), found["caption"] + "\n")
    return content.getvalue()


def _file(name: str, kind: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "src": _data(data, kind)}


def _data(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
