"""Annotation files read: COCO's captions, Karpathy's dataset_*.json, JSON lines, tar shards.

One rule for captions: a caption is text. What stands in the place of one and is no text (null, NaN,
a number, a list) is kept as a flaw of its image: scoring refuses it, `python -m train prepare`
lists it, and training leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captioner.errors import DataError
from captioner.texts import JSON_LINES, has_json_lines, json_lines, kind_of, parse_json, read_text

from .record import AnnotatedImage, captions_in, sort_caption

SPLITS = ("train", "restval", "val", "test")
"""Karpathy's splits. restval is what he took of COCO's validation photos for training; his file and
we keep it apart from train."""


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds.

    images: in the order of the file. captioned: those with captions or flaws, in the order in which
    the file's captions first name them. format: "coco", "karpathy", "lines" or "shards".
    """

    path: Path
    images: list[AnnotatedImage]
    captioned: list[AnnotatedImage]
    format: str


def read_annotations(
    path: str | Path,
    split: str | None = None,
    *,
    default: str | None = None,
    captions: bool = True,
) -> Annotations:
    """Reads an annotation file, or a folder of tar shards.

    Args:
        split: the images to take: names of splits, several joined by commas.
        default: the same, of a file that has splits, where none is asked for; None for all.
        captions: whether to read the captions. Without, COCO's files of objects and of mere images
            serve as well.

    Raises:
        DataError: for a file that cannot be read or is none of these, and a split it has not.
    """
    path = Path(path)
    if path.suffix.lower() == ".tar" or (path.is_dir() and next(path.glob("*.tar"), None)):
        from .shards import read_shards

        _wanted(path, set(), split, default)
        images = read_shards(path)
        return Annotations(path, images, [i for i in images if i.captions or i.flaws], "shards")
    text = read_text(path)
    if path.suffix.lower() in JSON_LINES or has_json_lines(text):
        return _lines(path, json_lines(path, text), split, default)
    entries, annotations = _content(path, parse_json(path, text))
    if annotations is None and any("sentences" in entry for entry in entries):
        return _karpathy(path, entries, split, default, captions)
    _wanted(path, set(), split, default)
    return _coco(path, entries, annotations, captions)


# JSON ---------------------------------------------------------------------------------------------


def _content(path: Path, content: Any) -> tuple[list[dict[str, Any]], Any]:
    """ "images" and "annotations" (None where there are none) of a JSON file."""
    if isinstance(content, list) and content and "caption" in _object(content[0]):
        raise DataError(
            f"{path} holds results and no references; the command is "
            "`captioner score RESULTS --references REFS`."
        )
    if not isinstance(content, dict):
        raise DataError(
            f'{path} is not an annotation file: it should be COCO captions ({{"images": [...], '
            '"annotations": [...]}), Karpathy\'s dataset_*.json, or JSON lines.'
        )
    if (
        content
        and all(isinstance(captions, list) for captions in content.values())
        and not (content.keys() & {"images", "annotations"})
    ):  # pycocoevalcap's {id: [captions]}
        return [], [
            {"image_id": image, "caption": caption}
            for image, captions in content.items()
            for caption in captions
        ]
    entries = content.get("images", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f'{path}: "images" must be a list of objects, as in COCO\'s files.')
    return entries, content.get("annotations")


def _coco(
    path: Path, entries: list[dict[str, Any]], annotations: Any, captions: bool
) -> Annotations:
    images = _unique(path, [_image(path, n, entry) for n, entry in enumerate(entries, 1)])
    if not captions:
        return Annotations(path, images, [], "coco")
    if annotations is None:
        raise DataError(
            f'{path} has no captions: neither "annotations", as COCO\'s captions files, nor '
            '"sentences" in its images, as Karpathy\'s.'
        )
    if not isinstance(annotations, list):
        raise DataError(f'{path}: "annotations" must be a list.')
    found: dict[str, tuple[list[str], list[str]]] = {}
    ids: dict[str, int | str] = {}
    for place, annotation in enumerate(annotations, 1):
        if "image_id" not in _object(annotation):
            raise DataError(f'{path}: annotation {place} has no "image_id".')
        image_id = image_id_of(path, annotation["image_id"])
        key, where = str(image_id), f"annotation {place} (image {image_id})"
        ids.setdefault(key, image_id)
        texts, flaws = found.setdefault(key, ([], []))
        if "caption" in annotation:
            sort_caption(annotation["caption"], f'the "caption" of {where}', texts, flaws)
        elif "bbox" in annotation or "segmentation" in annotation:
            raise DataError(
                f"{path} holds objects, not captions; give the captions_*.json beside it."
            )
        else:
            flaws.append(f'{where} has no "caption"')

    def captioned(image: AnnotatedImage) -> AnnotatedImage:
        texts, flaws = found.get(str(image.image_id), ((), ()))
        return replace(image, captions=tuple(texts), flaws=tuple(flaws))

    images = [captioned(image) for image in images]
    named = {str(image.image_id): image for image in images}
    return Annotations(
        path, images,
        [named.get(key) or captioned(AnnotatedImage(ids[key])) for key in found], "coco",
    )  # fmt: skip


