"""Which things are on a photo, as far as the detector beside a model's encoder can tell.

    python -m eval things --images val2017 --instances instances_val2017.json

For each of COCO's categories the photos are ranked by its greatest score on a patch; the average
precision of that order against the instances, and its mean over the categories that occur.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from captioner.captioner import load
from captioner.errors import DataError
from captioner.exits import run
from captioner.model import CaptionModel
from captioner.objects import categories
from captioner.photos import load_photo, to_square

from .common import add_json, parser, print_json
from .instances import Instances
from .pointing import average_precision


def main(arguments: list[str] | None = None) -> int:
    made = parser("things", __doc__)
    made.add_argument("--model", help="a folder; default: the model in the box")
    made.add_argument("--images", type=Path, required=True, help="the folder of the photographs")
    made.add_argument("--instances", type=Path, required=True, help="COCO's instances")
    add_json(made)
    options = made.parse_args(arguments)
    return run(lambda: _things(options))


def _things(options: argparse.Namespace) -> None:
    model = load(options.model, device="cpu", dtype="float32").own
    things = model.encoder.things if isinstance(model, CaptionModel) else 0
    if not things:
        raise DataError("The model has no detector beside its encoder: --model names one that has.")
    instances = Instances(options.instances)
    photos = {i: name for i, name in instances.photos().items() if (options.images / name).exists()}
    if not photos:
        raise DataError(f"No photograph of {options.instances} is in {options.images}.")
    scores, there = [], []
    with torch.inference_mode():
        for photo, name in photos.items():
            square = to_square(load_photo(options.images / name), model.side)
            found = model.encode(square[None])[0, :, -things:]
            scores.append(found.amax(0).numpy())
            present = instances.categories(photo)
            there.append([category in present for category in categories()])
    precisions = average_precisions(np.array(scores), np.array(there))
    figures = {
        "photos": len(photos),
        "categories": len(precisions),
        "mean_average_precision": round(float(np.mean(precisions)), 4),
    }
    if options.json:
        print_json(figures)
        return
    print(
        f"{len(photos)} photos, {len(precisions)} categories: mean average precision "
        f"{figures['mean_average_precision']:.3f}."
    )


def average_precisions(scores: np.ndarray, there: np.ndarray) -> list[float]:
    """Of each category that occurs: scores (P, K) and whether it is on the photo (P, K) bool."""
    pairs = zip(scores.T, there.T, strict=True)
    return [average_precision(values, true) for values, true in pairs if true.any()]
