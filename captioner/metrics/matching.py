"""Which caption belongs to which image: by its id, by the name of its file, by the number in that.

Nothing is guessed where two images are possible, and every gap is said in a sentence (DataError).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from captioner.errors import DataError
from captioner.metrics.readers import References, Result, have, some


@dataclass(frozen=True)
class Matched:
    """Captions beside the references of their images.

    images: positions in the References. captions, files: of each of them. left_out: sentences
    about what was not scored, for --allow-missing.
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
    results: Sequence[Result],
    references: References,
    path: str | Path,
    *,
    allow_missing: bool = False,
) -> Matched:
    """Puts every caption beside its image, in the order of the references.

    A result is matched by its image_id; without one by its file's name, and where the references
    have other names for the files, by the number in the name, as COCO's differ from 2014 to 2017.

    Args:
        results: what `read_results` gave.
        references: what `read_references` gave.
        path: the results' file, for the sentences.
        allow_missing: whether to score what is there when images have no caption or an empty one,
            or captions have no image, and to say how many were left out.

    Raises:
        DataError: for a caption given twice, and without `allow_missing` for every gap.
    """
    found: dict[int, Result] = {}
    extra: list[str] = []
    by_id = {image_id: place for place, image_id in enumerate(references.ids)}
    by_name: _FileNames | None = None
    for result in results:
        if result.image_id is not None:
            name = result.image_id
            place = by_id.get(name)
        else:
            name = result.file
            by_name = by_name or _FileNames(references)
            place = by_name.find(name)
        if place is None:
            extra.append(name)
        elif place in found:
            other = found[place]
            same = " (the same caption)" if other.caption == result.caption else ""
            raise DataError(
                f"{path} has more than one caption for image {references.ids[place]}{same}; "
                "leave one for each image."
            )
        else:
            found[place] = result
    if len(extra) == len(results):
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
            f"{'; '.join(left_out)}. Mend the files, or add --allow-missing to score the rest."
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


class _FileNames:
    """Finds an image by the name of its file."""

    def __init__(self, references: References) -> None:
        self.references = references
        names = [_base(file) for file in references.files]
        numbers = [
            file_number(file) if file else image_id.lstrip("0")
            for file, image_id in zip(references.files, references.ids, strict=True)
        ]
        self.by_base = {name: place for place, name in enumerate(names) if name}
        self.by_number = {number: place for place, number in enumerate(numbers) if number}
        self.shared = {name for name, times in Counter(names).items() if times > 1}
        self.shared_numbers = {number for number, times in Counter(numbers).items() if times > 1}

    def find(self, file: str) -> int | None:
        """The position of the image, or None.

        Raises:
            DataError: when several images have the name.
        """
        base = _base(file)
        if base in self.shared:
            whole = file.replace("\\", "/")
            ends = [
                place
                for place, other in enumerate(self.references.files)
                if _base(other) == base and (whole.endswith(other) or other.endswith(whole))
            ]
            if len(ends) != 1:
                raise DataError(
                    f"{self.references.path} has several images with the file name {base}, so "
                    f"{file} could be any of them; give the image_id in the results."
                )
            return ends[0]
        if base in self.by_base:
            return self.by_base[base]
        number = file_number(file)
        if not number or number in self.shared_numbers:
            return None
        return self.by_number.get(number)


def _base(file: str) -> str:
    return PurePosixPath(file.replace("\\", "/")).name


def file_number(file: str) -> str:
    """The last number in a file's name, without leading zeros; "" when there is none."""
    numbers = re.findall(r"\d+", PurePosixPath(_base(file)).stem)
    return numbers[-1].lstrip("0") if numbers else ""


def _example(references: References) -> str:
    file = references.files[0]
    return f"the image_id {references.ids[0]}" + (f" and the file {file!r}" if file else "")
