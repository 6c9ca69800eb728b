"""References and results from files.

References come in COCO's captions format or as Karpathy's `dataset_*.json`; results as COCO's
results JSON, or as the JSONL or CSV that `captioner caption` writes. Whatever is wrong with a file
is said in a sentence (DataError). `matching.py` puts the two together.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import DataError

KARPATHY_SPLITS = ("train", "restval", "val", "test")


@dataclass(frozen=True)
class References:
    """Images and their human captions, in the order of the file.

    ids: the images' ids as text. captions: for each image its captions. files: for each image its
    file name, or "".
    """

    path: Path
    ids: list[str]
    captions: list[list[str]]
    files: list[str]


@dataclass(frozen=True)
class Result:
    """One line of a results file: a caption of an image that is known by its id or its file."""

    caption: str
    image_id: str | None = None
    file: str = ""


def read_references(path: str | Path, split: str | None = None) -> References:
    """Reads references.

    Args:
        path: a COCO captions file, or Karpathy's dataset_*.json.
        split: of a Karpathy file, one of train, restval, val, test, or several joined by commas;
            test by default.

    Raises:
        DataError: for a file that cannot be read or is neither.
    """
    path = Path(path)
    content = _json(path, _text(path))
    if isinstance(content, list) and _looks_like_results(content):
        raise DataError(
            f"{path} holds results and no references; the command is "
            "`captioner score RESULTS --references REFS`."
        )
    if not isinstance(content, dict):
        raise DataError(
            f'{path} is not a references file: it should be COCO captions ({{"images": [...], '
            '"annotations": [...]}) or Karpathy\'s dataset_*.json.'
        )
    images = content.get("images", [])
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise DataError(f'{path}: "images" must be a list of objects, as in COCO\'s files.')
    if "annotations" in content:
        if split is not None:
            raise DataError(
                f"{path} is a COCO captions file and has no splits: leave --split out, or give "
                "Karpathy's dataset_*.json."
            )
        return _coco_references(path, images, content["annotations"])
    if any("sentences" in image for image in images):
        return _karpathy_references(path, images, split or "test")
    raise DataError(
        f'{path} has no captions: neither "annotations", as COCO\'s captions files, nor '
        '"sentences" in its images, as Karpathy\'s.'
    )


def _coco_references(path: Path, images: list[dict], annotations: Any) -> References:
    if not isinstance(annotations, list):
        raise DataError(f'{path}: "annotations" must be a list.')
    files = {}
    for image in images:
        if "id" in image:
            files[_image_id(path, image["id"])] = str(image.get("file_name", ""))
    captions: dict[str, list[str]] = {}
    for place, annotation in enumerate(annotations, 1):
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            raise DataError(f'{path}: annotation {place} has no "image_id".')
        image_id = _image_id(path, annotation["image_id"])
        if "caption" not in annotation and ("bbox" in annotation or "segmentation" in annotation):
            raise DataError(
                f"{path} holds objects, not captions; give the captions_*.json beside it."
            )
        caption = _caption(path, f"annotation {place} (image {image_id})", annotation)
        captions.setdefault(image_id, []).append(caption)
    return _references(path, captions, files)


def _karpathy_references(path: Path, images: list[dict], split: str) -> References:
    splits = {name.strip() for name in split.split(",")}
    unknown = splits - set(KARPATHY_SPLITS)
    if unknown:
        raise DataError(
            f"There is no split {min(unknown)!r} in Karpathy's files; "
            f"choose from {', '.join(KARPATHY_SPLITS)}."
        )
    files = {}
    captions: dict[str, list[str]] = {}
    for place, image in enumerate(images, 1):
        if str(image.get("split")) not in splits:
            continue
        number = image.get("cocoid", image.get("imgid"))
        if number is None:
            raise DataError(f'{path}: image {place} has neither "cocoid" nor "imgid".')
        image_id = _image_id(path, number)
        if image_id in captions:
            raise DataError(f"{path} has the image {image_id} twice.")
        sentences = image.get("sentences")
        if not isinstance(sentences, list) or not all(isinstance(s, dict) for s in sentences):
            raise DataError(f'{path}: the "sentences" of image {image_id} are not a list.')
        captions[image_id] = [
            _caption(path, f"a sentence of image {image_id}", sentence, "raw")
            for sentence in sentences
        ]
        files[image_id] = str(image.get("filename", ""))
    if not captions:
        present = sorted({str(image.get("split")) for image in images})
        raise DataError(
            f"{path} has no images of the split {split}; its splits are {', '.join(present)}."
        )
    return _references(path, captions, files)


def _references(path: Path, captions: dict[str, list[str]], files: dict[str, str]) -> References:
    if not captions:
        raise DataError(f"{path} has no captions to score against.")
    blank = [image_id for image_id, group in captions.items() if not any(map(str.strip, group))]
    if blank:
        raise DataError(
            f"{path}: {some('image', blank)} {have(blank)} no references, only empty ones; give "
            "captions, or take the image out of the file."
        )
    ids = list(captions)
    return References(path, ids, list(captions.values()), [files.get(i, "") for i in ids])


def read_results(path: str | Path) -> list[Result]:
    """Reads the captions to be scored.

    Raises:
        DataError: for a file that cannot be read, has another shape, or has no captions.
    """
    path = Path(path)
    text = _text(path)
    start = text.lstrip()[:1]
    if path.suffix.lower() in (".csv", ".tsv"):
        rows = _csv_rows(path, text)
    elif path.suffix.lower() in (".jsonl", ".ndjson") or (start == "{" and _has_lines(text)):
        rows = _jsonl_rows(path, text)
    elif start in "[{" or path.suffix.lower() == ".json":
        content = _json(path, text)
        if isinstance(content, dict) and ("annotations" in content or "images" in content):
            raise DataError(
                f"{path} is a captions file with references, not results; results are "
                '[{"image_id": ..., "caption": ...}, ...]. The command is '
                "`captioner score RESULTS --references REFS`."
            )
        if isinstance(content, dict):
            content = [content]
        if not isinstance(content, list):
            raise DataError(
                f'{path} should be a list of {{"image_id": ..., "caption": ...}}, '
                f"not {_kind(content)}."
            )
        rows = list(enumerate(content, 1))
    elif "," in text.partition("\n")[0]:
        rows = _csv_rows(path, text)
    else:
        raise DataError(
            f"{path} is no results file: it should be COCO results JSON, or the JSONL or CSV that "
            "`captioner caption` writes."
        )
    results = [result for place, row in rows if (result := _result(path, place, row)) is not None]
    if not results:
        raise DataError(f"{path} has no captions to score.")
    return results


def _result(path: Path, place: int, row: Any) -> Result | None:
    """One entry; None for the photos that `captioner caption` could not read."""
    if not isinstance(row, dict):
        raise DataError(
            f'{path}: entry {place} should be {{"image_id": ..., "caption": ...}}, '
            f"not {_kind(row)}."
        )
    if not row.get("caption") and row.get("error"):
        return None
    image_id, file = row.get("image_id"), row.get("file") or row.get("file_name") or ""
    if image_id is None or image_id == "":
        if not isinstance(file, str) or not file:
            raise DataError(
                f'{path}: entry {place} has neither "image_id" nor "file", so its image is unknown.'
            )
        return Result(_caption(path, f"entry {place} ({file})", row), None, file)
    number = _image_id(path, image_id, f"entry {place}")
    caption = _caption(path, f"entry {place} (image {number})", row)
    return Result(caption, number, file if isinstance(file, str) else "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _json(path: Path, text: str) -> Any:
    if not text.strip():
        raise DataError(f"{path} is empty.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error}); it may be cut off, so write it again."
        ) from None
    except RecursionError:
        raise DataError(f"{path} is not a captions file: its JSON is nested too deeply.") from None


def _has_lines(text: str) -> bool:
    """Whether a text that begins with { is JSONL: its first line is a whole object."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _jsonl_rows(path: Path, text: str) -> list[tuple[int, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number} is not valid JSON ({error}); the file may be cut off."
                ) from None
    return rows


