"""Photographs with captions to learn from: what annotation files and tar shards name."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from captioner.annotations import AnnotatedImage, Annotations, located, read_annotations
from captioner.annotations.shards import read_shards
from captioner.errors import DataError

SPLITS = "train,restval"
"""What is trained on of Karpathy's file."""


def load_examples(
    images: Path, annotations: Path | str, *, split: str = SPLITS, keep: bool = False
) -> list[AnnotatedImage]:
    """The captioned photographs of an annotation file.

    Args:
        images: the folder of the photographs.
        annotations: a file that `read_annotations` reads; `FILE:SPLIT` names its splits.
        split: the splits to take where none is named, of a file that has them.
        keep: return also the photographs that have no caption or are not there.

    Raises DataError when the file cannot be read, or (without `keep`) a photograph is missing.
    """
    path, named = split_of(annotations)
    found = read_annotations(path, named, default=split)
    for image in found.images:
        if not image.name:
            raise DataError(f'{path}: image {image.image_id} needs a "file_name".')
    examples = list(_learnable(located(_in_order(found), [images])))
    if not keep:
        _refuse_missing(examples, images, path)
        examples = _captioned(examples, path)
    if not examples:
        raise DataError(f"{path} names no photograph with a caption.")
    return examples


def load_all(
    images: Sequence[Path],
    annotations: Sequence[Path | str],
    shards: Sequence[Path] = (),
    *,
    keep: bool = False,
) -> list[AnnotatedImage]:
    """Several data sets: pairs of a photo folder and its captions file, and tar shards. `keep` as
    for `load_examples`."""
    if len(images) != len(annotations):
        raise DataError(
            f"--images was given {len(images)} times and --annotations {len(annotations)} times; "
            "give them in pairs."
        )
    if not annotations and not shards:
        raise DataError("Name what to train on: --images with --annotations, or --shards.")
    pairs = zip(images, annotations, strict=True)
    examples = [e for pair in pairs for e in load_examples(*pair, keep=keep)]
    for path in shards:
        examples += load_shards(path, keep=keep)
    return examples


def load_shards(path: Path, *, keep: bool = False) -> list[AnnotatedImage]:
    """The captioned photographs of a tar file, or of all `*.tar` of a folder; with `keep` also
    those without a caption. Raises DataError where there is none."""
    examples = list(_learnable(read_shards(path)))
    if not keep:
        examples = _captioned(examples, path)
    if not examples:
        raise DataError(
            f"{path} holds no photograph with a caption: it needs KEY.jpg beside KEY.json or "
            "KEY.txt."
        )
    return examples


def split_of(annotations: Path | str) -> tuple[Path, str | None]:
    """`FILE:SPLIT` or a plain path (on Windows, C:\\... is a path)."""
    head, colon, tail = str(annotations).rpartition(":")
    if colon and Path(head).is_file() and not Path(annotations).exists():
        return Path(head), tail
    return Path(annotations), None


def _in_order(found: Annotations) -> list[AnnotatedImage]:
    """COCO's by their ids, whatever their order in the file, as pycocotools has them; batches
    follow from the order."""
    if found.format != "coco":
        return found.images
    return sorted(found.images, key=lambda i: (isinstance(i.image_id, str), i.image_id))


def _learnable(images: Iterable[AnnotatedImage]) -> Iterable[AnnotatedImage]:
    """The images without their empty captions, which become flaws, and without halves of surrogate
    pairs, which no tokenizer takes."""
    for image in images:
        texts = [c.encode("utf-8", "ignore").decode() for c in image.captions]
        good = tuple(c for c in texts if any(s.isprintable() and s != " " for s in c))
        flaws = (f"a caption of {image.name} is empty",) * (len(texts) - len(good))
        yield replace(image, captions=good, flaws=image.flaws + flaws)


def _captioned(examples: Sequence[AnnotatedImage], path: Path) -> list[AnnotatedImage]:
    if flaws := sum(len(example.flaws) for example in examples):
        print(
            f"Note: {flaws} captions of {path} are empty or no text, and are left out; "
            "python -m train prepare lists them.",
            file=sys.stderr,
        )
    return [example for example in examples if example.captions]


def _refuse_missing(examples: Sequence[AnnotatedImage], images: Path, path: Path) -> None:
    absent = [e for e in examples if e.captions and e.member is None and not e.file.is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(examples)} photographs of {path} are not in {images}; "
            f"the first is {absent[0].file.name}. python -m train prepare lists them all."
        )
