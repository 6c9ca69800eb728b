"""Train a captioner on COCO-format captions.

    python -m train --recipe builtin --out runs/builtin \\
        --images flickr8k/images --annotations flickr8k/captions_train.json \\
        --val flickr8k flickr8k/images flickr8k/captions_val.json \\
        --text text/coco_captions.txt.gz

    python -m train prepare --images ... --annotations ...     # check a data set first

Several data sets: repeat --images and --annotations in pairs. Any field of the recipe can be set:
--set epochs=2 --set lr=3e-4. Interrupted, the same command continues where it stopped. On many
GPUs: torchrun --nproc-per-node 8 -m train ...; docs/training.md has more.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.errors import DataError

from .options import parser, recipe_of, run
from .recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["prepare"]:
        from .prepare import main as prepare

        return prepare(arguments[1:])
    return run(_train, _parser().parse_args(arguments))


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
    _check_resume(out, recipe, options.resume)
    # torch is slow to import: a wrong option should be told before.
    from captioner.machine import choose_device

    from .data import Example, load_all, load_examples
    from .loop import Stopped, Trainer
    from .processes import join, leave

    train = load_all(options.images, options.annotations, options.shards)
    validation: dict[str, Sequence[Example]] = {
        n: load_examples(Path(i), a, split="val") for n, i, a in options.val
    }
    device = choose_device(options.device)
    processes = join(device)
    if device.type == "cuda":
        import torch

        device = torch.device("cuda", processes.local)
        torch.cuda.set_device(device)
    try:
        if processes.first:
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(recipe.to_dict(), indent=1) + "\n"
            (out / "recipe.json").write_text(text, encoding="utf-8")
        Trainer(
            recipe, out, train, validation, options.text, cache=options.cache,
            processes=processes, device=device,
        ).run()  # fmt: skip
    except Stopped:
        print("Stopped; the same command continues from here.", file=sys.stderr)
        return 130
    finally:
        leave()
    return 0


def _check_resume(out: Path, recipe: Recipe, resume: bool) -> None:
    """A folder's run goes on with the setting it began with, or says what has changed."""
    has_run = (out / "state.safetensors").exists()
    if resume and not has_run:
        raise DataError(f"There is no run in {out} to resume; leave out --resume to begin one.")
    if not has_run or resume:
        return
    try:
        before: dict[str, Any] = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = recipe.to_dict()
    changed = [k for k in now if k in before and before[k] != now[k]]
    if changed:
        told = ", ".join(f"{k} {before[k]!r} is now {now[k]!r}" for k in changed)
        raise DataError(
            f"The run in {out} began with another recipe: {told}. Give --resume to go on with the "
            "new one, or another --out."
        )


if __name__ == "__main__":
    sys.exit(main())
