"""The options that `python -m train` and `python -m train prepare` share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from captioner.errors import CaptionerError

from .recipe import RECIPES, Recipe


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that name training data and a recipe."""
    made = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
    made.add_argument("--recipe", default="builtin", help=f"{known}, or the path of a TOML file")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes",
        help="another value for a field of the recipe; may be repeated",
    )  # fmt: skip
    made.add_argument("--images", type=Path, action="append", default=[], metavar="DIR")
    made.add_argument(
        "--annotations", action="append", default=[], metavar="FILE",
        help="COCO captions, JSON lines, or Karpathy's dataset_*.json (its train and restval; "
        "FILE:SPLIT takes others, several joined by commas)",
    )  # fmt: skip
    made.add_argument(
        "--shards", type=Path, action="append", default=[], metavar="DIR",
        help="WebDataset tar shards: a tar, or a folder of them",
    )  # fmt: skip
    made.add_argument(
        "--text", type=Path, action="append", default=[], metavar="FILE",
        help="captions, one a line",
    )  # fmt: skip
    return made


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that the options name, with its changes. Raises DataError."""
    changes = dict(c.split("=", 1) if "=" in c else (c, "") for c in options.changes)
    return Recipe.load(options.recipe, changes)


def run(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """The command's exit status; a user's mistake is a sentence and 1, an interruption 130."""
    try:
        return command(options)
    except CaptionerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from what has been saved.", file=sys.stderr)
        return 130
