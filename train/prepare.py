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

from captioner.annotations import AnnotatedImage
from captioner.errors import DataError, ModelError, PhotoError
from captioner.exits import Exit, run
from captioner.files import replace
from captioner.machine import cores
from captioner.outputs import Guard, begins, identity
from captioner.photos import load_photo

from .data import load_all, split_of
from .options import parser, recipe_of
from .settings import Tables
from .shards import is_our_shard, write_shards

SHOWN = 5
REPORT = '{\n "missing": ['


def main(arguments: list[str] | None = None) -> int:
    made = parser("python -m train prepare", __doc__)
    made.add_argument("--report", type=Path, help="write every trouble found to this JSON file")
    made.add_argument("--tokenizer", type=Path, help="train the tokenizer and write it here")
    made.add_argument("--shards-out", type=Path, help="write the good photos as tar shards here")
    made.add_argument("--per-shard", type=int, default=1000, help="photos a shard")
    made.add_argument("--cache", type=Path, help="compute the recipe's cached features here")
    made.add_argument(
        "--overwrite", action="store_true",
        help="replace files that are there already and are not ours; never one that is read",
    )  # fmt: skip
    options = made.parse_args(arguments)
    return run(lambda: _prepare(options), stopped="Stopped; the same command begins again.")


def _prepare(options: argparse.Namespace) -> int:
    recipe = recipe_of(options)
    if options.cache and recipe.data.features != "cached":
        raise DataError(f'--cache: the recipe {recipe.name} has data.features = "live", no cache.')
    if options.per_shard < 1:
        raise DataError("--per-shard is at least 1.")
    _check_outputs(options)
    every = _examples(options)
    examples = [e for e in every if e.captions]
    missing = [e for e in examples if e.member is None and not e.file.is_file()]
    gone = {id(e) for e in missing}
    good, unreadable = _readable([e for e in examples if id(e) not in gone])
    _tell(options, good, {
        "missing": [str(e.file) for e in missing],
        "unreadable": unreadable,
        "uncaptioned": [str(e.file) for e in every if not e.captions],
        "captions": [flaw for e in every for flaw in e.flaws],
    })  # fmt: skip
    if not good:
        raise DataError("Nothing is left to train on.")
    if options.tokenizer:
        from captioner.tokenizer import CaptionTokenizer

        from .build import all_lines

        made = CaptionTokenizer.train(all_lines(good, options.text), recipe.model.vocab_size)
        replace(options.tokenizer, made.to_json().encode())
        print(f"tokenizer of {len(made)} tokens: {options.tokenizer}")
    if options.shards_out:
        _write_shards(good, options.shards_out, options.per_shard)
    if options.cache:
        _fill_cache(recipe, good, options.cache, options.text)
        print(f"cached features: {options.cache}")
    return Exit.SOME_PHOTOS if missing or unreadable else Exit.DONE


def _examples(options: argparse.Namespace) -> list[AnnotatedImage]:
    return load_all(options.images, options.annotations, options.shards, keep=True)


def _check_outputs(options: argparse.Namespace) -> None:
    """Raises CaptionerError where an output would replace what is read, or a file of somebody."""
    tars = [tar for path in options.shards for tar in (path, *path.glob("*.tar"))]
    guard = Guard(
        [*(split_of(a)[0] for a in options.annotations), *options.text, *tars],
        overwrite=options.overwrite,
        more=lambda: (e.file for e in _examples(options)),
    )
    ours = {"report": begins(REPORT.encode()), "tokenizer": _is_tokenizer}
    for name, recognised in ours.items():
        if path := getattr(options, name):
            if not path.parent.is_dir():
                raise DataError(f"--{name} {path}: there is no such folder.")
            guard.check(path, f"--{name}", recognised)
    if options.shards_out:
        if options.shards_out.exists() and identity(options.shards_out) in map(
            identity, options.shards
        ):
            raise DataError("--shards-out is what --shards reads: name another folder.")
        for path in (*_shards_in(options.shards_out), options.shards_out / "shard.part"):
            guard.check_each(path, "--shards-out", is_our_shard)


def _tell(
    options: argparse.Namespace, good: Sequence[AnnotatedImage], troubles: dict[str, list[str]]
) -> None:
    """What can be trained on and what cannot, and why: printed, and whole in the report."""
    captions = sum(len(e.captions) for e in good)
    print(f"{len(good)} photographs with {captions} captions can be trained on")
    for what, which in troubles.items():
        named = "captions that are empty or no text" if what == "captions" else what
        print(f"{len(which)} {named}" + (":" if which else ""))
        for line in which[:SHOWN]:
            print(f"    {line}")
        if len(which) > SHOWN:
            where = f"see {options.report}" if options.report else "--report FILE lists all"
            print(f"    ... and {len(which) - SHOWN} more ({where})")
    if options.report:
        replace(options.report, (json.dumps(troubles, indent=1) + "\n").encode())


def _readable(examples: Sequence[AnnotatedImage]) -> tuple[list[AnnotatedImage], list[str]]:
    """The examples whose photograph can be decoded, and a sentence for each of the others."""

    def trouble(example: AnnotatedImage) -> str | None:
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


def _write_shards(examples: Sequence[AnnotatedImage], folder: Path, per_shard: int) -> None:
    """The photographs as shards, in place of those of an earlier run."""
    before = set(_shards_in(folder))
    bar = tqdm(_contents(examples), total=len(examples), desc="shards", unit="photo")
    count = write_shards(bar, folder, per_shard=per_shard)
    written = {folder / f"shard-{n:05d}.tar" for n in range(-(-count // per_shard))}
    for path in filter(is_our_shard, before - written):
        path.unlink()  # or they would be trained on together with the new ones
    print(f"{count} photographs in shards: {folder}")


def _contents(
    examples: Sequence[AnnotatedImage],
) -> Iterator[tuple[str, bytes, int | str, tuple[str, ...]]]:
    for e in examples:
        photo = e.photo
        data = photo if isinstance(photo, bytes) else photo.read_bytes()
        yield e.file.suffix.lower(), data, e.image_id, e.captions


def _shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.tar"))


def _is_tokenizer(path: Path) -> bool:
    from captioner.tokenizer import CaptionTokenizer

    try:
        CaptionTokenizer.load(path)
    except (ModelError, OSError, ValueError):
        return False
    return True


def _fill_cache(
    recipe: Tables, examples: Sequence[AnnotatedImage], cache: Path, text: Sequence[Path]
) -> None:
    """The features that `python -m train --cache` would compute at its beginning."""
    import tempfile

    from .setup import Setup

    with tempfile.TemporaryDirectory() as folder:
        Setup(recipe, Path(folder), examples, {}, text, cache=cache)
