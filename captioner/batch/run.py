"""Items in, an `Outcome` for each out: processes decode while the model works.

Photos go through the model in batches that depend only on the order of the input, never on which
photo happened to be decoded first: floating-point sums differ in their last digits between batches,
and a run that was interrupted is to end with the very bytes of one that was not.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from captioner.caption import Caption
from captioner.captioner import DRAWN_SIDE, Captioner
from captioner.errors import PhotoError
from captioner.machine import cores
from captioner.photos import Limits
from captioner.request import Request

from .decode import Decoded, Decoder, LeftOut
from .engine import Outcome, Stop
from .items import Item, chunks
from .pool import Pool
from .records import record
from .wording import Wording

T = TypeVar("T")

FEW = 32
"""Up to so many photos are decoded by threads: processes would not be worth their start."""

AS_IT_IS = Wording()

Draw = Callable[[Caption], bytes]
"""Draws something of a caption, as a file's bytes."""


@dataclass
class Batch:
    """Items that go through the model together, with what the decoder gave for each so far."""

    items: Sequence[Item]
    decoded: list[Decoded | LeftOut | PhotoError | None]
    missing: int


def caption_items(
    model: Captioner,
    items: Iterable[Item],
    request: Request,
    *,
    batch_size: int = 16,
    limits: Limits | None = None,
    seconds: float = 10.0,
    draw: Draw | None = None,
) -> Iterator[Outcome]:
    """Caption items, in their order; a bad one gives its error and stops nothing.

    Args:
        batch_size: photos that go through the model together.
        limits: of each photo's size. seconds: for decoding one photo, after which it is given up.
        draw: draws the `picture` of each outcome; on the photo itself with `request.heatmaps`.
    """
    with few_or_many(model, items, request, batch_size, limits or Limits(), seconds) as (_, ready):
        for batch in worked(ready, lambda b: _caption(model, b, request, draw, AS_IT_IS), 1, None):
            yield from batch


@contextmanager
def few_or_many(
    model: Captioner,
    items: Iterable[Item],
    request: Request,
    batch_size: int,
    limits: Limits,
    seconds: float = 10.0,
) -> Iterator[tuple[int, Iterator[Batch]]]:
    """How many items there are, up to FEW + 1, and batches of them in order, decoded ahead of the
    model: in processes where there are more than FEW."""
    iterator = iter(items)
    first = list(itertools.islice(iterator, FEW + 1))
    batches = chunks(itertools.chain(first, iterator), batch_size)
    side = DRAWN_SIDE if request.heatmaps else None
    decoder = Decoder(model.size, side, limits, seconds, square=model.model.square)
    with Pool(min(cores(), len(first)), processes=len(first) > FEW) as pool:
        yield len(first), decoded(batches, decoder, pool, True, lambda: False)


def caption_batches(
    model: Captioner,
    batches: Iterable[Sequence[Item]],
    request: Request,
    decoder: Decoder,
    pool: Pool,
    *,
    concurrency: int = 1,
    threads: int | None = None,
    ordered: bool = False,
    stop: Stop = lambda: False,
    draw: Draw | None = None,
    wording: Wording = AS_IT_IS,
) -> Iterator[list[Outcome]]:
    """Caption batches of items, each as one batch of the model. Memory is bounded: a few batches
    are held, however many there are. Once `stop()` is true, the batches that the model has are
    finished and no others begun.

    concurrency: batches in the model at a time, each in a thread of ours that uses `threads` cores
    (None: as torch has it).
    """
    yield from worked(
        decoded(batches, decoder, pool, ordered, stop),
        lambda batch: _caption(model, batch, request, draw, wording),
        concurrency,
        threads,
    )