def _csv_rows(path: Path, text: str) -> list[tuple[int, Any]]:
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = [str(column).strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        if "caption" not in columns or not {"file", "file_name", "image_id"} & set(columns):
            raise DataError(
                f"{path} needs a header line with the columns file (or image_id) and caption; it "
                f"has {', '.join(columns) or 'nothing'}."
            )
        rows: list[tuple[int, Any]] = []
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num} has not as many columns as the header; put "
                    "captions with commas between quotes."
                )
            rows.append((reader.line_num, row))
        return rows
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is not valid CSV: {error}.") from None


def _image_id(path: Path, value: Any, where: str = "an image") -> str:
    """Ids as text, so that 12 in one file is "12" in the other; 12.0, as pandas writes, too."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{path}: {where} has the image id {value!r}; it must be a number or a text.")


def _caption(path: Path, where: str, row: dict[str, Any], key: str = "caption") -> str:
    if key not in row:
        raise DataError(f'{path}: {where} has no "{key}".')
    caption = row[key]
    if not isinstance(caption, str):
        raise DataError(f'{path}: the "{key}" of {where} must be text, not {_kind(caption)}.')
    return caption


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "NaN" if value != value else f"the number {value}"
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


def _looks_like_results(content: Iterable[Any]) -> bool:
    first = next(iter(content), None)
    return isinstance(first, dict) and "caption" in first


def some(noun: str, names: Sequence[str]) -> str:
    """`1 image (12)` or `3 images (the first is 12)`."""
    if len(names) == 1:
        return f"1 {noun} ({names[0]})"
    return f"{len(names):,} {noun}s (the first is {names[0]})"


def have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
