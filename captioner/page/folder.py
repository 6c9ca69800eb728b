"""The Folder tab: many photos or a zip; their captions as they come; the results as files."""

import base64
import csv
import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from captioner.batch import caption_files
from captioner.captioner import Caption
from captioner.errors import CaptionerError

from .caption import CaptionDesk, answered, as_json, data_uri
from .settings import checked
from .shelf import Shelf
from .uploads import PHOTO_LIMITS, Upload, told, unpack

THUMB = 480
BATCH = 8
"""Photos that the model takes at once; after each batch the page shows what is done."""
SHELF_BYTES = 128 << 20
FIELDS = ("file", "caption", "confidence", "model", "width", "height", "error")


@dataclass
class Run:
    """The photos of one press of the button, and what became of each so far."""

    files: list[Upload]
    rows: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    thumbs: dict[int, str] = field(default_factory=dict)

    def in_order(self) -> list[dict[str, Any]]:
        """The records of the photos so far, in the order of the files."""
        ordered = sorted(self.records, key=lambda record: record["n"])
        return [{k: v for k, v in record.items() if k != "n"} for record in ordered]


class FolderDesk:
    """Captions many photos for the page and for programs."""

    def __init__(self, desk: CaptionDesk):
        self.desk = desk
        self.runs: Shelf[Run] = Shelf(SHELF_BYTES, "This folder")

    def begin(self, uploads: list[Upload]) -> Run:
        """Raises CaptionerError when there are too many photos, or none."""
        return Run(unpack(uploads))

    def run(self, run: Run, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Caption the photos of a run; yields after every batch what the page shows.

        Raises CaptionerError when an option makes no sense.
        """
        chosen = checked(options)
        captioner = self.desk.models.get(chosen.pop("model", None))
        prefix, without = chosen.pop("prefix", ""), chosen.pop("without", ())
        search = captioner.search(**chosen)
        key = self.runs.put(run, 20_000 * len(run.files))
        began = time.perf_counter()
        good = [n for n, upload in enumerate(run.files) if upload.error is None]
        for n, upload in enumerate(run.files):
            if upload.error is not None:
                _failed(run, n, str(upload.error))
        yield _progress(key, run, began)
        done = caption_files(
            captioner,
            (run.files[n].path for n in good),
            search,
            heatmaps=True,  # for the photos that come with them, of which the thumbnails are made
            batch_size=BATCH,
            limits=PHOTO_LIMITS,
            prefix=prefix,
            without=without,
        )
        for count, (n, one) in enumerate(zip(good, done, strict=True), 1):
            if one.caption is None:
                assert one.error is not None
                _failed(run, n, told(one.error, run.files[n]))
            else:
                _captioned(run, n, one.caption, captioner.name)
            if count % BATCH == 0:
                yield _progress(key, run, began)
        yield _progress(key, run, began)

    def upload(self, key: Any, i: Any) -> Upload:
        """One photo of a run, to be opened by itself. Raises CaptionerError."""
        run = self.runs.get(key)
        if not isinstance(i, int) or not 0 <= i < len(run.files):
            raise CaptionerError(f"There is no photo {i!r}.")
        return run.files[i]

    # What the page's script asks for.

    def thumb(self, ask: dict[str, Any]) -> dict[str, Any]:
        return answered(lambda: {"src": self.runs.get(ask.get("id")).thumbs.get(ask.get("i", -1))})

    def download(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The results as CSV, JSONL, or a zip of both with a text file beside each photo's name."""

        def make() -> dict[str, Any]:
            run, kind = self.runs.get(ask.get("id")), ask.get("kind")
            if kind == "csv":
                return _file("captions.csv", "text/csv", _csv(run).encode())
            if kind == "jsonl":
                return _file("captions.jsonl", "application/jsonl", _jsonl(run).encode())
            if kind == "zip":
                return _file("captions.zip", "application/zip", _zip(run))
            raise CaptionerError(f"There is no download {kind!r}.")

        return answered(make)


def _progress(key: str, run: Run, began: float) -> dict[str, Any]:
    return {
        "id": key,
        "total": len(run.files),
        "rows": list(run.rows),
        "seconds": round(time.perf_counter() - began, 1),
        "done": len(run.rows) == len(run.files),
    }


def _captioned(run: Run, n: int, caption: Caption, model: str) -> None:
    name = run.files[n].name
    small = caption.photo.image.copy()
    small.thumbnail((THUMB, THUMB))
    run.thumbs[n] = data_uri(small, "JPEG", quality=80)
    row = {
        "i": n,
        "name": name,
        "caption": caption.text,
        "confidence": round(caption.confidence, 4),
    }
    run.rows.append(row)
    run.records.append({"n": n, **as_json(name, caption, model)})


def _failed(run: Run, n: int, sentence: str) -> None:
    name = run.files[n].name
    run.rows.append({"i": n, "name": name, "error": sentence})
    run.records.append({"n": n, "file": name, "error": sentence})


def _csv(run: Run) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(run.in_order())
    return text.getvalue()


def _jsonl(run: Run) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in run.in_order())


def _zip(run: Run) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("captions.csv", _csv(run))
        file.writestr("captions.jsonl", _jsonl(run))
        taken: set[str] = set()
        for record in run.in_order():
            if "caption" in record:
                file.writestr(_sidecar(record["file"], taken), record["caption"] + "\n")
    return content.getvalue()


def _sidecar(name: str, taken: set[str]) -> str:
    """`trip/one.jpg` -> `trip/one.txt`, never above the folder that it is unpacked in, and with a
    number where two photos differ in their suffix only."""
    parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    stem = str(PurePosixPath(*parts).with_suffix("")) if parts else "photo"
    found, n = f"{stem}.txt", 2
    while found.lower() in taken:
        found, n = f"{stem}-{n}.txt", n + 1
    taken.add(found.lower())
    return found


def _file(name: str, kind: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "src": f"data:{kind};base64,{base64.b64encode(data).decode()}"}
