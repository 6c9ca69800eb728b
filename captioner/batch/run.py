"""Files in, one `Done` for each out, in order: threads decode while the model works."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioner.captioner import DRAWN_SIDE, Caption, Captioner
from captioner.errors import PhotoError
from captioner.generation import Search
from captioner.images import Limits, Photo, load_photo, to_square
from captioner.machine import cores


@dataclass(frozen=True)
class Done:
    """What became of one file: its caption, or why there is none."""

    file: Path
    caption: Caption | None = None
    error: PhotoError | None = None


def caption_files(
    model: Captioner,
    files: Iterable[Path],
    search: Search,
    *,
    heatmaps: bool = False,
    batch_size: int = 16,
    limits: Limits | None = None,
    **options: Any,
) -> Iterator[Done]:
    """Caption files in batches, in the order given; a bad file gives its error and stops nothing.

    `options` are those of `Captioner.caption_photos`. PIL decodes outside Python's lock, so
    threads suffice; at most two batches of decoded photos are held at a time.
    """
    side = max(model.size, DRAWN_SIDE) if heatmaps else model.size

    def read(file: Path) -> tuple[Path, tuple[Photo, np.ndarray] | PhotoError]:
        try:
            photo = load_photo(file, min_side=side, limits=limits or Limits())
            pixels = to_square(photo, model.size)
            if not heatmaps:
                # Only its size is still wanted: let the picture itself go.
                photo = Photo(photo.image.resize((1, 1)), photo.width, photo.height, photo.name)
            return file, (photo, pixels)
        except PhotoError as error:
            return file, error

    with ThreadPoolExecutor(max_workers=max(1, cores())) as pool:
        batches = _chunks(files, batch_size)
        reading = [pool.submit(read, f) for f in next(batches, [])]
        while reading:
            ahead = [pool.submit(read, f) for f in next(batches, [])]
            read_files = [future.result() for future in reading]
            good = [loaded for _, loaded in read_files if not isinstance(loaded, PhotoError)]
            captions = iter(
                model.caption_pixels(
                    np.stack([pixels for _, pixels in good]),
                    [photo for photo, _ in good],
                    search,
                    heatmaps=heatmaps,
                    **options,
                )
                if good
                else []
            )
            for file, loaded in read_files:
                if isinstance(loaded, PhotoError):
                    yield Done(file, error=loaded)
                else:
                    yield Done(file, next(captions))
            reading = ahead


def _chunks(files: Iterable[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(files)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
