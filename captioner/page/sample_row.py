"""The photos to try, below the drop zone."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from captioner.errors import CaptionerError
from captioner.samples import sample_photos


@dataclass(frozen=True)
class Sample:
    """A button of the row. src: the small picture on it, as a `data:` address."""

    name: str
    src: str


def samples() -> list[Path]:
    """The files of the photos; none where scikit-image is not installed."""
    try:
        return sample_photos()
    except CaptionerError:
        return []


def sample_row(photos: Sequence[Path]) -> list[Sample]:
    """The buttons of the row, in the order of the photos."""
    row = []
    for path in photos:
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((400, 300))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=80)
        source = base64.b64encode(file.getvalue()).decode()
        name = path.stem.removesuffix("_left")
        row.append(Sample(name, f"data:image/jpeg;base64,{source}"))
    return row
