"""`captioner caption`: finds the photos, captions what is missing, writes what is asked for."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner.errors import CaptionerError, PhotoError
from captioner.options import DeviceOption, DtypeOption, ModelOption, with_settings
from captioner.request import Request
from captioner.signals import stopping

from .archives import TARS
from .decode import Captioned
from .items import Item
from .job import Outputs, Sheets, Task, run_job
from .journal import Journal, lock, read_records
from .local_engine import LocalEngine
from .metadata import WriteMetadata, check_metadata, has_metadata
from .progress import Progress, Tally
from .sources import Ignored, annotated_items, check_paths, find_items, read_list
from .writers import FORMATS, SUFFIXES, TABLES, Sidecars, check_format, write_table

CAPTION_HELP = """Caption photographs: files, folders with all that is below them, patterns,
tar and zip archives, web addresses.

Prints one `path<TAB>caption` line for each photo, or writes the captions to a file with -o. The
same command again does only what is missing.

Exit status: 0 when every photo has its caption, 1 when some failed, 3 when all failed, 2 when the
command makes no sense or could not go on, 130 when it was stopped.

Examples:

    captioner caption holiday.jpg

    captioner caption ~/Pictures -o captions.jsonl

    captioner caption ~/Pictures -o captions.csv --retry-failed

    captioner caption ~/Pictures --format txt

    captioner caption val2017 --annotations captions_val2017.json -o results.json

    find . -name '*.jpg' -print0 | captioner caption --from - -o captions.jsonl

    captioner caption photo.jpg --heatmaps sheets/ --beams 5 --alternatives 2

    captioner caption photo.jpg --prefix "Two people"

    captioner caption photo.jpg --sample --temperature 0.8 --seed 7
