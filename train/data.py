"""Photographs with captions, from COCO-format files, and what augmentation does to both."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from torchvision.transforms import v2

from captioner.errors import DataError, PhotoError
from captioner.images import load_photo, to_square


@dataclass(frozen=True)
class Example:
    """One photograph and its reference captions."""

    file: Path
    image_id: int
    captions: tuple[str, ...]


def load_examples(images: Path, annotations: Path) -> list[Example]:
    """Read a COCO captions file; photos without a caption are left out.

    Raises DataError when the file is not COCO captions or a photograph is missing.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(annotations))
        captions = {i: [a["caption"] for a in coco.imgToAnns[i]] for i in coco.imgs}
    except (OSError, ValueError, KeyError, AssertionError, TypeError) as error:
        raise DataError(
            f"{annotations} cannot be read as a COCO captions file "
            f"({type(error).__name__}: {error})."
        ) from error
    examples = [
        Example(images / info["file_name"], int(i), tuple(captions[i]))
        for i, info in sorted(coco.imgs.items())
        if captions[i]
    ]
    missing = [e.file for e in examples if not e.file.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(examples)} photographs of {annotations} are not in {images}; "
            f"the first is {missing[0].name}."
        )
    if not examples:
        raise DataError(f"{annotations} names no photograph with a caption.")
    return examples


def load_all(images: Sequence[Path], annotations: Sequence[Path]) -> list[Example]:
    """Several data sets, as pairs of a photo folder and its captions file."""
    if len(images) != len(annotations):
        raise DataError(
            f"--images was given {len(images)} times and --annotations {len(annotations)} times; "
            "give them in pairs."
        )
    return [e for pair in zip(images, annotations, strict=True) for e in load_examples(*pair)]


def swap_sides(caption: str) -> str:
    """What a caption says of the mirrored photograph: left becomes right, and right left."""

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        other = {"left": "right", "right": "left"}[word.lower()]
        return other.capitalize() if word[0].isupper() else other

    return re.sub(r"\b(left|right)\b", swap, caption, flags=re.IGNORECASE)


def flipped(view: int, index: int, seed: int) -> bool:
    """Whether this view of photo `index` is mirrored, at every visit alike."""
    if view < 2:
        return view == 1
    return bool(np.random.default_rng((seed, view, index)).random() < 0.5)


class Views(torch.utils.data.Dataset):
    """One view of every photograph as uint8 (S, S, 3): view 0 as it is, view 1 mirrored, further
    views randomly cropped, mirrored and coloured, each the same at every visit."""

    def __init__(self, examples: Sequence[Example], view: int, size: int, seed: int = 0):
        self.examples = examples
        self.view = view
        self.size = size
        self.seed = seed
        self.colour = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.02)
        self.crop = v2.RandomResizedCrop(size, scale=(0.55, 1.0), ratio=(0.75, 1.33))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> torch.Tensor:
        file = self.examples[index].file
        try:
            photo = load_photo(file, min_side=self.size)
            pixels = torch.from_numpy(to_square(photo, self.size).copy())
        except PhotoError as error:
            raise DataError(f"{error} Take it out of the training set.") from error
        if self.view >= 2:
            # torchvision draws from torch's global generator: a fork keeps the caller's state.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(hash((self.seed, self.view, index)) % 2**31)
                pixels = self._augment(photo.image)
        if flipped(self.view, index, self.seed):
            pixels = pixels.flip(1)
        return pixels

    def _augment(self, image: object) -> torch.Tensor:
        tensor = v2.functional.pil_to_tensor(image)
        return self.colour(self.crop(tensor)).permute(1, 2, 0).contiguous()
