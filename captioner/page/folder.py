"""The Folder tab's service: many photos or a zip; their captions as they come.

A folder is a job of the server's and not of a connection (`jobs.py`): a batch of it is captioned
at a time, and the page asks how far it is.
"""

import io
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from captioner.batch import Outcome, caption_items
from captioner.batch.items import Item
from captioner.batch.records import Failure as Failed
from captioner.batch.records import Record, failure
from captioner.caption import Caption
from captioner.errors import CaptionerError
from captioner.heatmaps import no_maps
from captioner.request import Request

from .cache import PrivateCache, new_id
from .data_uris import data_uri
from .jobs import ATTENDED, Job, JobQueue
from .kept import GONE, JobFile, KeptJobs
from .messages import (
    Download,
    Failure,
    Picture,
    Progress,
    Question,
    Row,
    Sheets,
    Started,
    WhyGone,
    index,
    or_error,
    text,
)
from .models import Models
from .results import as_csv, as_jsonl, as_zip, with_edits
from .settings import model_and_request
from .sheets import SheetsJob
from .uploads import PHOTO_LIMITS, Upload, has_room, photos_in, renamed, uploads_of

THUMB = 480
BATCH = 8
"""Photos that the model takes at once; after each batch the page is told what is done."""
CACHE_BYTES = 128 << 20
MAX_CAPTION = 1000
"""Letters of a caption that a person writes."""


@dataclass(eq=False, kw_only=True)
class FolderJob(Job):
    """Many photos, and what became of each so far, in their order.

    file: where it is written down. gone: why its photos are not held any more, "" while they are.
    edits: a person's captions in place of the model's, by the photo's number. sheets: what draws
    them, or has drawn them last.
    """

    records: list[Record | Failed] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)
    file: JobFile = field(default_factory=lambda: JobFile(None))
    gone: WhyGone = ""
    edits: dict[int, str] = field(default_factory=dict)
    sheets: SheetsJob | None = None
    _outcomes: Iterator[Outcome] | None = None

    def step(self) -> None:
        """Caption the next batch."""
        if self._outcomes is None:
            self._outcomes = caption_items(
                self.captioner,
                self.items,
                self.request,  # with heatmaps: the thumbnails are made of the photos they come with
                batch_size=BATCH,
                limits=PHOTO_LIMITS,
                draw=_thumbnail,
            )
        for outcome in itertools.islice(self._outcomes, BATCH):
            self._add(outcome)
            if self.state != "running":  # stopped in the meantime
                break
        if len(self.records) == len(self.items):
            self.end("done")

    def _add(self, outcome: Outcome) -> None:
        item, jpeg = outcome.item, outcome.picture
        self.thumbs.append(None if jpeg is None else data_uri(jpeg, "image/jpeg"))
        self.records.append(outcome.record or failure(item, renamed(outcome.error or "", item)))
        self.file.add(item, self.records[-1])

    def close(self) -> None:
        """Let go of what decodes its photos, and of its file."""
        self.file.close()
        if self._outcomes is not None:
            self._outcomes.close()  # type: ignore[attr-defined]  # a generator
            self._outcomes = None


