"""Train a captioner on COCO-format captions.

    python -m train --recipe builtin --out runs/builtin \\
        --images flickr8k/images --annotations flickr8k/captions_train.json \\
        --val flickr8k flickr8k/images flickr8k/captions_val.json \\
        --text text/coco_captions.txt.gz

Several data sets: repeat --images and --annotations in pairs. Any field of the recipe can be set:
--set epochs=2 --set lr=3e-4. Interrupted, the same command continues where it stopped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from captioner.errors import CaptionerError

from .recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", default="builtin", help="a file of train/recipes, or a path")
    parser.add_argument("--out", type=Path, default=None, help="default: runs/RECIPE")
    parser.add_argument("--images", type=Path, action="append", required=True)
    parser.add_argument("--annotations", type=Path, action="append", required=True)
    parser.add_argument(
        "--val", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "ANNOTATIONS")
    )
    parser.add_argument(
        "--text", type=Path, action="append", default=[], help="captions, one a line"
    )
    parser.add_argument(
        "--cache", type=Path, default=None, help="cached features; default OUT/cache"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes")
    options = parser.parse_args(arguments)
    try:
        changes = dict(c.split("=", 1) if "=" in c else (c, "") for c in options.changes)
        recipe = Recipe.load(options.recipe, changes)
        # torch is slow to import: a wrong option should be told before.
        from .data import Example, load_all, load_examples
        from .loop import Trainer

        out = options.out or Path("runs") / recipe.name
        train = load_all(options.images, options.annotations)
        validation: dict[str, Sequence[Example]] = {
            n: load_examples(Path(i), Path(a)) for n, i, a in options.val
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1) + "\n")
        Trainer(recipe, out, train, validation, options.text, cache=options.cache).run()
    except CaptionerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the same command continues from the last saved state.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
