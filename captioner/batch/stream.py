"""Any number of photos, from anywhere, captioned as they come: `Captioner.stream`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from captioner.caption import Caption
from captioner.captioner import DRAWN_SIDE, Captioner
from captioner.errors import PhotoError
from captioner.machine import cores
from captioner.photos import Limits, PhotoSource, load_photo
from captioner.request import Request

from .items import Item, addressed
from .run import answers, concurrency_for, few_or_many, worked


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
    least = max(model.size, DRAWN_SIDE if request.heatmaps else 0)
    items = (_item(number, photo, least, limits) for number, photo in enumerate(photos))
    with few_or_many(model, items, request, batch_size, limits) as (number, ready):
        lanes = concurrency_for(model.device, cores()) if number > batch_size else 1
        threads = cores() // lanes if lanes > 1 else None
        for batch in worked(ready, lambda b: answers(model, b, request), lanes, threads):
            for answer in batch:
                assert isinstance(answer, Caption | PhotoError)  # none is left out
                yield answer


def _item(number: int, photo: PhotoSource, least: int, limits: Limits) -> Item:
    """A photo as a job has it: what is in memory already is made a `Photo` here."""
    if isinstance(photo, (str, os.PathLike)):
        name = os.fspath(photo)
        return addressed(name) or Item(name, path=name)
    if isinstance(photo, bytes):
        return Item(f"Photo {number}", data=photo)
    try:
        loaded = load_photo(photo, min_side=least, limits=limits)
    except PhotoError as error:
        return Item(f"Photo {number}", problem=f"Photo {number} cannot be used: {error}")
    return Item(f"Photo {number}", photo=loaded)
