"""One image of an annotation file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.texts import kind_of


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file lies in an uncompressed tar: its bytes are `size` from `offset` on."""

    tar: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image and what people wrote about it.

    image_id: a number or a text, as in the file; where the file has none, the name.
    name: of its file, as the annotations have it, with its folder; "" where they name none.
    captions: as they stand in the file; they may be empty.
    split: the one of Karpathy's, or that of a JSON line; "" where there are no splits.
    flaws: for each caption that is no text, what it is, as a sentence without its full stop.
    place: the photo, once it has been looked for (`located`); a member of a tar always has it.
    """

    image_id: int | str
    name: str = ""
    captions: tuple[str, ...] = ()
    split: str = ""
    flaws: tuple[str, ...] = ()
    place: Path | Member | None = None

    @property
    def file(self) -> Path:
        """The photo's file; for a member of a tar a name only."""
        return self.place if isinstance(self.place, Path) else Path(self.name)

    @property
    def member(self) -> Member | None:
        """Where the photo lies in a tar, if it does."""
        return self.place if isinstance(self.place, Member) else None

    @property
    def photo(self) -> Path | bytes:
        """What `captioner.photos.load_photo` takes."""
        return self.file if self.member is None else self.member.read()


def captions_in(content: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
    """The captions of an object with "captions" (a list) or "caption" (one), and their flaws.

    where: what the object is, for the flaws.
    """
    texts: list[str] = []
    flaws: list[str] = []
    for key in ("captions", "caption"):
        value = content.get(key)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for one in values:
            sort_caption(one, f'the "{key}" of {where}', texts, flaws)
        if texts:
            break
    return texts, flaws


def sort_caption(value: object, what: str, texts: list[str], flaws: list[str]) -> None:
    """Put what stands in the place of a caption with the texts, or what is wrong with it with the
    flaws."""
    if isinstance(value, str):
        texts.append(value)
    else:
        flaws.append(f"{what} must be text, not {kind_of(value)}")
