"""Annotation files, read in one way for scoring, for the folder job and for training.

    found = read_annotations("dataset_coco.json", "val")
    for image in located(found.images, [Path("coco/images")]):
        print(image.image_id, image.file, image.captions)

An annotation file is COCO's (`captions_*.json`), Karpathy's `dataset_*.json`, JSON lines, or tar
shards as WebDataset and img2dataset have them. docs/annotations.md has more.
Imports no torch.
"""

from .locate import PhotoFinder, located
from .read import SPLITS, Annotations, read_annotations
from .record import AnnotatedImage, Member

__all__ = [
    "SPLITS",
    "AnnotatedImage",
    "Annotations",
    "Member",
    "PhotoFinder",
    "located",
    "read_annotations",
]
