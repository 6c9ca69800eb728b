"""Where captions go besides the records: tables made from them, text files and contact sheets.

A table is made from the records when a run ends or is stopped, beside its place and then renamed:
it is never seen half-written, and it holds everything that was captioned, also by earlier runs.
"""

from __future__ import annotations

import csv
import functools
import html
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from captioner.errors import CaptionerError, DataError
from captioner.files import fitted, replace, replacing
from captioner.outputs import Guard, is_sheet, is_text, sheet_mark
from captioner.texts import readable, to_cell

from .items import Item, inside
from .names import Names, sidecar, stem_of
from .records import FIELDS, Failure, Record

if TYPE_CHECKING:
    from captioner.caption import Caption

FORMATS = ("jsonl", "csv", "tsv", "coco", "parquet", "html", "txt")
SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".json": "coco",
    ".parquet": "parquet", ".html": "html",
}  # fmt: skip
"""What the suffix of -o says."""

TABLES = ("csv", "tsv", "coco", "parquet", "html")
"""Formats that are made from the records."""
TABLE_STARTS = {
    "csv": ",".join(FIELDS[:3]).encode(), "tsv": "\t".join(FIELDS[:3]).encode(), "coco": b"[\n",
    "parquet": b"PAR1", "html": b"<!-- captioner",
}  # fmt: skip
"""How the tables begin, which tells them from others."""

NO_ALTERNATIVES = ("coco", "html", "txt")
"""Formats with one caption for a photo."""

Records = Iterable[Record]


def write_table(format: str, records: Records, path: Path) -> None:
    """Make the table of all records. Raises CaptionerError when it cannot be written."""
    try:
        _WRITERS[format](records, path)
    except OSError as error:
        raise CaptionerError(
            f"{path} cannot be written: {error.strerror or error}. The captions are safe in "
            f"{path.with_suffix('.jsonl')}; the same command tries again."
        ) from error


def check_format(format: str) -> None:
    """Raises CaptionerError when what a format needs is not installed."""
    if format == "parquet":
        _pyarrow()


def write_csv(
    records: Iterable[Record | Failure],
    path: Path,
    fields: Sequence[str] = FIELDS,
    delimiter: str = ",",
) -> None:
    """A table with a row a record and a column a field."""
    with replacing(path, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter=delimiter)
        table.writerow(fields)
        for record in records:
            table.writerow(_cell(dict(record).get(field)) for field in fields)


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return to_cell(value) if isinstance(value, str) else value


def _write_coco(records: Records, path: Path) -> None:
    """COCO's results format. Without an annotation file the id is the number that the file's name
    ends with (COCO_val2014_000000391895.jpg), else the name without its suffix."""
    names: dict[int | str, str] = {}
    with replacing(path, "w", encoding="utf-8") as stream:
        stream.write("[")
        for record in records:
            image_id = record.get("image_id")
            if image_id is None:
                image_id = _number(record["file"])
            other = names.setdefault(image_id, record["file"])
            if other != record["file"]:
                raise DataError(
                    f"{path} was not written: {readable(other)} and {readable(record['file'])} "
                    f"would both have the image_id {image_id}. Name the photos' ids with "
                    "--annotations, or take another --format."
                )
            entry = {"image_id": image_id, "caption": record["caption"]}
            stream.write(("\n" if len(names) == 1 else ",\n") + json.dumps(entry))
        stream.write("\n]\n")


def _number(file: str) -> int | str:
    stem = PurePosixPath(file).stem
    digits = re.search(r"(?:^|_)0*(\d+)$", stem)
    return int(digits[1]) if digits and digits[1].isascii() else readable(stem)


def _write_parquet(records: Records, path: Path) -> None:
    pyarrow = _pyarrow()
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.float32()
    part = {"caption": text, "confidence": number}
    fields = {
        "file": text,
        "image_id": text,
        **part,
        "words": pyarrow.list_(pyarrow.struct({"text": text, "probability": number}.items())),
        "alternatives": pyarrow.list_(pyarrow.struct(part.items())),
        "model": text,
        "version": text,
        "width": pyarrow.int32(),
        "height": pyarrow.int32(),
        "blank": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(field, fields[field]) for field in FIELDS])
    with replacing(path, "wb") as stream, parquet.ParquetWriter(stream, schema) as table:
        rows = map(_row, records)
        while some := list(islice(rows, 10_000)):
            table.write_table(pyarrow.Table.from_pylist(some, schema))


