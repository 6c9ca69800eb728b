"""The things on COCO's photos: for each category a mask and the boxes, from an instances file."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from captioner.errors import DataError


@dataclass(frozen=True)
class Thing:
    """All things of one category, or of several, on a photo: mask and boxes (H, W) bool, of the
    photo's size, true on one of them."""

    mask: np.ndarray
    boxes: np.ndarray

    def __or__(self, other: "Thing") -> "Thing":
        return Thing(self.mask | other.mask, self.boxes | other.boxes)


class Instances:
    """An instances file of COCO. Raises DataError for another file."""

    def __init__(self, path: Path):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
                self.coco = COCO(str(path))
            self.names = {c["id"]: c["name"] for c in self.coco.loadCats(self.coco.getCatIds())}
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise DataError(
                f"{path} has no instances: it is to be a file such as instances_val2017.json."
            ) from error

    def photos(self) -> dict[int, str]:
        """The file names of the photos that have things, by id."""
        images = self.coco.imgs
        return {i: images[i]["file_name"] for i in sorted(images) if self.coco.getAnnIds(imgIds=i)}

    def categories(self, photo: int) -> set[str]:
        """The categories of the things on a photo."""
        return {self.names[a["category_id"]] for a in self._on(photo)}

    def thing(self, photo: int, categories: tuple[str, ...]) -> Thing | None:
        """What is on a photo of any of these categories; None where nothing is."""
        found = None
        for one in self._on(photo):
            if self.names[one["category_id"]] not in categories:
                continue
            mask = self.coco.annToMask(one).astype(bool)
            left, top, width, height = one["bbox"]
            boxes = np.zeros_like(mask)
            right, bottom = int(np.ceil(left + width)), int(np.ceil(top + height))
            boxes[int(top) : bottom, int(left) : right] = True
            made = Thing(mask, boxes)
            found = made if found is None else found | made
        return found if found is not None and found.mask.any() else None

    def _on(self, photo: int) -> list[dict]:
        found: list[dict] = self.coco.loadAnns(self.coco.getAnnIds(imgIds=photo))
        return found
