"""References and results from files.

References are annotation files (`captioner.annotations`); results come as COCO's results JSON, or
as the JSONL or CSV that `captioner caption` writes. Whatever is wrong with a file is said in a
sentence (DataError). `matching.py` puts the two together.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from captioner.annotations import AnnotatedImage, read_annotations
from captioner.annotations.read import image_id_of
from captioner.errors import DataError
from captioner.texts import (
    JSON_LINES,
    from_cell,
    has_json_lines,
    json_lines,
    kind_of,
    parse_json,
    read_text,
)

SEPARATORS = (",", "\t", ";")


@dataclass(frozen=True)
class References:
    """Images and their human captions, in the order in which the file's captions name the images.

    ids: the images' ids as text. captions: for each image its captions. files: for each image the
    name of its file, or "".
    """

    path: Path
    images: list[AnnotatedImage]

    @cached_property
    def ids(self) -> list[str]:
        return [str(image.image_id) for image in self.images]

    @cached_property
    def captions(self) -> list[list[str]]:
        return [list(image.captions) for image in self.images]

    @cached_property
    def files(self) -> list[str]:
        return [image.name for image in self.images]


@dataclass(frozen=True)
class Candidate:
    """A caption to be scored, of an image that is known by its id or its file."""

    caption: str
    image_id: str | None = None
    file: str = ""


def read_references(path: str | Path, split: str | None = None) -> References:
    """Reads references.

    Args:
        path: an annotation file.
        split: of a file that has splits, which to take; several are joined by commas; test by
            default.

    Raises:
        DataError: for a file that cannot be read or is none, that has a caption that is no text, or
            an image with empty ones only.
    """
    found = read_annotations(path, split, default="test")
    images, path = found.captioned, found.path
    if not images:
        raise DataError(f"{path} has no captions to score against.")
    if flaw := next((flaw for image in images for flaw in image.flaws), None):
        raise DataError(f"{path}: {flaw}.")
    references = References(path, images)
    blank = [str(i.image_id) for i in images if not any(map(str.strip, i.captions))]
    if blank:
        raise DataError(
            f"{path}: {some('image', blank)} {have(blank)} no references, only empty ones; give "
            "captions, or take the image out of the file."
        )
    if len(set(references.ids)) < len(images):
        twice = next(i for n, i in enumerate(references.ids) if i in references.ids[:n])
        raise DataError(f"{path} has the image {twice} twice.")
    return references


def read_results(path: str | Path) -> list[Candidate]:
    """Reads the captions to be scored.

    Raises:
        DataError: for a file that cannot be read, has another shape, or has no captions.
    """
    path = Path(path)
    text = read_text(path)
    start = text.lstrip()[:1]
    if path.suffix.lower() in (".csv", ".tsv"):
        rows = _csv_rows(path, text)
    elif path.suffix.lower() in JSON_LINES or has_json_lines(text):
        rows = json_lines(path, text)
    elif start in "[{" or path.suffix.lower() == ".json":
        content = parse_json(path, text)
        if isinstance(content, dict) and ("annotations" in content or "images" in content):
            raise DataError(
                f"{path} is a captions file with references, not results; results are "
                '[{"image_id": ..., "caption": ...}, ...]. The command is '
                "`captioner score RESULTS --references REFS`."
            )
        if isinstance(content, dict) and "caption" not in content:
            content = [
                {"image_id": image, "caption": _only(path, image, captions)}
                for image, captions in content.items()
            ]
        elif isinstance(content, dict):
            content = [content]
        if not isinstance(content, list):
            raise DataError(
                f'{path} should be a list of {{"image_id": ..., "caption": ...}}, '
                f"not {kind_of(content)}."
            )
        rows = list(enumerate(content, 1))
    elif any(separator in text.partition("\n")[0] for separator in SEPARATORS):
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


def _only(path: Path, image: str, captions: Any) -> Any:
    """The caption of an image in pycocoevalcap's {id: [caption]}."""
    if isinstance(captions, list) and len(captions) != 1:
        raise DataError(
            f"{path}: image {image} has {len(captions)} captions to be scored, and can have one."
        )
    return captions[0] if isinstance(captions, list) else captions


def _result(path: Path, place: int, row: Any) -> Candidate | None:
    """One entry; None for the photos that `captioner caption` could not read."""
    if not isinstance(row, dict):
        raise DataError(
            f'{path}: entry {place} should be {{"image_id": ..., "caption": ...}}, '
            f"not {kind_of(row)}."
        )
    if not row.get("caption") and row.get("error"):
        return None
    image_id, file = row.get("image_id"), row.get("file") or row.get("file_name") or ""
    if image_id is None or (isinstance(image_id, str) and not image_id.strip()):
        if not isinstance(file, str) or not file:
            raise DataError(
                f'{path}: entry {place} has neither "image_id" nor "file", so its image is unknown.'
            )
        return Candidate(_caption(path, f"entry {place} ({file})", row), None, file)
    number = str(image_id_of(path, image_id, f"entry {place}"))
    caption = _caption(path, f"entry {place} (image {number})", row)
    return Candidate(caption, number, file if isinstance(file, str) else "")


def _caption(path: Path, where: str, row: dict[str, Any]) -> str:
    if "caption" not in row:
        raise DataError(f'{path}: {where} has no "caption".')
    caption = row["caption"]
    if not isinstance(caption, str):
        raise DataError(f'{path}: the "caption" of {where} must be text, not {kind_of(caption)}.')
    return caption


def _csv_rows(path: Path, text: str) -> list[tuple[int, Any]]:
    """Rows as objects, also as spreadsheets write them: with semicolons, a first line that names
    the separator, empty rows below and empty columns beside."""
    named = re.match(r"sep=([,;\t])[^\S\n]*\r?\n", text)
    text = text[named.end() :] if named else text
    separator = named[1] if named else _separator(text.partition("\n")[0])
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        columns = [str(column).strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        if "caption" not in columns or not {"file", "file_name", "image_id"} & set(columns):
            raise DataError(
                f"{path} needs a header line with the columns file (or image_id) and caption; it "
                f"has {', '.join(columns) or 'nothing'}."
            )
        rows: list[tuple[int, Any]] = []
        for row in reader:
            if None in row and not any(row[None]):
                del row[None]
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num} has not as many columns as the header; put "
                    "captions with commas between quotes."
                )
            if any(cell.strip() for cell in row.values()):
                rows.append((reader.line_num, row | {"caption": from_cell(row["caption"])}))
        return rows
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num} is not valid CSV: {error}.") from None


def _separator(header: str) -> str:
    """What stands between the columns of a header line."""
    for separator in SEPARATORS:
        if "caption" in (column.strip(' "\r') for column in header.split(separator)):
            return separator
    return ","


def some(noun: str, names: Sequence[str]) -> str:
    """`1 image (12)` or `3 images (the first is 12)`."""
    if len(names) == 1:
        return f"1 {noun} ({names[0]})"
    return f"{len(names):,} {noun}s (the first is {names[0]})"


def have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
