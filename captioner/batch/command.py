"""`captioner caption`: begins a job, and says how it went."""

from __future__ import annotations

import contextlib
import functools
import sys

import typer

from captioner.errors import PhotoError
from captioner.exits import Exit
from captioner.options import with_settings
from captioner.signals import stopping
from captioner.texts import readable

from .engine import Start
from .job import run_job
from .journal import Journal, read_failures, read_records
from .local_engine import LocalEngine
from .progress import Progress, Tally
from .sources import Ignored
from .spec import JobSpec
from .writers import NO_ALTERNATIVES, write_table

CAPTION_HELP = """Caption photographs: files, folders with all that is below them, patterns,
tar and zip archives, addresses of the web and of object storage (s3://, gs://, az://, hf://).

Prints one `path<TAB>caption` line for each photo, or writes the captions to a file with -o. The
same command again does only what is missing. The exit status is 0 when every photo has its caption,
1 when some failed, 3 when all failed, 2 when the options contradict one another or the run could
not go on, and 130 when it was stopped. CAPTIONER_MODEL in the environment is the default of
--model, CAPTIONER_BEAMS that of --beams, and so on; below, defaults stand in brackets.

Examples:

\b
    captioner caption holiday.jpg
    captioner caption ~/Pictures -o captions.csv --retry-failed
    captioner caption ~/Pictures --format txt --before "sks dog, "
    captioner caption val2017 --annotations captions_val2017.json -o results.json
    find . -name '*.jpg' -print0 | captioner caption --from - -o captions.jsonl
    captioner caption photo.jpg --heatmaps sheets/ --beams 5 --alternatives 2
    captioner caption photo.jpg --explain "A dog jumps into the water." --heatmaps sheets/
"""


@with_settings
def caption(*, spec: JobSpec) -> None:
    """See CAPTION_HELP."""
    guard = spec.check()
    if spec.dry_run:
        return _dry_run(spec)
    # A file name need not be valid UTF-8: print the bytes that it has.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    # The bar is for a terminal on which the captions themselves do not appear.
    bar = sys.stderr.isatty() and not (spec.printed and sys.stdout.isatty())
    tally = Tally()
    progress = Progress(tally, quiet=spec.quiet, bar=bar)
    stopping_note = "\nStopping when the batches in hand are done; again to stop now."
    if spec.engine == "ray":
        stopping_note = "\nStopping; what the cluster has in hand is done again next time."
    try:
        with stopping(lambda: typer.echo(stopping_note, err=True), lambda: progress.begun) as stop:
            run_job(spec, guard, _engine(spec), tally, progress, stop)
    except KeyboardInterrupt:
        if not progress.begun:
            typer.echo("Stopped.", err=True)
        raise typer.Exit(Exit.STOPPED) from None
    stopped = stop() and tally.unfinished
    if not tally.seen and not stop():
        raise PhotoError(_nothing(spec.named, tally.ignored))
    if spec.records and spec.table:
        write_table(spec.kind, read_records(spec.records), spec.table)
    if not spec.quiet:
        _report(spec, tally, stopped=stopped)
    if status := Exit.STOPPED if stopped else tally.status():
        raise typer.Exit(status)


def _dry_run(spec: JobSpec) -> None:
    """Print the photos that would be captioned."""
    tally, done, failed = Tally(), set[str](), set[str]()
    if spec.records and not spec.overwrite:
        done = {found["file"] for found in read_records(spec.records)}
        if not spec.retry_failed:
            failed = {found["file"] for found in read_failures(spec.records)} - done
    for item in spec.find(tally.ignored):
        if item.name in done:
            tally.before += 1
        elif item.name in failed:
            tally.failed_before += 1
        elif spec.skip and (place := spec.skip(item)):
            tally.left_out += 1
            tally.captions_in[place] += 1
        else:
            tally.captioned += 1
            print(readable(item.name))
    if not spec.quiet:
        typer.echo(f"Nothing was done; there would be {tally.summary(rate=False)}", err=True)


def _engine(spec: JobSpec) -> Start:
    """What starts the engine; Ray is imported only where it is asked for."""
    if spec.engine == "local":
        return LocalEngine
    from .ray_engine import RayEngine

    return functools.partial(RayEngine, workers=spec.workers)


def _report(spec: JobSpec, tally: Tally, *, stopped: bool) -> None:
    """What there is to say at the end, on stderr."""
    if tally.before and (spec.write_metadata or spec.sheets):
        what = "were not written into" if spec.write_metadata else "have no new sheet"
        typer.echo(
            f"Note: {tally.before} photos that had their caption before {what}; "
            "give no -o, or a new one, to do all.",
            err=True,
        )
    if spec.request.alternatives and spec.records and spec.kind in NO_ALTERNATIVES:
        typer.echo(
            f"Note: the further captions are in {spec.records}; {spec.kind} has no place for them.",
            err=True,
        )
    if tally.seen > 1 or spec.records or tally.ignored:
        errors = str(Journal.errors_file(spec.records)) if spec.records else ""
        typer.echo(tally.summary(errors), err=True)
    if stopped:
        typer.echo("Stopped; the same command continues.", err=True)


def _nothing(paths: tuple[str, ...], ignored: Ignored) -> str:
    where = f" in {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''}" if paths else ""
    also = f" Passed over: {ignored}." if ignored else ""
    return f"There are no photos{where} (files such as .jpg, .png, .webp or .heic).{also}"
