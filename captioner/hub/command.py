"""`captioner models`: which checkpoints are expected to work, and which are on this machine."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from .locate import is_whole


def known_models() -> list[dict[str, Any]]:
    """The checkpoints of models.toml, and of each whether it is in the hub's cache."""
    text = (Path(__file__).parent / "models.toml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = tomllib.loads(text)["model"]
    return [{**model, "here": _is_here(model["name"])} for model in found]


def _is_here(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return isinstance(config, str) and is_whole(name, Path(config).parent)


def models(
    convert: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Make safetensors of the pickles of this model, a hub name or a folder, without "
            "running any code in them.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """List checkpoints that are expected to work with --model, with their size, licence and the
    CIDEr on COCO that their authors publish.

    Other checkpoints of the same classes work, too. The figures are cited, none was measured here.

    Examples:

        captioner models

        captioner models --convert nlpconnect/vit-gpt2-image-captioning
    """
    if convert:
        from .convert import convert as to_safetensors

        print(f"The safetensors are in {to_safetensors(convert)}.")
        return
    found = known_models()
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    wide = max(len(model["name"]) for model in found)
    print(f"{'name':<{wide}}  {'size':>6}  {'licence':<12}  {'CIDEr':>6}  here  CIDEr cited from")
    for model in found:
        cider = f"{model['cider']:g}" if "cider" in model else "-"
        print(
            f"{model['name']:<{wide}}  {model['parameters']:>6}  {model['license']:<12}  "
            f"{cider:>6}  {'yes' if model['here'] else '':<4}  {model.get('source', '')}".rstrip()
        )
