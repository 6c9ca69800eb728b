"""`captioner export`: what a finished job has written, in any format, without a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import typer

from captioner.errors import CaptionerError, DataError, SettingError
from captioner.files import replacing
from captioner.options import with_settings
from captioner.outputs import Guard, check_here
from captioner.settings import setting
from captioner.texts import readable, to_line

from .items import Item, inside
from .journal import Journal, read_failures, read_records
from .names import with_stems
from .records import FAILURE_FIELDS, Failure, Record
from .wording import Wording
from .writers import FORMATS, SUFFIXES, Sidecars, check_format, write_csv, write_table

SORTS = ("confidence", "file")


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Which captions of a job to write, how, and where to."""

    output: Path | None = setting(
        None, "Write to this file, or folder of --format txt.", flag="-o --output", value="FILE",
        group="Where captions go", otherwise="they are printed",
    )  # fmt: skip
    format: str | None = setting(
        None, f"Write {', '.join(FORMATS)}.", value="NAME", otherwise="as the suffix of -o says"
    )
    extension: str = setting(
        ".txt", "Give the text files of --format txt this suffix.", value="SUFFIX"
    )
    overwrite: bool = setting(False, "Replace files that are there already.")
    below: float | None = setting(
        None, "Write only those whose confidence is below X, such as 0.4, to look them over.",
        value="X", group="Which captions", otherwise="all",
    )  # fmt: skip
    sort: str | None = setting(
        None, "Sort by confidence, the unsure ones first, or by file.", value="NAME",
        otherwise="as they are",
    )  # fmt: skip
    failed: bool = setting(False, "Write which photos failed and why, instead of captions.")
    wording: Wording = field(default_factory=Wording)

    @property
    def kind(self) -> str:
        """The format; "" for captions that are printed."""
        if self.format or self.output is None:
            return self.format or ""
        return SUFFIXES.get(self.output.suffix.lower(), "unknown")


@with_settings
def export(
    *,
    records: Annotated[
        Path, typer.Argument(help="The records of a job, such as captions.jsonl.", metavar="FILE")
    ],
    asked: ExportSettings,
) -> None:
    """Write the captions of a job in another format or wording, without a model.

    Examples:

    \b
      captioner export captions.jsonl -o captions.csv
      captioner export captions.jsonl --below 0.4 --sort confidence
      captioner export captions.jsonl -o texts --format txt --before "sks dog, "
      captioner export captions.jsonl -o alt.html
      captioner export captions.jsonl --failed -o failed.csv
    """
    _check(records, asked)
    guard = Guard([records, Journal.errors_file(records)], overwrite=asked.overwrite)
    if asked.output and asked.kind != "txt":
        guard.check(asked.output, "-o")
    try:
        if asked.failed:
            _write_failures(list(read_failures(records)), asked)
            return
        number = _write(_chosen(records, asked), asked, guard)
    except OSError as error:
        raise CaptionerError(f"{asked.output} cannot be written: {error.strerror}.") from error
    if asked.output:
        typer.echo(f"{number:,} captions are in {asked.output}.", err=True)


def _check(records: Path, asked: ExportSettings) -> None:
    if not records.is_file():
        raise DataError(f"There is no file {records}: name the records of a job, captions.jsonl.")
    if asked.output:
        check_here(asked.output, "`output`")
    kinds = ("", "jsonl", "csv", "tsv") if asked.failed else ("", *FORMATS)
    if asked.kind not in kinds:
        raise SettingError(
            f"`output` {asked.output or asked.kind} is to be one of {', '.join(kinds[1:])}: its "
            "suffix or `format` says so."
        )
    if asked.kind and not asked.output:
        raise SettingError(f"`format` {asked.kind} needs a place: give `output`.")
    if asked.sort not in (None, *SORTS):
        raise SettingError(f"`sort` is {' or '.join(SORTS)}, not {asked.sort!r}.")
    check_format(asked.kind)


def _chosen(records: Path, asked: ExportSettings) -> Iterable[Record]:
    chosen: Iterable[Record] = read_records(records)
    if asked.below is not None:
        least = asked.below
        chosen = (r for r in chosen if r["confidence"] is not None and r["confidence"] < least)
    if asked.sort == "confidence":
        chosen = sorted(chosen, key=lambda r: (r["confidence"] is None, r["confidence"]))
    elif asked.sort == "file":
        chosen = sorted(chosen, key=lambda r: r["file"])
    return (cast(Record, {**r, "caption": asked.wording(r["caption"])}) for r in chosen)


def _write(records: Iterable[Record], asked: ExportSettings, guard: Guard) -> int:
    """Write or print the records; how many there were."""
    number = 0

    def counted() -> Iterator[Record]:
        nonlocal number
        for number, one in enumerate(records, 1):  # noqa: B007 (it is what is wanted)
            yield one

    if not asked.output:
        for one in counted():
            print(f"{readable(one['file'])}\t{one['caption']}")
    elif asked.kind == "jsonl":
        _write_lines(counted(), asked.output)
    elif asked.kind == "txt":
        _write_texts(list(counted()), Sidecars(asked.output, guard, asked.extension))
    else:
        write_table(asked.kind, counted(), asked.output)
    return number


def _write_lines(rows: Iterable[Record | Failure], path: Path) -> None:
    with replacing(path, "w", encoding="utf-8") as stream:
        stream.writelines(to_line(one) + "\n" for one in rows)


def _write_texts(records: list[Record], texts: Sidecars) -> None:
    """A text file for each photo, at its place below the folder that they have in common."""
    folders = [str(Path(record["file"]).parent) for record in records]
    top = os.path.commonpath(folders) if len({f[:1] == "/" for f in folders}) == 1 else ""
    items = (
        Item(r["file"], place=inside(r["file"].removeprefix(top)))
        for r in records
    )  # fmt: skip
    for item, record in zip(with_stems(items, texts.folder), records, strict=True):
        texts.write(item, record["caption"])


def _write_failures(failures: list[Failure], asked: ExportSettings) -> None:
    if not asked.output:
        for one in failures:
            print(f"{readable(one['file'])}\t{one['error']}")
    elif asked.kind == "jsonl":
        _write_lines(failures, asked.output)
    else:
        delimiter = "\t" if asked.kind == "tsv" else ","
        write_csv(failures, asked.output, FAILURE_FIELDS, delimiter)
