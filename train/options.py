"""The options that `python -m train` and `python -m train prepare` share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.errors import DataError

from .settings import recipe_names

if TYPE_CHECKING:
    from .recipe import Recipe


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that name training data and a recipe."""
    made = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    recipes = ", ".join(recipe_names())
    made.add_argument("--recipe", default="builtin", help=f"{recipes}, or the path of a TOML file")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes",
        help="another value for a field of the recipe, such as model.width=512 or "
        "stage.scst.lr=1e-5; may be repeated",
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


def recipe_of(options: argparse.Namespace) -> "Recipe":
    """The recipe that the options name, with its changes. Raises DataError."""
    # It knows the stages, and they import torch, which is slow: a wrong option is told before.
    from .recipe import Recipe

    for change in options.changes:
        if "=" not in change:
            raise DataError(f"--set takes FIELD=VALUE, such as model.width=512; not {change!r}.")
    changes = dict(change.split("=", 1) for change in options.changes)
    return Recipe.load(options.recipe, changes)
