"""Any number of photos, from anywhere, captioned as they come: `Captioner.stream`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator

from captioner.caption import Caption
from captioner.captioner import DRAWN_SIDE, Captioner
from captioner.errors import PhotoError
from captioner.machine import cores
from captioner.photos import Limits, PhotoSource, load_photo
from captioner.request import Request

from .decode import Decoder
from .items import Item, chunks
from .pool import Pool
from .run import FEW, answers, concurrency_for, decoded, worked
from .sources import is_url


def stream(
    model: Captioner,
    photos: Iterable[PhotoSource],
    request: Request,
    *,
    limits: Limits,
    batch_size: int,
) -> Iterator[Caption | PhotoError]:
    """The caption of each photo, in their order, or why it has none. Photos are decoded ahead of
    the model, in processes where there are many; a few batches are held, however many there are."""
    side = DRAWN_SIDE if request.heatmaps else None
    decoder = Decoder(model.size, side, limits, square=model.model.square)
    least = max(model.size, side or 0)
    items = (_item(number, photo, least, limits) for number, photo in enumerate(photos))
    first = list(itertools.islice(items, FEW + 1))
    batches = chunks(itertools.chain(first, items), batch_size)
    lanes = concurrency_for(model.device, cores()) if len(first) > batch_size else 1
    with Pool(min(cores(), len(first)), processes=len(first) > FEW) as pool:
        ready = decoded(batches, decoder, pool, True, lambda: False)
        threads = cores() // lanes if lanes > 1 else None
        for batch in worked(ready, lambda b: answers(model, b, request), lanes, threads):
            for answer in batch:
                assert isinstance(answer, Caption | PhotoError)  # none is left out
                yield answer


def _item(number: int, photo: PhotoSource, least: int, limits: Limits) -> Item:
    """A photo as a job has it: what is in memory already is made a `Photo` here."""
    if isinstance(photo, (str, os.PathLike)):
        name = os.fspath(photo)
        return Item(name, url=name.strip()) if is_url(name) else Item(name, path=name)
    if isinstance(photo, bytes):
        return Item(f"Photo {number}", data=photo)
    try:
        loaded = load_photo(photo, min_side=least, limits=limits)
    except PhotoError as error:
        return Item(f"Photo {number}", problem=f"Photo {number} cannot be used: {error}")
    return Item(f"Photo {number}", photo=loaded)