class FolderService:
    """Captions many photos for the page and for programs, one job at a time.

    kept: what there is of jobs of earlier servers, and where this one writes down its own.
    """

    def __init__(self, models: Models, kept: KeptJobs | None = None):
        self.models = models
        self.kept = kept or KeptJobs()
        self.queue = JobQueue(self._over)
        # Those that are over; until then a job is in the queue, and nothing pushes it out.
        self.jobs: PrivateCache[FolderJob] = PrivateCache(CACHE_BYTES, "This folder")

    def begin(
        self,
        uploads: list[Upload],
        options: object,
        user: str | None = None,
        key: str = "",
    ) -> FolderJob:
        """A job that runs as soon as it is its turn; with an id it is written down. Raises
        CaptionerError when there are too many photos or none, or an option makes no sense."""
        captioner, request = model_and_request(self.models, options)
        items = photos_in(uploads)
        job = FolderJob(items=items, captioner=captioner, request=request, user=user, key=key)
        if key:
            job.file = self.kept.begin(key, user, len(items))
        self.queue.add(job)
        return job

    def caption(self, uploads: list[Upload], options: object) -> list[Record | Failed]:
        """The records of all photos, once they are captioned. Raises CaptionerError."""
        job = self.begin(uploads, options)
        while not job.finished.wait(ATTENDED / 2):
            job.seen = time.monotonic()
        if job.state == "failed":
            raise CaptionerError("Something broke on the server; try again.")
        return job.records

    def _over(self, job: Job) -> None:
        """Keep a job of which a page may still ask."""
        if isinstance(job, FolderJob) and job.key:
            self.jobs.put(job, 40_000 * len(job.items), job.key)

    # What the page's script asks for.

    def start(self, question: Question, user: str | None) -> Started | Failure:
        """Begin to caption the uploads that the question names."""

        def begin() -> Started:
            uploads = uploads_of(question.get("files"))
            key = new_id()
            self.begin(uploads, question.get("settings"), user, key)
            return {"id": key}

        return or_error(begin)

    def progress(self, question: Question, user: str | None) -> Progress | Failure:
        """How far a job is, with the rows from number `from` on."""

        def look() -> Progress:
            job = self._job(question, user)
            job.seen = time.monotonic()
            start = index(question, "from", len(job.items) + 1, "photo")
            state = job.state  # before the rows: once it is "done" they are all there
            return {
                "state": state,
                "total": len(job.items),
                "rows": [_row(found) for found in with_edits(job.records, job.edits)[start:]],
                "seconds": round(job.seconds, 1),
                "before": self.queue.before(job),
                "gone": job.gone,
            }

        return or_error(look)

    def stop(self, question: Question, user: str | None) -> Progress | Failure:
        """End a job, and the drawing of its sheets; what is captioned stays."""

        def end() -> Progress | Failure:
            job = self._job(question, user)
            job.end("stopped")
            if job.sheets:
                job.sheets.end("stopped")
            return self.progress(question, user)

        return or_error(end)

    def edit(self, question: Question, user: str | None) -> Row | Failure:
        """Another caption for a photo, in the person's own words; none brings the model's back."""

        def change() -> Row:
            job = self._job(question, user)
            i = index(question, "i", len(job.records), "photo")
            caption = " ".join(text(question, "text").split())[:MAX_CAPTION]
            if "error" in job.records[i]:
                raise CaptionerError("A photo that could not be captioned has no caption to edit.")
            if caption and caption != job.records[i].get("caption"):
                job.edits[i] = caption
            else:
                job.edits.pop(i, None)
            self.kept.more(text(question, "id")).edit(i, caption)
            return _row(with_edits(job.records, job.edits)[i])

        return or_error(change)

    def thumb(self, question: Question, user: str | None) -> Picture | Failure:
        """A photo of the gallery."""

        def find() -> Picture:
            thumbs = self._job(question, user).thumbs
            found = thumbs[index(question, "i", len(thumbs), "photo")]
            if found is None:
                raise CaptionerError("There is no picture of that photo here.")
            return {"src": found}

        return or_error(find)

    def download(self, question: Question, user: str | None) -> Download | Failure:
        """The results as CSV, JSONL, or a zip of both with a text file for each photo."""

        def make() -> Download:
            job, kind = self._job(question, user), question.get("kind")
            records = with_edits(job.records, job.edits)
            if kind == "csv":
                return {"name": "captions.csv", "src": data_uri(as_csv(records), "text/csv")}
            if kind == "jsonl":
                content = data_uri(as_jsonl(records), "application/jsonl")
                return {"name": "captions.jsonl", "src": content}
            if kind == "zip":
                content = data_uri(as_zip(job.items, records), "application/zip")
                return {"name": "captions.zip", "src": content}
            raise CaptionerError(f"There is no download {kind!r}.")

        return or_error(make)

    def sheets(self, question: Question, user: str | None) -> Sheets | Failure:
        """Begin to make a zip with the sheets of heatmaps ({"begin": true}), or how far it is."""

        def look() -> Sheets:
            job = self._job(question, user)
            if question.get("begin") and (job.sheets is None or job.sheets.finished.is_set()):
                job.sheets = self._draw(job)
            if job.sheets is None:
                raise CaptionerError("No sheets of this folder are drawn; ask for the zip again.")
            sheets = job.sheets
            sheets.seen = time.monotonic()
            state = sheets.state
            return {
                "state": state,
                "done": sheets.done,
                "total": sheets.count,
                "before": self.queue.before(sheets),
                "path": str(sheets.path or "") if state == "done" else "",
            }

        return or_error(look)

    def _draw(self, job: FolderJob) -> SheetsJob:
        """A job that draws the sheets of one that is over. Raises CaptionerError."""
        if not job.captioner.model.maps:
            raise CaptionerError(no_maps(job.captioner.model, job.captioner.name))
        if not any(item.path and Path(item.path).is_file() for item in job.items):
            raise CaptionerError(
                "The photos of this folder are no longer held here, and sheets are drawn on them: "
                "upload them again, or take the zip without sheets."
            )
        if job.sheets:
            job.sheets.remove()
        if not has_room():
            raise CaptionerError("The server holds too many files just now. Try again later.")
        sheets = SheetsJob(
            items=job.items, captioner=job.captioner, request=job.request,
            records=with_edits(job.records, job.edits),
        )  # fmt: skip
        self.queue.add(sheets)
        return sheets

    def item(self, question: Question, user: str | None) -> Item:
        """One photo of a job, to be captioned by itself: {"folder": id, "i": its number}. Raises
        CaptionerError."""
        job = self._job({"id": question.get("folder")}, user)
        return job.items[index(question, "i", len(job.items), "photo")]

    def _job(self, question: Question, user: str | None) -> FolderJob:
        key = question.get("id")
        job: Job | None = self.queue.find(key)
        if not isinstance(job, FolderJob):
            with suppress(CaptionerError):
                job = self.jobs.get(key)
        if not isinstance(job, FolderJob):
            job = self._recalled(text(question, "id"))
        if job.user != user:
            raise CaptionerError("This folder is another person's.")
        return job

    def _recalled(self, key: str) -> FolderJob:
        """A job that is only written down. Raises CaptionerError when there is none."""
        kept = self.kept.get(key)
        if kept is None:
            raise CaptionerError("This folder is no longer held here; caption it again.")
        missing = [Item("", problem=GONE)] * (kept.total - len(kept.items))
        job = FolderJob(
            items=kept.items + missing, captioner=self.models.get(), request=Request(),
            user=kept.user, key=key, state="stopped" if missing else "done", records=kept.records,
            thumbs=[None] * len(kept.records), gone="crowded" if kept.own else "restarted",
            edits=kept.edits,
        )  # fmt: skip
        job.finished.set()
        self.jobs.put(job, 2000 * kept.total, key)
        return job


def _row(found: Record | Failed) -> Row:
    if "error" in found:
        return {"file": found["file"], "error": found["error"]}
    row: Row = {"file": found["file"], "caption": found["caption"]}
    if "edited" in found:
        return row | {"edited": True}
    return row | {"confidence": found["confidence"]}


def _thumbnail(caption: Caption) -> bytes:
    small = caption.photo.image.copy()
    small.thumbnail((THUMB, THUMB))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=80)
    return jpeg.getvalue()
