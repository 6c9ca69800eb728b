"""A job on this machine: decoding starts up while torch is imported and the model is loaded."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from captioner import __version__, machine
from captioner.errors import CaptionerError

from .decode import Decoder
from .engine import EngineConfig, Outcome, Stop
from .items import Item
from .pool import Pool
from .writers import sheet_png

if TYPE_CHECKING:
    from captioner.captioner import Captioner
    from captioner.generation import Search

FETCHERS = 8
"""Processes where photos come from the web, which is mostly waiting."""


class LocalEngine:
    """A model, and the processes that decode for it."""

    def __init__(
        self, config: EngineConfig, first: list[Item] | None = None, *, cores: int | None = None
    ):
        """
        Args:
            first: the first batch, where it is known: a single photo needs a single process.
            cores: how many to use; None: as `config.threads` says.

        Raises:
            CaptionerError: the model cannot be loaded, or a setting makes no sense.
        """
        self.config = config
        self.cores = cores or min(config.threads or machine.cores(), machine.cores())
        fetched = any(item.url for item in first or ())
        workers = max(self.cores, FETCHERS if fetched else 0)
        self.pool = Pool(min(workers, len(first)) if first else workers)
        try:
            import torch

            from captioner.captioner import DRAWN_SIDE, load
            from captioner.heatmaps import no_maps

            if config.threads:
                torch.set_num_threads(self.cores)  # of this thread, and of those that begin later
            self.model = load(
                config.model, device=config.device, dtype=config.dtype,
                revision=config.revision, server=config.server, runtime=config.runtime,
            )  # fmt: skip
            self.search = self.model.search(config.request)
        except BaseException:
            self.pool.close()
            raise
        self.settings = settings(config, self.model, self.search)
        asked, there = bool(config.request.heatmaps), bool(self.model.model.maps)
        self.drawn = asked and there
        self.notes = [no_maps(self.model.model, self.model.name)] if asked and not there else []
        self.decoder = Decoder(
            self.model.size,
            DRAWN_SIDE if self.drawn else None,
            seconds=config.seconds,
            skip=config.skip,
            square=self.model.model.square,
        )
        self.alone = not config.steady and first is not None and len(first) < config.batch_size

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def run(
        self, batches: Iterable[list[Item]], stop: Stop = lambda: False
    ) -> Iterator[list[Outcome]]:
        """The outcomes of batches, as they are done or in order."""
        from .run import caption_batches, concurrency_for

        concurrency = 1 if self.alone else concurrency_for(self.model.device, self.cores)
        try:
            yield from caption_batches(
                self.model, batches, self.config.request, self.decoder, self.pool,
                concurrency=concurrency, threads=None if self.alone else self.cores // concurrency,
                ordered=self.config.ordered, stop=stop,
                draw=sheet_png if self.drawn else None,
                wording=self.config.wording,
            )  # fmt: skip
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise CaptionerError(
                    f"{self.model.device} has not enough memory for a single photo with these "
                    "settings. What has been written is safe."
                ) from error
            raise


def settings(config: EngineConfig, model: Captioner, search: Search) -> dict[str, object]:
    """What captions depend on, for the journal."""
    from captioner.captioner import BUILTIN
    from captioner.hub.base import HubModel

    files = [] if config.server else [Path(config.model or BUILTIN) / "model.safetensors"]
    if isinstance(model.model, HubModel):  # its weights may be in several files, or in a cache
        files = model.model.checkpoint.weights
    digest = hashlib.sha256()
    for file in files:
        with contextlib.suppress(OSError), file.open("rb") as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
    return {
        "captioner": __version__,
        "model": model.name,
        **({"server": model.model.about["server"]} if config.server else {}),
        "weights_sha256": digest.hexdigest() if any(f.is_file() for f in files) else "",
        **({"runtime": config.runtime} if config.runtime else {}),
        "dtype": str(model.dtype).removeprefix("torch."),
        **search.to_dict(),
        "prefix": config.request.prefix,
        "without": list(config.request.without),
        "prompt": config.request.prompt,
        "style": config.request.style,
        "explain": config.request.explain,
        **{n: list(v) if isinstance(v, tuple) else v for n, v in vars(config.wording).items()},
        "asked": config.asked,
    }
