"""Where the photos are that an annotation file names: the one place that looks for them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .names import base_name, composed, parts_of
from .record import AnnotatedImage


def located(images: Sequence[AnnotatedImage], folders: Sequence[Path]) -> Iterator[AnnotatedImage]:
    """The images with their places, in their order. One that is not found has the place where it
    should be, and there is no file there."""
    finder = PhotoFinder(folders)
    times = Counter(base_name(image.name) for image in images)
    for image in images:
        if image.place is None:
            # 1.jpg of one folder must not stand for 1.jpg of another.
            bare = times[base_name(image.name)] == 1
            place = finder.find(image.name, bare=bare) or finder.expected(image.name)
            image = replace(image, place=place)
        yield image


class PhotoFinder:
    """Finds photos by name in folders and one folder below them, and never outside.

    Karpathy's files, for one, name COCO's photos with the folder val2014 or without it. The same
    name may be written with backslashes, or its accents composed or not (NFC, NFD).
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = list(folders)
        self._below = [f for root in self.folders for f in (root, *_subfolders(root))]
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, name: str, *, bare: bool = True) -> Path | None:
        """The photo's file, or None. bare: look for the name also without its folder."""
        tails = []
        for written in dict.fromkeys((name, name.replace("\\", "/"))):
            if parts := parts_of(written):
                tails += [parts, parts[-1:]] if bare else [parts]
        for tail in tails:
            for folder in self._below:
                if _is_file(path := folder.joinpath(*tail)):
                    return path
        if not name.isascii():
            for tail in tails:
                for folder in self._below:
                    if (found := self._spelled(folder, tail)) and _is_file(found):
                        return found
        return None

    def expected(self, name: str) -> Path:
        """Where a photo that was not found should be."""
        return self.folders[0].joinpath(*(parts_of(name) or ["unnamed"]))

    def _spelled(self, folder: Path, parts: Sequence[str]) -> Path | None:
        """A path below a folder whose parts may be composed otherwise there."""
        for part in parts:
            if folder not in self._names:
                with contextlib.suppress(OSError):
                    self._names[folder] = {composed(p.name): p.name for p in folder.iterdir()}
            there = self._names.get(folder, {}).get(composed(part))
            if there is None:
                return None
            folder = folder / there
        return folder


def _subfolders(root: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, no permission
        return False
