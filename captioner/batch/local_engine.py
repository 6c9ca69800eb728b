"""A job on this machine: decoding starts up while torch is imported and the model is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner import __version__, machine
from captioner.errors import CaptionerError

from .decode import Decoder
from .items import Item
from .job import Result, Task, result
from .pool import Pool

if TYPE_CHECKING:
    from captioner.captioner import Captioner
    from captioner.generation import Search

FETCHERS = 8
"""Processes where photos come from the web, which is mostly waiting."""


class LocalEngine:
    """The model of a task, and the processes that decode for it."""

    def __init__(self, task: Task, first: list[Item] | None = None, *, cores: int | None = None):
        """
        Args:
            first: the first batch, where it is known: a single photo needs a single process.
            cores: how many to use; None: all that this process may.

        Raises:
            CaptionerError: the model cannot be loaded, or a setting makes no sense.
        """
        self.task = task
        self.cores = cores or machine.cores()
        fetched = any(item.url for item in first or ())
        workers = max(self.cores, FETCHERS if fetched else 0)
        self.pool = Pool(min(workers, len(first)) if first else workers)
        try:
            from captioner.captioner import DRAWN_SIDE, load

            self.model = load(task.model, device=task.device, dtype=task.dtype)
            self.search = self.model.search(task.request)
        except BaseException:
            self.pool.close()
            raise
        self.settings = settings(task, self.model, self.search)
        self.decoder = Decoder(
            self.model.size,
            DRAWN_SIDE if task.sheets else None,
            seconds=task.seconds,
            skip=task.skip,
            square=self.model.model.square,
        )
        self.alone = not task.steady and first is not None and len(first) < task.batch_size

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def run(
        self, batches: Iterable[list[Item]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Result]]:
        """The results of batches, as they are done or in order."""
        from .run import caption_batches, lanes_for

        lanes = 1 if self.alone else lanes_for(self.model.device, self.cores)
        try:
            for batch in caption_batches(
                self.model, batches, self.task.request, self.decoder, self.pool,
                lanes=lanes, threads=None if self.alone else self.cores // lanes,
                ordered=self.task.ordered, stop=stop,
            ):  # fmt: skip
                yield [result(done, self.model, sheet=self.task.sheets) for done in batch]
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise CaptionerError(
                    f"{self.model.device} has not enough memory for {self.task.batch_size} photos "
                    "at once: give a smaller --batch-size. What has been written is safe."
                ) from error
            raise


def settings(task: Task, model: Captioner, search: Search) -> dict[str, Any]:
    """What captions depend on, for the journal."""
    from captioner.captioner import BUILTIN

    weights = Path(task.model or BUILTIN) / "model.safetensors"
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
        "prefix": task.request.prefix,
        "without": list(task.request.without),
    }
