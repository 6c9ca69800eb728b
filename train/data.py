"""Photographs with captions: COCO's captions files, Karpathy's splits, and tar shards."""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from captioner.errors import DataError

from .shards import Member, read_shards

# Karpathy's "restval" is what he took of COCO's validation photos for training.
KARPATHY = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}


@dataclass(frozen=True)
class Example:
    """One photograph and its reference captions.

    file: the photograph; for one inside a tar shard, its name there, and `member` says where.
    """

    file: Path
    image_id: int | str
    captions: tuple[str, ...]
    member: Member | None = None

    @property
    def photo(self) -> Path | bytes:
        """What `captioner.photos.load_photo` takes."""
        return self.file if self.member is None else self.member.read()


def load_examples(
    images: Path, annotations: Path | str, *, split: str = "train", keep: bool = False
) -> list[Example]:
    """The captioned photographs of a captions file.

    Args:
        images: the folder that the file's names start from.
        annotations: COCO's captions (`captions_*.json`), or Karpathy's `dataset_*.json`, of which
            one split is taken. `FILE:SPLIT` names the split here.
        split: of Karpathy's file: train (which includes restval), val, test.
        keep: return also the photographs that have no caption or are not there.

    Raises DataError when the file is neither, or (without `keep`) a photograph is missing.
    """
    path, split = _split_of(annotations, split)
    content = _read_json(path)
    examples = (
        _karpathy(content, images, path, split)
        if _is_karpathy(content)
        else _coco(content, images, path)
    )
    if not keep:
        _refuse_missing(examples, images, path)
        examples = [e for e in examples if e.captions]
    if not examples:
        raise DataError(f"{path} names no photograph with a caption.")
    return examples


def load_all(
    images: Sequence[Path],
    annotations: Sequence[Path | str],
    shards: Sequence[Path] = (),
    *,
    keep: bool = False,
) -> list[Example]:
    """Several data sets: pairs of a photo folder and its captions file, and tar shards. `keep` as
    for `load_examples`."""
    if len(images) != len(annotations):
        raise DataError(
            f"--images was given {len(images)} times and --annotations {len(annotations)} times; "
            "give them in pairs."
        )
    pairs = zip(images, annotations, strict=True)
    examples = [e for pair in pairs for e in load_examples(*pair, keep=keep)]
    for path in shards:
        examples += load_shards(path, keep=keep)
    if not examples:
        raise DataError("Name what to train on: --images with --annotations, or --shards.")
    return examples


def load_shards(path: Path, *, keep: bool = False) -> list[Example]:
    """The captioned photographs of a tar file, or of all `*.tar` of a folder; with `keep` also
    those without a caption."""
    return [
        Example(Path(s.member.name), s.image_id, s.captions, s.member)
        for s in read_shards(path)
        if keep or s.captions
    ]


def _split_of(annotations: Path | str, split: str) -> tuple[Path, str]:
    """`FILE:SPLIT` or a plain path (on Windows, C:\\... is a path)."""
    head, colon, tail = str(annotations).rpartition(":")
    if colon and tail in KARPATHY:
        return Path(head), tail
    return Path(annotations), split


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"There is no captions file {path}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as captions: {error}.") from error


def _is_karpathy(content: Any) -> bool:
    try:
        return "sentences" in content["images"][0]
    except (TypeError, KeyError, IndexError):
        return False


def _coco(content: Any, images: Path, path: Path) -> list[Example]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = content
            coco.createIndex()
        captions = {i: [a["caption"] for a in coco.imgToAnns[i]] for i in coco.imgs}
        return [
            Example(images / info["file_name"], int(i), tuple(captions[i]))
            for i, info in sorted(coco.imgs.items())
        ]
    except (OSError, ValueError, KeyError, AssertionError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as a COCO captions file ({type(error).__name__}: {error})."
        ) from error


def _karpathy(content: Any, images: Path, path: Path, split: str) -> list[Example]:
    try:
        return [
            Example(
                images / image.get("filepath", "") / image["filename"],
                int(image.get("cocoid", image["imgid"])),
                tuple(sentence["raw"] for sentence in image["sentences"]),
            )
            for image in content["images"]
            if image["split"] in KARPATHY[split]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as Karpathy's splits ({type(error).__name__}: {error})."
        ) from error


def _refuse_missing(examples: Sequence[Example], images: Path, path: Path) -> None:
    absent = [e.file for e in examples if e.captions and not e.file.is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(examples)} photographs of {path} are not in {images}; "
            f"the first is {absent[0].name}. python -m train prepare lists them all."
        )
