"""Which caption belongs to which image: by its id, by the name of its file, by the number in that.

Nothing is guessed where two images are possible, and every gap is said in a sentence (DataError).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from captioner.annotations.names import base_name, composed, file_number, plain_number
from captioner.errors import DataError
from captioner.metrics.readers import Candidate, References, have, some
from captioner.texts import from_cell


@dataclass(frozen=True)
class Matched:
    """Captions beside the references of their images.

    images: positions in the References. captions, files: of each of them. left_out: sentences
    about what was not scored, for `allow_missing`.
    """

    images: list[int]
    captions: list[str]
    files: list[str]
    left_out: list[str] = field(default_factory=list)

    def on(self, images: Sequence[int]) -> Matched:
        """Only some of the images, in the order given."""
        at = {image: place for place, image in enumerate(self.images)}
        places = [at[image] for image in images]
        return Matched(
            images=list(images),
            captions=[self.captions[place] for place in places],
            files=[self.files[place] for place in places],
            left_out=self.left_out,
        )


def match(
    candidates: Sequence[Candidate],
    references: References,
    path: str | Path,
    *,
    allow_missing: bool = False,
) -> Matched:
    """Puts every caption beside its image, in the order of the references.

    A candidate is matched by its image_id; without one by its file's name, and where the references
    have other names for the files, by the number in the name, as COCO's differ from 2014 to 2017.

    Args:
        candidates: what `read_results` gave.
        references: what `read_references` gave.
        path: the results' file, for the sentences.
        allow_missing: whether to score what is there when images have no caption or an empty one,
            or captions have no image, and to say how many were left out.

    Raises:
        DataError: for a caption given twice, and without `allow_missing` for every gap.
    """
    found: dict[int, Candidate] = {}
    extra: list[str] = []
    images = _Images(references)
    for candidate in candidates:
        place = images.find(candidate)
        if place is None:
            extra.append(candidate.image_id or candidate.file)
        elif place in found:
            same = " (the same caption)" if found[place].caption == candidate.caption else ""
            raise DataError(
                f"{path} has more than one caption for image {references.ids[place]}{same}; "
                "leave one for each image."
            )
        else:
            found[place] = candidate
    if len(extra) == len(candidates):
        raise DataError(
            f"No caption of {path} belongs to an image of {references.path}: it has {extra[0]!r}, "
            f"the references have {_example(references)}. Give each result the image_id, or the "
            "file name, that the references have."
        )
    missing = [image_id for p, image_id in enumerate(references.ids) if p not in found]
    empty = [references.ids[p] for p in sorted(found) if not found[p].caption.strip()]
    left_out = []
    if extra:
        left_out.append(
            f"{some('caption', extra)} in {path} {have(extra)} no references in {references.path}"
        )
    if missing:
        left_out.append(
            f"{some('image', missing)} of {references.path} {have(missing)} no caption in {path}"
        )
    if empty:
        left_out.append(f"{some('image', empty)} {have(empty)} an empty caption in {path}")
    if left_out and not allow_missing:
        raise DataError(
            f"{'; '.join(left_out)}. Mend the files, or add `allow_missing` to score the rest."
        )
    places = [p for p in sorted(found) if found[p].caption.strip()]
    if not places:
        raise DataError(f"All captions in {path} are empty; there is nothing to score.")
    return Matched(
        images=places,
        captions=[found[p].caption for p in places],
        files=[found[p].file or references.files[p] for p in places],
        left_out=[f"{sentence}: left out." for sentence in left_out],
    )


class _Images:
    """Finds the image that a candidate is of."""

    def __init__(self, references: References) -> None:
        self.references = references
        self.by_id = {image_id: place for place, image_id in enumerate(references.ids)}
        self.by_plain_id = _alone(map(plain_number, references.ids))

    def find(self, candidate: Candidate) -> int | None:
        """The position of the image, or None. Ids and names are also taken as a spreadsheet has
        them: 7.0 for 7, and what an apostrophe keeps from being a formula.

        Raises:
            DataError: when several images have the name.
        """
        if candidate.image_id is None:
            found = self._of_file(candidate.file)
            return self._of_file(from_cell(candidate.file)) if found is None else found
        given = candidate.image_id
        for written in (given, from_cell(given), plain_number(given)):
            if written in self.by_id:
                return self.by_id[written]
        return self.by_plain_id.get(plain_number(given))

    @cached_property
    def _by_base(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, file in enumerate(self.references.files):
            places.setdefault(base_name(file), []).append(place)
        return places

    @cached_property
    def _by_number(self) -> dict[str, int]:
        return _alone(
            file_number(file) if file else image_id.lstrip("0")
            for file, image_id in zip(self.references.files, self.references.ids, strict=True)
        )

    def _of_file(self, file: str) -> int | None:
        base = base_name(file)
        places = self._by_base.get(base, []) if base else []
        if len(places) > 1:
            whole = composed(file.replace("\\", "/"))
            names = [composed(self.references.files[place]) for place in places]
            ends = [
                place
                for place, name in zip(places, names, strict=True)
                if whole.endswith(name) or name.endswith(whole)
            ]
            if len(ends) != 1:
                raise DataError(
                    f"{self.references.path} has several images with the file name {base}, so "
                    f"{file} could be any of them; give the image_id in the results."
                )
            return ends[0]
        return places[0] if places else self._by_number.get(file_number(file))


def _alone(names: Iterable[str]) -> dict[str, int]:
    """The places of the names that are there once; empty ones are no names."""
    listed = list(names)
    times = Counter(listed)
    return {name: place for place, name in enumerate(listed) if name and times[name] == 1}


def _example(references: References) -> str:
    file = references.files[0]
    return f"the image_id {references.ids[0]}" + (f" and the file {file!r}" if file else "")
