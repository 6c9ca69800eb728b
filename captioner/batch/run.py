"""Items in, one `Done` for each out: processes decode while the model works.

Photos go through the model in batches that depend only on the order of the input, never on which
photo happened to be decoded first: floating-point sums differ in their last digits between batches,
and a run that was interrupted is to end with the very bytes of one that was not.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from captioner.captioner import DRAWN_SIDE, Caption, Captioner
from captioner.errors import PhotoError
from captioner.machine import cores
from captioner.photos import Limits, Photo
from captioner.request import Request

from .decode import Decoder
from .items import Item, chunks
from .pool import Pool

FEW = 32
"""Up to so many photos are decoded by threads: processes would not be worth their start."""


@dataclass(frozen=True)
class Done:
    """What became of one item: its caption, or why there is none. Neither, when it was left out
    because it has a caption already."""

    item: Item
    caption: Caption | None = None
    error: PhotoError | None = None


def caption_items(
    model: Captioner,
    items: Iterable[Item],
    request: Request,
    *,
    batch_size: int = 16,
    limits: Limits | None = None,
    seconds: float = 10.0,
    pool: Pool | None = None,
    ordered: bool = False,
) -> Iterator[Done]:
    """Caption items; a bad one gives its error and stops nothing.

    Args:
        batch_size: photos that go through the model together.
        limits: of each photo's size. seconds: for decoding one photo, after which it is given up.
        pool: decodes the photos; None: one of its own, of threads for few items.
        ordered: give the results in the order of the items, else batch by batch as they are done.
    """
    iterator = iter(items)
    first = list(itertools.islice(iterator, FEW + 1))
    batches = chunks(itertools.chain(first, iterator), batch_size)
    own = pool is None
    pool = pool or Pool(min(cores(), len(first)), processes=len(first) > FEW)
    decoder = Decoder(
        model.size, DRAWN_SIDE if request.heatmaps else None, limits or Limits(), seconds,
        square=model.model.square,
    )  # fmt: skip
    try:
        for batch in caption_batches(model, batches, request, decoder, pool, ordered=ordered):
            yield from batch
    finally:
        if own:
            pool.close()


def caption_batches(
    model: Captioner,
    batches: Iterable[Sequence[Item]],
    request: Request,
    decoder: Decoder,
    pool: Pool,
    *,
    lanes: int = 1,
    threads: int | None = None,
    ordered: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Done]]:
    """Caption batches of items, each as one batch of the model. Memory is bounded: a few batches
    are held, however many there are. Once `stop()` is true, the batches that the model has are
    finished and no others begun.

    lanes: batches in the model at a time, each in a thread of ours that uses `threads` cores (None:
    as torch has it).
    """
    running: deque[Future[list[Done]]] = deque()
    begin = functools.partial(torch.set_num_threads, threads) if threads else None
    with ThreadPoolExecutor(lanes, initializer=begin) as executor:
        for batch in _decoded(batches, decoder, pool, ordered, stop):
            running.append(executor.submit(_caption, model, batch, request))
            while len(running) > lanes or (running and running[0].done()):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def lanes_for(device: torch.device, cores: int) -> int:
    """How many batches to have in the model at a time. On a CPU, batches side by side use the cores
    better than all cores on one batch, above all while photos are decoded beside them."""
    return min(cores, 4) if device.type == "cpu" else 1


def _decoded(
    batches: Iterable[Sequence[Item]],
    decoder: Decoder,
    pool: Pool,
    ordered: bool,
    stop: Callable[[], bool],
) -> Iterator["_Batch"]:
    """Batches whose items are all decoded: as they are, or in order."""
    source = iter(batches)
    first = next(source, [])
    begun: dict[int, _Batch] = {}
    places: dict[int, tuple[int, int]] = {}  # an item's place in the stream -> (batch, place in it)

    def items() -> Iterator[Item]:
        for number, batch in enumerate(itertools.chain([first], source)):
            begun[number] = _Batch(batch, [None] * len(batch), len(batch))
            for index, item in enumerate(batch):
                places[next(given)] = number, index
                yield item

    given = itertools.count()
    ahead = 2 * len(first) + 2 * len(pool)
    for place, outcome in pool.map(decoder, items(), window=ahead, limit=decoder.limit, stop=stop):
        number, index = places.pop(place)
        batch = begun[number]
        batch.outcomes[index] = outcome
        batch.missing -= 1
        if not ordered and not batch.missing:
            yield begun.pop(number)
        while ordered and begun and not begun[oldest := next(iter(begun))].missing:
            yield begun.pop(oldest)


@dataclass
class _Batch:
    """Items that go through the model together; outcomes are those of `Decoder`, or errors."""

    items: Sequence[Item]
    outcomes: list[Any]
    missing: int


def _caption(model: Captioner, batch: _Batch, request: Request) -> list[Done]:
    good = [outcome for outcome in batch.outcomes if isinstance(outcome, tuple)]
    captions: Iterator[Caption] = iter(())
    if good:
        pixels = np.stack([pixels for pixels, _ in good]) if model.model.square else None
        photos: list[Photo] = [photo for _, photo in good]
        captions = iter(model.caption_pixels(pixels, photos, request))
    done = []
    for item, outcome in zip(batch.items, batch.outcomes, strict=True):
        caption = next(captions) if isinstance(outcome, tuple) else None
        error = outcome if isinstance(outcome, PhotoError) else None
        done.append(Done(item, caption, error))
    return done
