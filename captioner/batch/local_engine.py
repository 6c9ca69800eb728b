"""A job on this machine: decoding starts up while torch is imported and the model is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner import __version__
from captioner.errors import CaptionerError
from captioner.machine import cores

from .decode import Decoder
from .job import Job, Result, result
from .pool import Pool
from .sources import Item

if TYPE_CHECKING:
    from captioner.captioner import Captioner
    from captioner.generation import Search

FETCHERS = 8
"""Processes where photos come from the web, which is mostly waiting."""


class Engine:
    """The model of a job, and the processes that decode for it."""

    def __init__(self, job: Job, first: list[Item]):
        """`first` is the first batch: a single photo needs a single process."""
        self.job = job
        fetched = any(item.url for item in first)
        self.pool = Pool(min(max(cores(), FETCHERS if fetched else 0), len(first)))
        try:
            self.model, self.search = load_model(job)
        except BaseException:
            self.pool.close()
            raise
        self.settings = settings(job, self.model, self.search)
        self.few = len(first) < job.batch_size and job.outputs.journal is None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def run(
        self, batches: Iterable[list[Item]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Result]]:
        """The results of batches, as they are done or in order."""
        from .run import caption_batches, lanes_for

        job, sheets = self.job, self.job.outputs.sheets is not None
        batch: Any
        try:
            for batch in caption_batches(
                self.model, batches, self.search, decoder(job, self.model), self.pool,
                # The same number at every run of a job: it can change the last digits.
                lanes=1 if self.few else lanes_for(self.model.device),
                ordered=job.ordered, stop=stop, **job.options,
            ):  # fmt: skip
                yield [result(done, self.model, sheet=sheets) for done in batch]
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise CaptionerError(
                    f"{self.model.device} has not enough memory for {job.batch_size} photos at "
                    "once: give a smaller --batch-size. What has been written is safe."
                ) from error
            raise


def load_model(job: Job) -> tuple[Captioner, Search]:
    """Raises CaptionerError: the model cannot be loaded or a setting makes no sense."""
    from captioner.captioner import load

    model = load(job.model, device=job.device, dtype=job.dtype)
    return model, model.search(**job.search)


def decoder(job: Job, model: Captioner) -> Decoder:
    from captioner.captioner import DRAWN_SIDE

    drawn = DRAWN_SIDE if job.outputs.sheets else None
    return Decoder(model.size, drawn, seconds=job.seconds, skip=job.skip)


def settings(job: Job, model: Captioner, search: Search) -> dict[str, Any]:
    """What captions depend on, for the journal."""
    from captioner.captioner import BUILTIN

    weights = Path(job.model or BUILTIN) / "model.safetensors"
    digest = ""
    if weights.is_file():
        with weights.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "captioner": __version__,
        "model": model.name,
        "weights_sha256": digest,
        "dtype": str(model.dtype).removeprefix("torch."),
        **search.to_dict(),
        "prefix": job.options.get("prefix", ""),
        "without": list(job.options.get("without", ())),
    }
