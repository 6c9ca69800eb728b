"""Train a captioner on COCO-format captions.

    python -m train --recipe builtin --out runs/builtin \\
        --images flickr8k/images --annotations flickr8k/captions_train.json \\
        --val flickr8k flickr8k/images flickr8k/captions_val.json \\
        --text text/coco_captions.txt.gz

    python -m train prepare --images ... --annotations ...     # check a data set first
    python -m train release runs/builtin/best --name ...       # put a model into the package

Several data sets: repeat --images and --annotations in pairs. Any field of the recipe can be set:
--set model.width=512 --set stage.cross_entropy.epochs=2. Interrupted, the same command continues
where it stopped. On many GPUs: torchrun --nproc-per-node 8 -m train ...; docs/training.md has more.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.errors import DataError
from captioner.exits import Exit, run
from captioner.files import replace

from .options import parser, recipe_of

if TYPE_CHECKING:
    from .recipe import Recipe

COMMANDS = ("prepare", "release")
STOPPED = "Stopped; the same command goes on from the state saved last."
WRITTEN = (
    "recipe.json", "tokenizer.json", "log.txt", "curves.jsonl", "state.safetensors",
    "best/config.json", "last/config.json",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `captioner.cli` does
    if arguments and arguments[0] in COMMANDS:
        command = import_module(f"train.{arguments[0]}")
        return command.main(arguments[1:])
    options = _parser().parse_args(arguments)
    return run(lambda: _train(options), stopped=STOPPED)


def _parser() -> argparse.ArgumentParser:
    made = parser("python -m train", __doc__)
    made.add_argument("--out", type=Path, default=None, help="default: runs/RECIPE")
    made.add_argument(
        "--val", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "ANNOTATIONS"),
        help="a validation set; may be repeated",
    )  # fmt: skip
    made.add_argument("--cache", type=Path, default=None, help="cached features; default OUT/cache")
    made.add_argument(
        "--resume", action="store_true",
        help="continue a run although the recipe has changed; refused where there is no run",
    )  # fmt: skip
    made.add_argument("--device", default=None, help="cpu, cuda, mps; default: the best")
    return made


def _train(options: argparse.Namespace) -> int:
    recipe = recipe_of(options)
    out = options.out or Path("runs") / recipe.name
    _check_folder(out, recipe, options.resume)
    import torch

    from captioner.annotations import AnnotatedImage
    from captioner.machine import choose_device

    from .data import load_all, load_examples
    from .loop import Trainer
    from .processes import joined
    from .setup import Setup

    train = load_all(options.images, options.annotations, options.shards)
    validation: dict[str, Sequence[AnnotatedImage]] = {
        n: load_examples(Path(i), a, split="val") for n, i, a in options.val
    }
    device = choose_device(options.device)
    with joined(device) as processes:
        if device.type == "cuda":
            device = torch.device("cuda", processes.local)
            torch.cuda.set_device(device)
        if processes.first:
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(recipe.to_dict(), indent=1) + "\n"
            replace(out / "recipe.json", text.encode())
        setup = Setup(
            recipe, out, train, validation, options.text, cache=options.cache,
            processes=processes, device=device,
        )  # fmt: skip
        Trainer(recipe, setup).run()
    return Exit.DONE


def _check_folder(out: Path, recipe: "Recipe", resume: bool) -> None:
    """A folder's run goes on with the setting it began with, or says what has changed."""
    from .recipe import flat

    before = _recipe_in(out)
    if before is None and (others := [name for name in WRITTEN if (out / name).exists()]):
        raise DataError(
            f"{out / others[0]} was not written by a training run, and would be replaced by this "
            "one: give another --out."
        )
    has_run = (out / "state.safetensors").exists()
    if resume and not has_run:
        raise DataError(f"There is no run in {out} to resume; leave out --resume to begin one.")
    if before is None or not has_run or resume:
        return
    try:
        old = flat(before)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"The run in {out} began with a recipe of another version of this program: begin a new "
            "run in another --out."
        ) from error
    now = flat(recipe.to_dict())
    changed = [f"{k} {old[k]!r} is now {now[k]!r}" for k in now if k in old and old[k] != now[k]]
    stages, others = ([s["name"] for s in r["stage"]] for r in (before, recipe.to_dict()))
    if stages != others:
        changed.append(f"the stages {', '.join(stages)} are now {', '.join(others)}")
    if changed:
        raise DataError(
            f"The run in {out} began with another recipe: {'; '.join(changed)}. Give --resume to "
            "go on with the new one, or another --out."
        )


def _recipe_in(out: Path) -> dict[str, Any] | None:
    """What a run has written to recipe.json in its folder; None where no run did."""
    try:
        found = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"stage", "epochs"} & found.keys() else None


if __name__ == "__main__":
    sys.exit(main())