def _unique(
    path: Path, images: list[AnnotatedImage], *, merge: bool = True
) -> list[AnnotatedImage]:
    """Each image once. Of one id with two names one would be lost: that is refused. merge: what is
    the same in everything may be there again."""
    seen: dict[str, AnnotatedImage] = {}
    for image in images:
        other = seen.setdefault(str(image.image_id), image)
        if other is not image and not (merge and other == image):
            raise DataError(f"{path} has the image {image.image_id} twice.")
    return list(seen.values())


def _karpathy(
    path: Path,
    entries: list[dict[str, Any]],
    split: str | None,
    default: str | None,
    captions: bool,
) -> Annotations:
    splits = [str(entry.get("split", "")) for entry in entries]
    wanted = _wanted(path, {*splits}, split, default)
    images = [
        _sentences(path, _image(path, n, entry), entry) if captions else _image(path, n, entry)
        for n, (entry, own) in enumerate(zip(entries, splits, strict=True), 1)
        if wanted is None or own in wanted
    ]
    _unique(path, images, merge=False)
    return Annotations(path, images, images, "karpathy")


def _sentences(path: Path, image: AnnotatedImage, entry: dict[str, Any]) -> AnnotatedImage:
    sentences = entry.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(s, dict) for s in sentences):
        raise DataError(f'{path}: the "sentences" of image {image.image_id} are not a list.')
    texts: list[str] = []
    flaws: list[str] = []
    for sentence in sentences:
        where = f"a sentence of image {image.image_id}"
        if "raw" in sentence:
            sort_caption(sentence["raw"], f'the "raw" of {where}', texts, flaws)
        else:
            flaws.append(f'{where} has no "raw"')
    return replace(image, captions=tuple(texts), flaws=tuple(flaws))


def _image(path: Path, place: int, entry: dict[str, Any]) -> AnnotatedImage:
    """An image as the "images" of COCO's and Karpathy's files have it, without captions."""
    number = next((entry[key] for key in ("cocoid", "imgid", "id") if key in entry), None)
    if number is None:
        raise DataError(
            f'{path}: image {place} needs an "id" and a "file_name" (or Karpathy\'s "cocoid" or '
            '"imgid", and "filename").'
        )
    return AnnotatedImage(
        image_id_of(path, number), _name(entry, "file_name", "filename"),
        split=str(entry.get("split", "")),
    )  # fmt: skip


def _name(entry: Mapping[str, Any], *keys: str) -> str:
    name = next((entry[key] for key in keys if isinstance(entry.get(key), str)), "")
    folder = entry.get("filepath")
    return f"{folder}/{name}" if isinstance(folder, str) and folder and name else name


# JSON lines ---------------------------------------------------------------------------------------


def _lines(
    path: Path, rows: list[tuple[int, Any]], split: str | None, default: str | None
) -> Annotations:
    """Lines with "image_id" or "file" (or both), and "caption" or "captions"; perhaps "split"."""
    images: dict[str, AnnotatedImage] = {}
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(
                f'{path}: line {number} should be {{"file": ..., "caption": ...}}, '
                f"not {kind_of(row)}."
            )
        name = _name(row, "file", "file_name", "filename")
        given = next((row[k] for k in ("image_id", "id") if row.get(k) not in (None, "")), name)
        if not given and given != 0:
            raise DataError(
                f'{path}: line {number} has neither "image_id" nor "file", so its image is unknown.'
            )
        image_id = image_id_of(path, given, f"line {number}")
        texts, flaws = captions_in(row, f"line {number}")
        before = images.get(str(image_id), AnnotatedImage(image_id))
        images[str(image_id)] = AnnotatedImage(
            image_id, before.name or name, (*before.captions, *texts),
            before.split or str(row.get("split") or ""), (*before.flaws, *flaws),
        )  # fmt: skip
    wanted = _wanted(path, {image.split for image in images.values()}, split, default)
    found = [i for i in images.values() if wanted is None or i.split in wanted]
    return Annotations(path, found, [i for i in found if i.captions or i.flaws], "lines")


# What all have ------------------------------------------------------------------------------------


def _wanted(
    path: Path, present: set[str], split: str | None, default: str | None
) -> set[str] | None:
    """The splits to take of those that are there; None for all."""
    present = present - {""}
    if not present and split is not None:
        raise DataError(
            f"{path} has no splits: leave `split` out, or give Karpathy's dataset_*.json."
        )
    asked = default if split is None else split
    if asked is None or not present:
        return None
    wanted = {name.strip() for name in asked.split(",")}
    choice = f"its splits are {', '.join(sorted(present))}"
    if unknown := wanted - {*SPLITS} - present:
        raise DataError(f"There is no split {min(unknown)!r} in {path}; {choice}.")
    if not wanted & present:
        raise DataError(f"{path} has no images of the split {asked}; {choice}.")
    return wanted


def image_id_of(path: Path, value: object, where: str = "an image") -> int | str:
    """An image's id as a number or a text; 12.0, as pandas writes, is 12.

    where: what has the id, for the sentence. Raises DataError for anything else.
    """
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise DataError(f"{path}: {where} has the image id {value!r}; it must be a number or a text.")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
