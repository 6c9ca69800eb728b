"""Check a data set before training on it, and make what training would have to make.

    python -m train prepare --images train2017 --annotations captions_train2017.json
    python -m train prepare ... --shards-out shards --tokenizer tokenizer.json
    python -m train prepare ... --cache runs/cache --recipe builtin

Every photograph is decoded, so that a broken one is found now and not in the night.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from captioner.errors import DataError, PhotoError
from captioner.machine import cores
from captioner.photos import load_photo

from .data import Example, load_all
from .options import parser, recipe_of, run
from .recipe import Recipe
from .shards import write_shards

SHOWN = 5


def main(arguments: list[str] | None = None) -> int:
    made = parser("python -m train prepare", __doc__)
    made.add_argument("--report", type=Path, help="write every trouble found to this JSON file")
    made.add_argument("--tokenizer", type=Path, help="train the tokenizer and write it here")
    made.add_argument("--shards-out", type=Path, help="write the good photos as tar shards here")
    made.add_argument("--per-shard", type=int, default=1000, help="photos a shard")
    made.add_argument("--cache", type=Path, help="compute the recipe's cached features here")
    return run(_prepare, made.parse_args(arguments))


def _prepare(options: argparse.Namespace) -> int:
    recipe = recipe_of(options)
    every = load_all(options.images, options.annotations, options.shards, keep=True)
    examples = [e for e in every if e.captions]
    uncaptioned = [e for e in every if not e.captions]
    missing = [e for e in examples if e.member is None and not e.file.is_file()]
    gone = {id(e) for e in missing}
    present = [e for e in examples if id(e) not in gone]
    good, unreadable = _readable(present)
    captions = sum(len(e.captions) for e in good)
    print(f"{len(good)} photographs with {captions} captions can be trained on")
    troubles = {
        "missing": [str(e.file) for e in missing],
        "unreadable": unreadable,
        "uncaptioned": [str(e.file) for e in uncaptioned],
        "captions": [flaw for e in every for flaw in e.flaws],
    }
    for what, which in troubles.items():
        named = "captions that are empty or no text" if what == "captions" else what
        print(f"{len(which)} {named}" + (":" if which else ""))
        for line in which[:SHOWN]:
            print(f"    {line}")
        if len(which) > SHOWN:
            where = f"see {options.report}" if options.report else "--report FILE lists all"
            print(f"    ... and {len(which) - SHOWN} more ({where})")
    if options.report:
        options.report.write_text(json.dumps(troubles, indent=1) + "\n", encoding="utf-8")
    if not good:
        raise DataError("Nothing is left to train on.")
    if options.tokenizer:
        from captioner.tokenizer import CaptionTokenizer

        from .build import all_lines

        made = CaptionTokenizer.train(all_lines(good, options.text), recipe.vocab_size)
        options.tokenizer.write_text(made.to_json(), encoding="utf-8")
        print(f"tokenizer of {len(made)} tokens: {options.tokenizer}")
    if options.shards_out:
        bar = tqdm(_contents(good), total=len(good), desc="shards", unit="photo")
        count = write_shards(bar, options.shards_out, per_shard=options.per_shard)
        print(f"{count} photographs in shards: {options.shards_out}")
    if options.cache:
        _fill_cache(recipe, good, options.cache, options.text)
        print(f"cached features: {options.cache}")
    return 1 if missing or unreadable else 0


def _readable(examples: Sequence[Example]) -> tuple[list[Example], list[str]]:
    """The examples whose photograph can be decoded, and a sentence for each of the others."""

    def trouble(example: Example) -> str | None:
        try:
            load_photo(example.photo, min_side=64)
        except (PhotoError, OSError) as error:
            return str(error) if example.member is None else f"{example.file}: {error}"
        return None

    good, bad = [], []
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        # map() takes in all its inputs at once; a data set is a list anyway.
        found = pool.map(trouble, examples)
        for example, sentence in zip(
            tqdm(examples, desc="decoding", unit="photo"), found, strict=True
        ):
            if sentence is None:
                good.append(example)
            else:
                bad.append(sentence)
    return good, bad


def _contents(
    examples: Sequence[Example],
) -> Iterator[tuple[str, bytes, int | str, tuple[str, ...]]]:
    for e in examples:
        photo = e.photo
        data = photo if isinstance(photo, bytes) else photo.read_bytes()
        yield e.file.suffix.lower(), data, e.image_id, e.captions


def _fill_cache(
    recipe: Recipe, examples: Sequence[Example], cache: Path, text: Sequence[Path]
) -> None:
    """The features that `python -m train --cache` would compute at its beginning."""
    import tempfile

    from .loop import Trainer

    with tempfile.TemporaryDirectory() as folder:
        Trainer(recipe, Path(folder), examples, {}, text, cache=cache)