def worked(
    batches: Iterable[Batch], work: Callable[[Batch], T], concurrency: int, threads: int | None
) -> Iterator[T]:
    """What `work` makes of batches, in their order, so many at a time."""
    running: deque[Future[T]] = deque()
    begin = functools.partial(torch.set_num_threads, threads) if threads else None
    with ThreadPoolExecutor(concurrency, initializer=begin) as executor:
        for batch in batches:
            running.append(executor.submit(work, batch))
            while len(running) > concurrency or (running and running[0].done()):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def concurrency_for(device: torch.device, cores: int) -> int:
    """How many batches to have in the model at a time. On a CPU, batches side by side use the cores
    better than all cores on one batch, above all while photos are decoded beside them."""
    return min(cores, 4) if device.type == "cpu" else 1


def decoded(
    batches: Iterable[Sequence[Item]], decoder: Decoder, pool: Pool, ordered: bool, stop: Stop
) -> Iterator[Batch]:
    """Batches whose items are all decoded: as they are, or in order."""
    source = iter(batches)
    first = next(source, [])
    begun: dict[int, Batch] = {}
    places: dict[int, tuple[int, int]] = {}  # an item's place in the stream -> (batch, place in it)
    given = itertools.count()

    def items() -> Iterator[Item]:
        for number, batch in enumerate(itertools.chain([first], source)):
            begun[number] = Batch(batch, [None] * len(batch), len(batch))
            for index, item in enumerate(batch):
                places[next(given)] = number, index
                yield item

    ahead = 2 * len(first) + 2 * len(pool)
    for place, answer in pool.map(decoder, items(), window=ahead, limit=decoder.limit, stop=stop):
        number, index = places.pop(place)
        batch = begun[number]
        batch.decoded[index] = answer
        batch.missing -= 1
        if not ordered and not batch.missing:
            yield begun.pop(number)
        while ordered and begun and not begun[oldest := next(iter(begun))].missing:
            yield begun.pop(oldest)


def _caption(
    model: Captioner, batch: Batch, request: Request, draw: Draw | None, wording: Wording
) -> list[Outcome]:
    outcomes = []
    for item, answer in zip(batch.items, answers(model, batch, request), strict=True):
        if isinstance(answer, Caption):
            caption = wording.of(answer)
            picture = draw(caption) if draw else None
            outcomes.append(Outcome(item, record(item, caption, model), picture=picture))
        elif isinstance(answer, LeftOut):
            outcomes.append(Outcome(item, left_out=answer.place))
        else:
            outcomes.append(Outcome(item, error=str(answer)))
    return outcomes


def answers(
    model: Captioner, batch: Batch, request: Request
) -> list[Caption | LeftOut | PhotoError | None]:
    """The caption of each photo of a batch, or what came of its decoding."""
    good = [one for one in batch.decoded if isinstance(one, Decoded)]
    captions = iter(_captions(model, good, request))
    return [next(captions) if isinstance(one, Decoded) else one for one in batch.decoded]


def _captions(
    model: Captioner, photos: Sequence[Decoded], request: Request
) -> list[Caption | PhotoError]:
    """The captions of a batch, or why a photo has none. A batch that does not fit into memory, or
    in which a photo is refused, is halved."""
    if not photos:
        return []
    if len(photos) > model.fits:
        parts = [photos[at : at + model.fits] for at in range(0, len(photos), model.fits)]
        return [one for part in parts for one in _captions(model, part, request)]
    squares = [one.pixels for one in photos if one.pixels is not None]
    pixels = np.stack(squares) if squares else None
    try:
        return [*model.caption_pixels(pixels, [one.photo for one in photos], request)]
    except PhotoError as error:
        if len(photos) == 1:
            return [error]
    except (RuntimeError, MemoryError) as error:
        if len(photos) == 1 or not _out_of_memory(error):
            raise
        model.fits = max(1, len(photos) // 2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (len(photos) + 1) // 2
    halves = (photos[:middle], photos[middle:])
    return [one for half in halves for one in _captions(model, half, request)]


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        sign in str(error) for sign in ("out of memory", "can't allocate memory")
    )