"""


@with_settings
def caption(
    *,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photographs, folders, patterns, archives, addresses.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where the captions go; the kind of file is told by its suffix."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="jsonl, csv, coco, parquet, or txt: a text file for each photo, beside it or, "
            "with -o, in a folder."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line, with everything.")
    ] = False,
    from_list: Annotated[
        str | None,
        typer.Option("--from", help="A list of paths, by lines or NULs; - for standard input."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="A COCO file that names the photos in the folder, and gives their ids."),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Caption the photographs of scikit-image.")
    ] = False,
    heatmaps: Annotated[
        Path | None,
        typer.Option(help="Write a contact sheet (PNG) for each photo into this folder."),
    ] = None,
    write_metadata: Annotated[
        bool,
        typer.Option(
            "--write-metadata",
            help="Write the caption into the photo as its description (XMP); the photo as it was "
            "is kept as NAME_original.",
        ),
    ] = False,
    alt_text: Annotated[
        bool, typer.Option("--alt-text", help="With --write-metadata: also as alternative text.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try again what failed before.")
    ] = False,
    skip_captioned: Annotated[
        bool,
        typer.Option(
            "--skip-captioned",
            help="Leave out photos with a text file or a description of their own.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Caption all again, in place of what is there.")
    ] = False,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Write in the order of the input.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    request: Request,
    batch_size: Annotated[int, typer.Option(help="Photos that the model takes at once.")] = 16,
    time_limit: Annotated[
        float, typer.Option(help="Seconds for decoding a photo, after which it is given up.")
    ] = 10.0,
    engine: Annotated[str, typer.Option(help="local, or ray for a Ray cluster.")] = "local",
    workers: Annotated[
        int | None, typer.Option(help="With --engine ray: models in the cluster.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:
    """See CAPTION_HELP."""
    named = list(paths or [])
    if samples:
        from captioner.samples import sample_photos

        named += map(str, sample_photos())
    if not named and not from_list and not annotations:
        raise CaptionerError("Name at least one photograph or folder, or give --samples.")
    check_paths(named)
    _check(batch_size, time_limit, engine, annotations, from_list, alt_text and not write_metadata)
    kind, records = _destination(output, format, as_json, write_metadata)
    if write_metadata:
        check_metadata()
    if output and records and kind in TABLES and not overwrite:
        _check_table(output, records)

    def find(ignored: Ignored) -> Iterator[Item]:
        if annotations:
            return annotated_items(annotations, named, ignored=ignored)
        listed = read_list(from_list) if from_list else ()
        return find_items(itertools.chain(named, listed), ignored=ignored)

    text_folder = output if kind == "txt" else None
    inside = (kind == "txt" or write_metadata) and not records
    outputs = Outputs(
        sidecars=Sidecars(text_folder, overwrite=overwrite) if kind == "txt" else None,
        metadata=WriteMetadata(alt_text, overwrite) if write_metadata else None,
        sheets=Sheets(heatmaps) if heatmaps else None,
        printed=None if records or inside else "json" if as_json else "text",
    )
    skip = None
    if skip_captioned:
        skip = Captioned(folder=text_folder, inside=has_metadata())
    elif inside and not overwrite:
        # Without a journal, the text files or descriptions themselves say what is done.
        skip = Captioned(texts=kind == "txt", inside=write_metadata)
    task = Task(
        batch_size=batch_size, seconds=time_limit, skip=skip, sheets=heatmaps is not None,
        ordered=ordered or not records, steady=records is not None,
        request=request.with_(heatmaps=heatmaps is not None),
        model=model, device=device, dtype=dtype,
    )  # fmt: skip
    # A file name need not be valid UTF-8: print the bytes that it has.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    # The bar is for a terminal on which the captions themselves do not appear.
    bar = sys.stderr.isatty() and not (outputs.printed and sys.stdout.isatty())
    tally = Tally()
    progress = Progress(tally, quiet=quiet, bar=bar)
    start = _engine(engine, workers)
    locks = [lock(Path(p), f"captioning {p}") for p in named if inside and Path(p).is_dir()]
    told = "\nStopping when the batches in hand are done; again to stop now."
    try:
        with (
            stopping(lambda: typer.echo(told, err=True)) as stop,
            contextlib.ExitStack() as ending,
        ):
            for file in locks:
                ending.callback(os.close, file)
            ending.callback(outputs.close)
            ending.callback(progress.close)
            if records:
                outputs.journal = Journal(records, overwrite=overwrite, retry_failed=retry_failed)
            run_job(
                find, task, outputs, start, tally, progress,
                stop=stop, count=from_list != "-" and not _compressed(named),
            )  # fmt: skip
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not tally.seen and not stop():
        raise PhotoError(_nothing(named, tally.ignored))
    if records and output and kind in TABLES:
        write_table(kind, read_records(records), output)
    if not quiet and tally.before and (write_metadata or heatmaps):
        what = "were not written into" if write_metadata else "have no new sheet"
        typer.echo(
            f"Note: {tally.before} photos that had their caption before {what}; "
            "give no -o, or a new one, to do all.",
            err=True,
        )
    if not quiet and (tally.seen > 1 or records):
        said = str(records.with_suffix(".errors.jsonl")) if records else ""
        typer.echo(tally.summary(said), err=True)
    if stop():
        if not quiet:
            typer.echo("Stopped; the same command continues.", err=True)
        raise typer.Exit(130)
    if status := tally.status():
        raise typer.Exit(status)


def _check(
    batch_size: int,
    time_limit: float,
    engine: str,
    annotations: Path | None,
    from_list: str | None,
    alone: bool,
) -> None:
    """Mistakes in the options that need no file to be read."""
    if batch_size < 1:
        raise CaptionerError("--batch-size must be at least 1.")
    if not time_limit > 0:
        raise CaptionerError("--time-limit must be above 0.")
    if engine not in ("local", "ray"):
        raise CaptionerError(f"There is no engine {engine!r}: choose local or ray.")
    if annotations and from_list:
        raise CaptionerError("--annotations names the photos itself: leave --from out.")
    if alone:
        raise CaptionerError("--alt-text goes with --write-metadata.")


def _destination(
    output: Path | None, format: str | None, as_json: bool, write_metadata: bool
) -> tuple[str, Path | None]:
    """The format, and the file of the records, which is the journal; None without one."""
    if format and format not in FORMATS:
        raise CaptionerError(f"There is no format {format!r}: choose {', '.join(FORMATS)}.")
    if output is None:
        if format == "txt" and write_metadata:
            raise CaptionerError(
                "Text files and metadata together need a file that says what is done: add "
                "-o captions.jsonl, or leave one of them out."
            )
        if format not in (None, "txt"):
            raise CaptionerError(f"--format {format} needs a file: give -o.")
        return format or "", None
    if as_json:
        raise CaptionerError("--json prints the captions; with -o, choose a --format.")
    kind = format or SUFFIXES.get(output.suffix.lower(), "jsonl")
    if kind == "txt":
        if output.exists() and not output.is_dir():
            raise CaptionerError(f"-o {output} is to be a folder for the text files.")
        return kind, output / "captions.jsonl"
    if output.is_dir():
        raise CaptionerError(f"-o {output} is a folder; name a file in it, or add --format txt.")
    if kind in TABLES and output.suffix.lower() == ".jsonl":
        raise CaptionerError(f"{output} is a name for the jsonl format; take another suffix.")
    check_format(kind)
    return kind, output if kind == "jsonl" else output.with_suffix(".jsonl")


def _check_table(table: Path, records: Path) -> None:
    """A table replaces that of an earlier run, but no file of somebody else's."""
    if table.exists() and not records.with_suffix(".run.json").exists():
        raise CaptionerError(
            f"{table} is there already and was not made by this job; take another name, or give "
            "--overwrite."
        )


def _engine(name: str, workers: int | None) -> Callable[..., Any]:
    """What starts the engine; Ray is imported only where it is asked for."""
    if name == "local":
        if workers:
            raise CaptionerError("--workers goes with --engine ray.")
        return LocalEngine
    from .ray_engine import RayEngine, check_ray

    check_ray()
    return functools.partial(RayEngine, workers=workers)


def _compressed(paths: Iterable[str]) -> bool:
    """Whether counting the photos would mean to unpack archives."""
    return any(path.lower().endswith(TARS[1:]) for path in paths)


def _nothing(paths: list[str], ignored: Ignored) -> str:
    where = f" in {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''}" if paths else ""
    also = f" Passed over: {ignored}." if ignored else ""
    return f"There are no photos{where} (files such as .jpg, .png, .webp or .heic).{also}"
