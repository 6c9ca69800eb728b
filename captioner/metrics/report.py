"""One self-contained page about a set of scored captions, to be read, sent and kept.

Everything is inside the file: styles, the histogram as SVG, the photos as small JPEGs. The page is
`templates/report.html`. Captions and names are other people's text and are escaped.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioner.annotations import PhotoFinder
from captioner.annotations.names import base_name, file_number
from captioner.html import render
from captioner.metrics.compare import Comparison
from captioner.metrics.matching import Matched
from captioner.metrics.readers import References
from captioner.metrics.scoring import Scores

SHOWN = 12  # captions from each end
THUMBNAIL = 480  # pixels of the longer side: sharp at twice the density on a card
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
BINS = 40
START = "<!doctype html>"
TITLES = ("<title>Scores of ", "<title>Caption scores<")


def write_report(
    path: Path,
    scores: Scores,
    refs: References,
    matched: Matched,
    *,
    images: Path | None = None,
    title: str = "",
    other: Matched | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        scores: what was measured; the first metric orders the captions.
        refs: the references of all images. matched: the captions that were scored.
        images: the folder of the photos, or None for a page without photos.
        title: what was scored.
        other: the captions compared with, whose sentences are shown beside.
        comparison: with them.

    Raises:
        OSError: when the page cannot be written.
    """
    leading, metric = next(iter(scores.metrics.items()))
    order = _order(scores)
    count = min(SHOWN, max(1, len(order) // 2))
    photos = _Photos(images)

    def cards(places: Sequence[int]) -> list[_Card]:
        return [
            _card(place, float(metric.per_image[place]), refs, matched, other, photos)
            for place in places
        ]

    page = render(
        "captioner.metrics",
        "report.html",
        heading=f"Scores of {title}" if title else "Caption scores",
        scores=scores,
        references=refs.path.name,
        intervals=metric.low is not None,
        comparison=comparison,
        leading=leading,
        histogram=_histogram(100 * metric.per_image, 100 * metric.value),
        best=cards(order[::-1][:count]),
        worst=cards(order[:count]),
        photos=photos,
    )
    path.write_text(page, encoding="utf-8")


def is_report(path: Path) -> bool:
    """Whether a file is a page that `write_report` wrote."""
    try:
        with path.open("rb") as file:
            head = file.read(400).decode("utf-8", "replace")
    except OSError:
        return False
    return head.startswith(START) and any(title in head for title in TITLES)


def _order(scores: Scores) -> list[int]:
    """Positions from the worst caption to the best by the first metric, ties by the others."""
    columns = [metric.per_image for metric in scores.metrics.values()]
    order: list[int] = np.lexsort(columns[::-1]).tolist()
    return order


def _histogram(values: np.ndarray, mean: float) -> dict[str, Any]:
    """How many photos have which score: 40 bars and a line at the corpus value, in the units of an
    SVG."""
    top = float(values.max(initial=0))
    step = next(s for s in (1, 2.5, 5, 10, 20, 25, 50, 100, 1000) if s * BINS >= top)
    bins = max(1, int(np.ceil(top / step)))
    # The last bar holds its right end too, so that the greatest value is in it.
    counts, _ = np.histogram(values, bins=bins, range=(0, bins * step))
    width, height, base = 720, 226, 190
    tallest = max(1, int(counts.max()))
    bar = width / bins
    bars = []
    for place, count in enumerate(counts.tolist()):
        tall = (base - 36) * count / tallest
        low = place * step
        photos = "photo" if count == 1 else "photos"
        bars.append(
            {
                "x": f"{place * bar + 1:.1f}",
                "y": f"{base - tall:.1f}",
                "width": f"{max(1, bar - 2):.1f}",
                "height": f"{tall:.1f}",
                "title": f"{low:g} to {low + step:g}: {count:,} {photos}",
            }
        )
    ticks = []
    every = max(1, -(-bins // 6))
    for place in range(0, bins + 1, every):
        anchor = "start" if place == 0 else "end" if place == bins else "middle"
        ticks.append({"x": f"{place * bar:.1f}", "anchor": anchor, "text": f"{place * step:g}"})
    at = min(width, mean / step * bar)
    side, offset = ("end", -6) if at > width * 0.7 else ("start", 6)
    return {
        "step": f"{step:g}", "tallest": tallest, "width": width, "height": height, "base": base,
        "bars": bars, "ticks": ticks, "mean": f"{at:.1f}", "label_x": f"{at + offset:.1f}",
        "label_side": side,
    }  # fmt: skip


@dataclass(frozen=True)
class _Card:
    """A caption on the page. picture: the photo as a data URI, or why there is none, or neither.
    other: the caption it is compared with."""

    caption: str
    references: list[str]
    label: str
    score: float
    picture: str
    problem: str
    other: str | None


def _card(
    place: int,
    score: float,
    refs: References,
    matched: Matched,
    other: Matched | None,
    photos: _Photos,
) -> _Card:
    image = matched.images[place]
    file, image_id = matched.files[place], refs.ids[image]
    picture, problem = photos.picture([file, refs.files[image]], image_id)
    return _Card(
        caption=matched.captions[place].strip(),
        references=[line.strip() for line in refs.captions[image]],
        label=Path(file).name if file else f"image {image_id}",
        score=score,
        picture=picture,
        problem=problem,
        other=other.captions[place].strip() if other else None,
    )


class _Photos:
    """The photos of a folder as data URIs; each photo that cannot be shown says so on its card."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.shown = self.absent = 0
        self._finder = PhotoFinder([folder]) if folder else None
        self._by_name: dict[str, Path] = {}
        self._by_number: dict[str, Path] = {}

    def picture(self, names: Sequence[str], image_id: str) -> tuple[str, str]:
        """The photo as a data URI, or why there is none; without a folder neither."""
        if self._finder is None:
            return "", ""
        path = self._find(self._finder, names, image_id)
        uri = _thumbnail(path) if path else None
        if uri is None:
            self.absent += 1
            return "", "photo cannot be read" if path else "photo not found"
        self.shown += 1
        return uri, ""

    def _find(self, finder: PhotoFinder, names: Sequence[str], image_id: str) -> Path | None:
        """By name, then by name anywhere below the folder, then by the number in the name."""
        if found := next((path for name in names if (path := finder.find(name))), None):
            return found
        if not self._by_name:
            for path in sorted(finder.folders[0].rglob("*")):
                if path.suffix.lower() in PHOTO_SUFFIXES:
                    self._by_name.setdefault(base_name(path.name), path)
                    self._by_number.setdefault(file_number(path.name), path)
        for name in names:
            if base_name(name) in self._by_name:
                return self._by_name[base_name(name)]
        number = image_id.lstrip("0") if re.fullmatch(r"\d+", image_id) else ""
        return self._by_number.get(number) if number else None


def _thumbnail(path: Path) -> str | None:
    """A small upright JPEG of a photo as a data URI; None when it is no readable photo."""
    from captioner.errors import PhotoError
    from captioner.photos import load_photo

    try:
        image = load_photo(path, min_side=THUMBNAIL).image
    except PhotoError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
