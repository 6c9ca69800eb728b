"""The command `captioner`: caption, score, demo, info.

Captions go to stdout, everything else to stderr. Exit status: 0 when every photo was captioned, 1
when some could not be, 2 when the command itself makes no sense.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner.errors import CaptionerError, PhotoError
from captioner.metrics.command import score
from captioner.page.command import demo

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Photographs in, sentences out, and for every word where the model looked.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(score)
app.command()(demo)

CAPTION_HELP = """Caption photographs: files, or folders with all that is below them.

Prints one `path<TAB>caption` line for each photo.

Examples:

    captioner caption holiday.jpg

    captioner caption ~/Pictures --json > captions.jsonl

    captioner caption photo.jpg --heatmaps sheets/

    captioner caption photo.jpg --beams 5 --alternatives 2

    captioner caption photo.jpg --prefix "Two people"

    captioner caption photo.jpg --sample --temperature 0.8 --seed 7
"""

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A model folder; default: the model in the box.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best.")]


@app.command(help=CAPTION_HELP)
def caption(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Photographs and folders.", show_default=False)
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Caption the photographs of scikit-image.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, with everything.")
    ] = False,
    heatmaps: Annotated[
        Path | None,
        typer.Option(help="Write a contact sheet (PNG) for each photo into this folder."),
    ] = None,
    beams: Annotated[int | None, typer.Option(help="Width of the beam search.")] = None,
    alternatives: Annotated[int, typer.Option(help="Further captions for each photo.")] = 0,
    length_penalty: Annotated[
        float | None, typer.Option(help="Above 0 favours longer captions, below shorter ones.")
    ] = None,
    min_length: Annotated[int | None, typer.Option(help="In tokens, about words.")] = None,
    max_length: Annotated[int | None, typer.Option(help="In tokens, about words.")] = None,
    no_repeat: Annotated[
        int | None, typer.Option(help="Never the same run of so many tokens twice.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="How every caption begins.")] = "",
    without: Annotated[
        list[str] | None, typer.Option(help="A word that must not appear; may be repeated.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw captions at random.")] = False,
    temperature: Annotated[float | None, typer.Option(help="With --sample.")] = None,
    top_k: Annotated[int | None, typer.Option(help="With --sample.")] = None,
    top_p: Annotated[float | None, typer.Option(help="With --sample.")] = None,
    seed: Annotated[int | None, typer.Option(help="With --sample.")] = None,
    batch_size: Annotated[int, typer.Option(help="Photos that the model takes at once.")] = 16,
    model: Model = None,
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; default: what suits.")
    ] = None,
) -> None:
    """See CAPTION_HELP."""
    from captioner.images import find_photos

    if batch_size < 1:
        raise CaptionerError("--batch-size must be at least 1.")
    files = find_photos(paths or [])
    if samples:
        from captioner.samples import sample_photos

        files += sample_photos()
    if not files:
        raise CaptionerError("Name at least one photograph or folder, or give --samples.")

    from captioner.batch import caption_files
    from captioner.captioner import load

    loaded = load(model, device=device, dtype=dtype)
    search = loaded.search(
        alternatives=alternatives, beams=beams, length_penalty=length_penalty,
        min_length=min_length, max_length=max_length, no_repeat=no_repeat,
        sample=sample or None, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
    )  # fmt: skip
    if heatmaps is not None:
        _make_folder(heatmaps)
    sheets = _sheet_names(files)
    failed = 0
    began = time.monotonic()
    # A file name need not be valid UTF-8: print the bytes that it has.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    done = caption_files(
        loaded, files, search,
        heatmaps=heatmaps is not None, batch_size=batch_size, prefix=prefix, without=without or (),
    )  # fmt: skip
    for result in _with_progress(done, len(files)):
        if result.caption is None:
            failed += 1
            typer.echo(f"Error: {result.error}", err=True)
            continue
        if as_json:
            print(_json_line(result.file, result.caption, loaded.name), flush=True)
        else:
            print(f"{result.file}\t{result.caption.text}", flush=True)
        if heatmaps is not None:
            result.caption.contact_sheet().save(heatmaps / sheets[result.file])
    if len(files) > 1:
        seconds = time.monotonic() - began
        rate = (len(files) - failed) / seconds
        trouble = f", {failed} could not be read" if failed else ""
        typer.echo(f"{len(files) - failed} captioned{trouble}, {rate:.1f} photos/s", err=True)
    if failed:
        raise typer.Exit(1)


def _json_line(file: Path, caption: Any, model: str) -> str:
    line = {
        "file": str(file),
        **caption.to_dict(),
        "model": model,
        "width": caption.photo.width,
        "height": caption.photo.height,
    }
    # A name with bytes that are not UTF-8 must be escaped to be JSON at all.
    return json.dumps(line, ensure_ascii=not _is_text(str(file)))


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptionerError(
            f"The folder {folder} for heatmaps cannot be made: {error.strerror}."
        ) from error


def _sheet_names(files: list[Path]) -> dict[Path, str]:
    """A name for each contact sheet: the photo's, and where two photos share it, a number too."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, n = f"{file.stem}.png", 2
        while name.lower() in taken:
            name, n = f"{file.stem}-{n}.png", n + 1
        taken.add(name.lower())
        names[file] = name
    return names


