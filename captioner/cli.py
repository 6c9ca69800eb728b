"""The command `captioner`: caption, export, score, demo, info.

Results go to stdout, everything else to stderr; `exits.py` has the exit statuses.
"""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from captioner import __version__
from captioner.batch.command import CAPTION_HELP, caption
from captioner.batch.export import ExportSettings, export
from captioner.batch.items import addressed
from captioner.batch.spec import JobSpec
from captioner.exits import run
from captioner.hub.command import models
from captioner.metrics.command import score
from captioner.options import GroupedCommand, ModelOption, flags
from captioner.page.command import DemoSettings, demo
from captioner.photos import PHOTO_SUFFIXES

if TYPE_CHECKING:
    from captioner.captioner import Captioner


class Commands(TyperGroup):
    """Whoever gives a photo in place of a command is told which command that takes."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        photo = bool(addressed(name)) or Path(name).suffix.lower() in PHOTO_SUFFIXES or name == "-"
        if self.get_command(ctx, name) is None and (photo or Path(name).exists()):
            ctx.fail(
                f"There is no command {name}; did you mean `captioner caption {shlex.join(args)}`?"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(help=CAPTION_HELP, cls=GroupedCommand)(caption)
app.command(cls=GroupedCommand)(export)
app.command(cls=GroupedCommand)(score)
app.command(cls=GroupedCommand)(demo)
app.command()(models)


def _version(asked: bool) -> None:
    if asked:
        print(f"captioner {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Photographs in, sentences out, and for every word where the model looked.

    Options have their defaults from the environment where it has them: CAPTIONER_MODEL is that of
    --model, CAPTIONER_BATCH_SIZE that of --batch-size, and so on.
    """


@app.command()
def info(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Say which model this is, what it was trained on, its scores, and what the machine gives.

    Example:

        captioner info --model runs/builtin/best
    """
    from captioner.captioner import BUILTIN, load
    from captioner.machine import choose_device, choose_dtype, describe

    loaded = load(model or BUILTIN, device="cpu", dtype="float32")
    device = choose_device()
    facts: dict[str, Any] = {
        "captioner": __version__,
        "model": loaded.name,
        **_about(loaded, Path(model or BUILTIN)),
        "machine": describe(),
        "runs_on": f"{device}, {str(choose_dtype(None, device)).removeprefix('torch.')}",
    }
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    machine = facts["machine"]
    size = f"{facts['parameters'] / 1e6:.1f} million parameters, {facts['bytes'] / 1e6:.1f} MB"
    rows = [
        ("captioner", f"{facts['captioner']} with torch {machine['torch']}"),
        ("model", f"{facts['model']}  ({facts['folder']})"),
        ("size", size),
    ]
    for name in ("kind", "license", "encoder", "decoder", "heatmaps", "search", "trained_on"):
        if name in facts:
            rows.append((name.replace("_", " "), facts[name]))
    for data, figures in facts.get("scores", {}).items():
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        rows.append(("scores", f"{data}: {shown}"))
    rows += [
        ("machine", f"{machine['cores']} cores, bfloat16 {'yes' if machine['bfloat16'] else 'no'}, "
         f"GPU {machine['gpu'] or 'none'}"),
        ("runs on", facts["runs_on"]),
    ]  # fmt: skip
    for name, text in rows:
        print(f"{name:<12}{text}")


def _about(loaded: "Captioner", folder: Path) -> dict[str, Any]:
    """What `info` says of a model: one of ours in a folder, or one from the hub."""
    from captioner.hub.base import HubModel

    hub = loaded.model
    if isinstance(hub, HubModel):
        search = hub.search
        return {
            "folder": str(hub.checkpoint.folder),
            "parameters": sum(p.numel() for p in hub.net.parameters()),
            "bytes": sum(file.stat().st_size for file in hub.checkpoint.weights),
            "kind": f"{hub.checkpoint.kind}, photos with at least {hub.side} pixels a side",
            "license": hub.about.get("license", "not stated"),
            "heatmaps": f"{hub.maps or 'none'}, {len(hub.layers)} layers",
            "search": f"beams {search.beams}, at most {search.max_length} tokens",
        }
    own, config = loaded.own, loaded.own.config
    count = f"an ensemble of {len(config.shares)}, each of " if config.shares else ""
    return {
        "folder": str(folder),
        "parameters": sum(p.numel() for p in own.parameters()),
        "bytes": sum(f.stat().st_size for f in folder.iterdir() if f.is_file()),
        "encoder": f"{config.encoder.name} ({config.encoder.library}), "
        f"{config.encoder.size}x{config.encoder.size} pixels, "
        f"patch grid {own.grid[0]}x{own.grid[1]}",
        "decoder": f"{count}{config.decoder.layers} layers, width {config.decoder.width}, "
        f"{config.decoder.heads} heads, {config.decoder.vocab_size} tokens",
        "trained_on": config.about.get("trained_on", "not stated"),
        "scores": config.about.get("scores", {}),
    }


def main() -> None:
    """Run the command that the program was started with; raises SystemExit with its status."""
    # Before torch is imported. Its threads would wait for one another spinning, and on cores that
    # are shared take ten times as long, theirs and what others run; asleep costs 3% on idle ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    names = {**flags(DemoSettings), **flags(ExportSettings), **flags(JobSpec)}
    raise SystemExit(run(lambda: app(prog_name="captioner"), names=names))


if __name__ == "__main__":
    main()
