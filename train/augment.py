"""What augmentation does to a photograph, and to what its captions say of left and right."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from captioner.annotations import AnnotatedImage
from captioner.errors import DataError, PhotoError
from captioner.photos import load_photo, to_square

# Views 0 and 1 are the photograph and its mirror image; from here on views are random ones.
FIRST_RANDOM_VIEW = 2
# Of random views. Not the hue: that alone would take longer than all the rest.
COLOUR = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
CROP = {"scale": (0.55, 1.0), "ratio": (0.75, 1.33)}


def flipped(view: int, index: int, seed: int = 0) -> bool:
    """Whether this view of photo `index` is mirrored, at every visit alike."""
    if view < FIRST_RANDOM_VIEW:
        return view == 1
    return bool(np.random.default_rng((seed, view, index)).random() < 0.5)


def swap_sides(caption: str) -> str:
    """What a caption says of the mirrored photograph: left becomes right, and right left."""

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        other = {"left": "right", "right": "left"}[word.lower()]
        return other.capitalize() if word[0].isupper() else other

    return re.sub(r"\b(left|right)\b", swap, caption, flags=re.IGNORECASE)


def cropped(maps: Tensor, orders: Sequence[np.random.Generator], smallest: float) -> Tensor:
    """Feature maps (n, C, h, w), each cropped at random to a share of its area in [smallest, 1]
    and brought back to its size: what a random resized crop of the photograph gives a
    convolutional trunk, nearly, and for nothing."""
    boxes = []
    for order in orders:
        area, ratio = order.uniform(smallest, 1), np.exp(order.uniform(-0.28, 0.28))
        sides = np.minimum(1, np.sqrt([area * ratio, area / ratio]))  # width, height
        centre = order.uniform(-1, 1, 2) * (1 - sides)
        (width, height), (x, y) = sides, centre
        boxes.append([[width, 0, x], [0, height, y]])
    theta = torch.tensor(boxes, dtype=maps.dtype, device=maps.device)
    grid = nn.functional.affine_grid(theta, list(maps.shape), align_corners=False)
    found = nn.functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return found.contiguous(memory_format=torch.channels_last)


class Views(torch.utils.data.Dataset):
    """Views of photographs as uint8 (S, S, 3), by (index, view): view 0 as it is, view 1 mirrored,
    further views randomly cropped, mirrored and coloured, each the same at every visit."""

    def __init__(self, examples: Sequence[AnnotatedImage], size: int, seed: int = 0):
        self.examples = examples
        self.size = size
        self.seed = seed
        self.colour = v2.ColorJitter(**COLOUR)
        self.crop = v2.RandomResizedCrop(size, **CROP)

    def settings(self) -> str:
        """What the views of a photograph follow from."""
        return repr((self.size, self.seed, FIRST_RANDOM_VIEW, self.crop, self.colour))

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        index, view = key
        example = self.examples[index]
        try:
            photo = load_photo(example.photo, min_side=self.size)
        except (PhotoError, OSError) as error:
            raise DataError(f"{example.file}: {error} Take it out of the training set.") from error
        if view < FIRST_RANDOM_VIEW:
            pixels = torch.from_numpy(to_square(photo, self.size).copy())
        else:
            # torchvision draws from torch's global generator: a fork keeps the caller's state.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(hash((self.seed, view, index)) % 2**31)
                pixels = self._augment(photo.image)
        return pixels.flip(1) if flipped(view, index, self.seed) else pixels

    def _augment(self, image: Any) -> torch.Tensor:
        tensor = v2.functional.pil_to_tensor(image)
        return self.colour(self.crop(tensor)).permute(1, 2, 0).contiguous()