def _with_progress(done: Any, total: int) -> Any:
    """A bar on the terminal, where the captions themselves go elsewhere."""
    if sys.stderr.isatty() and not sys.stdout.isatty() and total > 1:
        from tqdm import tqdm

        return tqdm(done, total=total, unit="photo", smoothing=0.1)
    return done


@app.command()
def info(
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Say which model this is, what it was trained on, its scores, and what the machine gives.

    Example:

        captioner info --model runs/builtin/best
    """
    from captioner import __version__
    from captioner.captioner import BUILTIN, load
    from captioner.machine import choose_device, choose_dtype, describe

    folder = Path(model) if model else BUILTIN
    loaded = load(folder, device="cpu", dtype="float32")
    config = loaded.model.config
    parameters = sum(p.numel() for p in loaded.model.parameters())
    device = choose_device()
    facts: dict[str, Any] = {
        "captioner": __version__,
        "model": loaded.name,
        "folder": str(folder),
        "parameters": parameters,
        "bytes": sum(f.stat().st_size for f in folder.iterdir() if f.is_file()),
        "encoder": f"{config.encoder.name} ({config.encoder.library}), "
        f"{config.encoder.size}x{config.encoder.size} pixels, "
        f"patch grid {loaded.model.grid[0]}x{loaded.model.grid[1]}",
        "decoder": f"{config.decoder.layers} layers, width {config.decoder.width}, "
        f"{config.decoder.heads} heads, {config.decoder.vocab_size} tokens",
        "trained_on": config.about.get("trained_on", "not stated"),
        "scores": config.about.get("scores", {}),
        "machine": describe(),
        "runs_on": f"{device}, {str(choose_dtype(None, device)).removeprefix('torch.')}",
    }
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    machine = facts["machine"]
    rows = [
        ("captioner", f"{facts['captioner']} with torch {machine['torch']}"),
        ("model", f"{facts['model']}  ({facts['folder']})"),
        ("size", f"{parameters / 1e6:.1f} million parameters, {facts['bytes'] / 1e6:.1f} MB"),
        ("encoder", facts["encoder"]),
        ("decoder", facts["decoder"]),
        ("trained on", facts["trained_on"]),
    ]
    for data, figures in facts["scores"].items():
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        rows.append(("scores", f"{data}: {shown}"))
    rows += [
        ("machine", f"{machine['cores']} cores, bfloat16 {'yes' if machine['bfloat16'] else 'no'}, "
         f"GPU {machine['gpu'] or 'none'}"),
        ("runs on", facts["runs_on"]),
    ]  # fmt: skip
    for name, text in rows:
        print(f"{name:<12}{text}")


def main() -> None:
    try:
        app(prog_name="captioner")
    except CaptionerError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(1 if isinstance(error, PhotoError) else 2) from None


if __name__ == "__main__":
    main()
