"""Which text file a photo has, and what two photos do that would share one.

`x.txt` is that of `x.jpg`. Where the photo's folder also holds `x.png`, each keeps its suffix:
`x.jpg.txt` and `x.png.txt`. That follows from the folder alone, so that it is the same whichever
photos are named, in whatever order, and whatever was done before.

Below a folder of text files, photos of several folders, archives or addresses may meet at one
place. There the first of the input has the name, one with another suffix keeps it, and the others
are numbered: `x.txt`, `x.png.txt`, `x-2.txt`.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from captioner.files import fitted
from captioner.photos import PHOTO_SUFFIXES

from .items import Item, inside


def stem_of(name: str) -> str:
    """A photo's name without its suffix: `IMG.0001` and `image.php?id=1` have none."""
    path = PurePosixPath(name)
    # A photo that is called photo.txt is not to have the text file photo.txt.txt.
    known = path.suffix.lower() in PHOTO_SUFFIXES or path.suffix.lower() == ".txt"
    return name.removesuffix(path.suffix) if known else name


def sidecar(item: Item, folder: Path | None, extension: str = ".txt") -> Path | None:
    """The text file of a photo: at its place under the folder, or beside the photo; None when it
    has no place (beside what is in an archive or on the web)."""
    if folder is None:
        if item.file is None:
            return None
        return item.file.with_name(fitted(item.stem or stem_of(item.file.name), extension))
    *above, name = (item.stem or stem_of(_place(item))).split("/")
    return folder.joinpath(*(fitted(part, "") for part in above), fitted(name, extension))


def with_stems(items: Iterable[Item], folder: Path | None) -> Iterator[Item]:
    """The items with the names of their text files decided, below the folder or beside them.

    It looks into each folder that photos are in, once.
    """
    shared: dict[str, frozenset[str]] = {}
    names = Names()
    for item in items:
        whole = _place(item) if folder is not None or item.file is None else item.file.name
        stem = stem_of(whole)
        if item.file is not None:
            around = os.path.dirname(item.file) or "."  # noqa: PTH120 (once per photo)
            if around not in shared:
                shared[around] = _shared(around)
            if stem_of(item.file.name).lower() in shared[around]:
                stem = whole
        if folder is not None and not item.problem:
            stem = names.one(stem, whole)
        yield replace(item, stem=stem)


class Names:
    """Gives names that no two have, whether or not the file system tells capitals apart."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def one(self, name: str, other: str = "") -> str:
        """The name; the other one, where the name is taken; else the name with a number."""
        for free in (name, other):
            if free and free.lower() not in self._next:
                for taken in {name.lower(), other.lower()}:
                    self._next.setdefault(taken, 2)
                return free
        number = self._next[name.lower()]
        while (numbered := f"{name}-{number}").lower() in self._next:
            number += 1
        self._next[name.lower()] = number + 1
        self._next[numbered.lower()] = 2
        return numbered


def _place(item: Item) -> str:
    return inside(item.place or PurePosixPath(item.name).name)


def _shared(folder: str) -> frozenset[str]:
    """The names in a folder, in lower case and without suffix, that more than one photo could have
    for its text file."""
    claims: Counter[str] = Counter()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name.lower()
            if name.startswith(".") or entry.is_dir(follow_symlinks=False):
                continue
            photo = PurePosixPath(name).suffix in PHOTO_SUFFIXES
            claims.update({name, stem_of(name)} if photo else {name})
    return frozenset(name for name, number in claims.items() if number > 1)
