"""The Folder tab's service: many photos or a zip; their captions as they come.

A folder is a job of the server's and not of a connection: one thread captions a batch of one job at
a time, and the page asks how far its job is. So nothing is lost with a connection, and whoever
comes next waits only for those who are still there.
"""

import io
import itertools
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

from captioner.batch import Outcome, caption_items
from captioner.batch.items import Item
from captioner.batch.records import Failure as Failed
from captioner.batch.records import Record, failure
from captioner.caption import Caption
from captioner.captioner import Captioner
from captioner.errors import CaptionerError
from captioner.request import Request

from .cache import PrivateCache, new_id
from .data_uris import data_uri
from .kept import GONE, JobFile, KeptJobs
from .messages import (
    Download,
    Failure,
    Picture,
    Progress,
    Question,
    Row,
    Started,
    State,
    index,
    or_error,
    text,
)
from .models import Models
from .results import as_csv, as_jsonl, as_zip, with_edits
from .settings import model_and_request
from .uploads import PHOTO_LIMITS, Upload, photos_in, renamed, uploads_of

THUMB = 480
BATCH = 8
"""Photos that the model takes at once; after each batch the page is told what is done."""
CACHE_BYTES = 128 << 20
MAX_CAPTION = 1000
"""Letters of a caption that a person writes."""
ATTENDED = 3
"""Seconds since its page last asked, up to which a job counts as watched."""
ABANDONED = 600
"""Seconds since its page last asked, after which a job stops."""


@dataclass(eq=False)
class FolderJob:
    """Many photos, and what became of each so far, in their order.

    user: who is logged in; only they may ask for it. seen: when its page last asked, by the clock
    of `time.monotonic`. file: where it is written down. before_restart: whether an earlier server
    captioned it. edits: a person's captions in place of the model's, by the photo's number.
    """

    items: list[Item]
    captioner: Captioner
    request: Request
    user: str | None = None
    records: list[Record | Failed] = field(default_factory=list)
    thumbs: list[str | None] = field(default_factory=list)
    state: State = "waiting"
    seconds: float = 0.0
    seen: float = field(default_factory=time.monotonic)
    finished: threading.Event = field(default_factory=threading.Event)
    file: JobFile = field(default_factory=lambda: JobFile(None))
    before_restart: bool = False
    edits: dict[int, str] = field(default_factory=dict)
    _outcomes: Iterator[Outcome] | None = None

    @property
    def attended(self) -> bool:
        return time.monotonic() - self.seen < ATTENDED

    def advance(self) -> None:
        """Caption the next batch."""
        began = time.perf_counter()
        if self._outcomes is None:
            self.state = "running"
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
        self.seconds += time.perf_counter() - began
        if len(self.records) == len(self.items):
            self.end("done")

    def _add(self, outcome: Outcome) -> None:
        item, jpeg = outcome.item, outcome.picture
        self.thumbs.append(None if jpeg is None else data_uri(jpeg, "image/jpeg"))
        self.records.append(outcome.record or failure(item, renamed(outcome.error or "", item)))
        self.file.add(item, self.records[-1])

    def end(self, state: State) -> None:
        if self.state in ("waiting", "running"):
            self.state = state
        self.finished.set()

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
        self.jobs: PrivateCache[FolderJob] = PrivateCache(CACHE_BYTES, "This folder")
        self._open: list[FolderJob] = []  # in the order in which they came
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def begin(
        self,
        uploads: list[Upload],
        options: object,
        user: str | None = None,
        key: str | None = None,
    ) -> FolderJob:
        """A job that runs as soon as it is its turn; with an id it is written down. Raises
        CaptionerError when there are too many photos or none, or an option makes no sense."""
        captioner, request = model_and_request(self.models, options)
        job = FolderJob(photos_in(uploads), captioner, request, user)
        if key:
            job.file = self.kept.begin(key, user, len(job.items))
        with self._changed:
            self._open.append(job)
            self._changed.notify()
        return job

    def caption(self, uploads: list[Upload], options: object) -> list[Record | Failed]:
        """The records of all photos, once they are captioned. Raises CaptionerError."""
        job = self.begin(uploads, options)
        while not job.finished.wait(ATTENDED / 2):
            job.seen = time.monotonic()
        if job.state == "failed":
            raise CaptionerError("Something broke on the server; try again.")
        return job.records

    def uploads_in_use(self) -> set[str]:
        """The files that jobs are not done with."""
        with self._changed:
            return {item.path for job in self._open for item in job.items if item.path}

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._open:
                    self._changed.wait()
                # Those that are watched before those whose page is gone.
                job = min(self._open, key=lambda job: not job.attended)
            try:
                if time.monotonic() - job.seen > ABANDONED:
                    job.end("stopped")
                if job.state in ("waiting", "running"):
                    job.advance()
            except Exception:
                traceback.print_exc()
                job.end("failed")
            if job.finished.is_set():
                job.close()
                with self._changed:
                    self._open.remove(job)

    def _before(self, job: FolderJob) -> int:
        """How many jobs are captioned before this one."""
        with self._changed:
            if job.state != "waiting" or job not in self._open:
                return 0
            older = self._open[: self._open.index(job)]
            return sum(other.attended for other in older)

    # What the page's script asks for.

    def start(self, question: Question, user: str | None) -> Started | Failure:
        """Begin to caption the uploads that the question names."""

        def begin() -> Started:
            uploads = uploads_of(question.get("files"))
            key = new_id()
            job = self.begin(uploads, question.get("settings"), user, key)
            return {"id": self.jobs.put(job, 40_000 * len(job.items), key)}

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
                "before": self._before(job),
                "restarted": job.before_restart,
            }

        return or_error(look)

    def stop(self, question: Question, user: str | None) -> Progress | Failure:
        """End a job; what is done stays."""

        def end() -> Progress | Failure:
            self._job(question, user).end("stopped")
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

    def item(self, question: Question, user: str | None) -> Item:
        """One photo of a job, to be captioned by itself: {"folder": id, "i": its number}. Raises
        CaptionerError."""
        job = self._job({"id": question.get("folder")}, user)
        return job.items[index(question, "i", len(job.items), "photo")]

    def _job(self, question: Question, user: str | None) -> FolderJob:
        try:
            job = self.jobs.get(question.get("id"))
        except CaptionerError:
            job = self._earlier(text(question, "id"))
        if job.user != user:
            raise CaptionerError("This folder is another person's.")
        return job

    def _earlier(self, key: str) -> FolderJob:
        """A job that is only written down. Raises CaptionerError when there is none."""
        kept = self.kept.get(key)
        if kept is None:
            raise CaptionerError("This folder is no longer held here; caption it again.")
        missing = [Item("", problem=GONE)] * (kept.total - len(kept.items))
        job = FolderJob(
            kept.items + missing, self.models.get(), Request(), kept.user, kept.records,
            [None] * len(kept.records), "done" if not missing else "stopped",
            before_restart=True, edits=kept.edits,
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