def _row(record: Record) -> dict[str, object]:
    image_id = record.get("image_id")
    return {
        **record,
        "file": readable(record["file"]),
        "image_id": None if image_id is None else str(image_id),
    }


def _write_html(records: Records, path: Path) -> None:
    """Images with their captions as alternative text; the paths lead from where the file is."""
    with replacing(path, "w", encoding="utf-8") as stream:
        stream.write("<!-- captioner: images with their alternative text, to be copied -->\n")
        for record in records:
            source, alt = readable(record["file"]), html.escape(record["caption"])
            if "://" not in source:
                source = quote(os.path.relpath(source, path.parent).replace(os.sep, "/"))
            size = f'width="{record["width"]}" height="{record["height"]}"'
            stream.write(f'<img src="{html.escape(source)}" alt="{alt}" {size}>\n')


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise CaptionerError(
            'Parquet files need pyarrow: run pip install "captioner[parquet]", or take another '
            "--format."
        ) from None
    return pyarrow


_WRITERS: dict[str, Callable[[Records, Path], None]] = {
    "csv": write_csv,
    "tsv": functools.partial(write_csv, delimiter="\t"),
    "coco": _write_coco,
    "parquet": _write_parquet,
    "html": _write_html,
}


# Text files ---------------------------------------------------------------------------------------


class Sidecars:
    """A text file for each photo: beside it, or at the same place under a folder."""

    def __init__(self, folder: Path | None, guard: Guard | None = None, extension: str = ".txt"):
        self.folder = folder
        self.extension = extension
        self.guard = guard or Guard()
        self._written: set[Path] = set()

    def write(self, item: Item, caption: str) -> None:
        """Write the caption. What is there already stays, unless it is to be overwritten.

        Raises CaptionerError when the caption cannot be written.
        """
        path = sidecar(item, self.folder, self.extension)
        if path is None:
            raise CaptionerError(
                f"{item.name} has no place beside it for a text file; name a folder with -o."
            )
        what = f"The text file of {item.name}"
        self.guard.check_each(path, what, is_text, photo=item.file, only=is_text)
        text = f"{caption}\n"
        try:
            there = path.read_bytes() if path.exists() else b""
            if there.strip() and (path in self._written or not self.guard.overwrite):
                if there == text.encode():
                    return  # our own, from a run that was stopped just then
                raise CaptionerError(
                    f"The caption of {item.name} was not written: {path} is there already with "
                    "another text. --overwrite replaces it, --skip-captioned leaves it out."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, text.encode())
        except OSError as error:
            raise CaptionerError(
                f"The caption of {item.name} was not written: {path}: {error.strerror}."
            ) from error
        self._written.add(path)


# Contact sheets -----------------------------------------------------------------------------------


def sheet_png(caption: Caption) -> bytes:
    """A contact sheet as a PNG that says whose it is."""
    png = io.BytesIO()
    caption.contact_sheet().save(png, "PNG", pnginfo=sheet_mark())
    return png.getvalue()


class Sheets:
    """Contact sheets in one folder, each with the name of its photo; where two photos share it, the
    second has a number, too."""

    def __init__(self, folder: Path, guard: Guard):
        self.folder = folder
        self.guard = guard
        self._names: dict[str, str] = {}

    def named(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items as they are; their sheets are named in this order, whenever they are made."""
        names = Names()
        for item in items:
            *_, name = inside(item.name).split("/")
            self._names[item.name] = fitted(names.one(stem_of(name)), ".png")
            yield item

    def write(self, item: Item, png: bytes) -> None:
        """Raises CaptionerError when the sheet cannot be written."""
        path = self.folder / self._names.pop(item.name)
        self.guard.check_each(path, f"The contact sheet of {item.name}", is_sheet, photo=item.file)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace(path, png)
        except OSError as error:
            raise CaptionerError(
                f"The contact sheet {path} cannot be written: {error.strerror}."
            ) from error
