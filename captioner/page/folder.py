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

from captioner.batch import caption_items
from captioner.batch.records import failure, record, to_line
from captioner.batch.sinks import write_table
from captioner.batch.sources import Item, sidecar
from captioner.captioner import Caption, Captioner
from captioner.errors import CaptionerError

from .caption import CaptionDesk, answered, data_uri
from .settings import asked
from .shelf import Shelf
from .uploads import PHOTO_LIMITS, Upload, photos_in, told, upload_folder

THUMB = 480
BATCH = 8
"""Photos that the model takes at once; after each batch the page shows what is done."""
SHELF_BYTES = 128 << 20


@dataclass
class Run:
    """The photos of one press of the button, and what became of each so far, in their order."""

    items: list[Item]
    records: list[dict[str, Any]] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)


class FolderDesk:
    """Captions many photos for the page and for programs."""

    def __init__(self, desk: CaptionDesk):
        self.desk = desk
        self.runs: Shelf[Run] = Shelf(SHELF_BYTES, "This folder")

    def begin(self, uploads: list[Upload]) -> Run:
        """Raises CaptionerError when there are too many photos, or none."""
        return Run(photos_in(uploads))

    def run(self, run: Run, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Caption the photos of a run; yields after every batch what the page shows.

        Raises CaptionerError when an option makes no sense.
        """
        captioner, request = asked(self.desk.models, options)
        key = self.runs.put(run, 40_000 * len(run.items))
        began = time.perf_counter()
        yield _progress(key, run, began)
        done = caption_items(
            captioner,
            run.items,
            request,  # with heatmaps: the thumbnails are made of the photos that come with them
            batch_size=BATCH,
            limits=PHOTO_LIMITS,
            ordered=True,
        )
        for one in done:
            _add(run, one.item, one.caption, one.error, captioner)
            if len(run.records) % BATCH == 0:
                yield _progress(key, run, began)
        yield _progress(key, run, began)

    def item(self, key: Any, i: Any) -> Item:
        """One photo of a run, to be opened by itself. Raises CaptionerError."""
        run = self.runs.get(key)
        if not isinstance(i, int) or not 0 <= i < len(run.items):
            raise CaptionerError(f"There is no photo {i!r}.")
        return run.items[i]

    # What the page's script asks for.

    def thumb(self, ask: dict[str, Any]) -> dict[str, Any]:
        def find() -> dict[str, Any]:
            thumbs, i = self.runs.get(ask.get("id")).thumbs, ask.get("i")
            if not isinstance(i, int) or not 0 <= i < len(thumbs):
                raise CaptionerError(f"There is no photo {i!r}.")
            return {"src": thumbs[i]}

        return answered(find)

    def download(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The results as CSV, JSONL, or a zip of both with a text file for each photo."""

        def make() -> dict[str, Any]:
            run, kind = self.runs.get(ask.get("id")), ask.get("kind")
            if kind == "csv":
                return _file("captions.csv", "text/csv", _csv(run))
            if kind == "jsonl":
                return _file("captions.jsonl", "application/jsonl", _jsonl(run))
            if kind == "zip":
                return _file("captions.zip", "application/zip", _zip(run))
            raise CaptionerError(f"There is no download {kind!r}.")

        return answered(make)


def _progress(key: str, run: Run, began: float) -> dict[str, Any]:
    return {
        "id": key,
        "total": len(run.items),
        "rows": [
            {k: r[k] for k in ("file", "caption", "confidence", "error") if k in r}
            for r in run.records
        ],
        "seconds": round(time.perf_counter() - began, 1),
        "done": len(run.records) == len(run.items),
    }


def _add(
    run: Run,
    item: Item,
    caption: Caption | None,
    error: CaptionerError | None,
    captioner: Captioner,
) -> None:
    if caption is None:
        run.records.append(failure(item, told(error or "", item)))
        run.thumbs.append(None)
        return
    small = caption.photo.image.copy()
    small.thumbnail((THUMB, THUMB))
    run.records.append(record(item, caption, captioner))
    run.thumbs.append(data_uri(small, "JPEG", quality=80))


def _captioned(run: Run) -> list[dict[str, Any]]:
    return [r for r in run.records if "caption" in r]


def _csv(run: Run) -> bytes:
    with TemporaryDirectory(dir=upload_folder()) as folder:
        path = Path(folder) / "captions.csv"
        write_table("csv", _captioned(run), path)
        return path.read_bytes()


def _jsonl(run: Run) -> bytes:
    return "".join(to_line(r) + "\n" for r in _captioned(run)).encode()


def _zip(run: Run) -> bytes:
    """The tables, what failed, and a text file for each photo, at the photo's place."""
    content = io.BytesIO()
    failed = "".join(f"{r['file']}\t{r['error']}\n" for r in run.records if "error" in r)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("captions.csv", _csv(run))
        file.writestr("captions.jsonl", _jsonl(run))
        if failed:
            file.writestr("failed.txt", failed)
        taken: set[str] = set()
        for item, found in zip(run.items, run.records, strict=False):
            place = sidecar(item, Path())
            if place and "caption" in found:
                name, n = place, 2
                while str(name).lower() in taken:  # photos that differ in their suffix only
                    name, n = place.with_stem(f"{place.stem}-{n}"), n + 1
                taken.add(str(name).lower())
                file.writestr(str(name), found["caption"] + "\n")
    return content.getvalue()


def _file(name: str, kind: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "src": f"data:{kind};base64,{base64.b64encode(data).decode()}"}
