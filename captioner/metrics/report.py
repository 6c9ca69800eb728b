"""One self-contained page about a set of scored captions, to be read, sent and kept.

Everything is inside the file: styles, the histogram as SVG, the photos as small JPEGs. Captions
and names are other people's text and are escaped.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from captioner.metrics.compare import Comparison
from captioner.metrics.matching import Matched, file_number
from captioner.metrics.readers import References
from captioner.metrics.scoring import Metric, Scores

SHOWN = 12  # captions from each end
THUMBNAIL = 480  # pixels of the longer side: sharp at twice the density on a card
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
BINS = 40


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
    name, metric = next(iter(scores.metrics.items()))
    order = _order(scores)
    count = min(SHOWN, max(1, len(order) // 2))
    photos = _Photos(images)

    def cards(places: Sequence[int]) -> str:
        return "".join(_card(place, name, metric, refs, matched, other, photos) for place in places)

    best, worst = cards(order[::-1][:count]), cards(order[:count])
    compared = _comparison(comparison) if comparison else ""
    heading = f"Scores of {title}" if title else "Caption scores"
    path.write_text(
        _PAGE.format(
            title=escape(heading),
            style=_STYLE,
            subtitle=(
                f"{scores.images:,} photos against {scores.references:,} human captions of "
                f"<span class=path>{escape(refs.path.name)}</span>"
            ),
            tiles="".join(_tile(*item, first=item[0] == name) for item in scores.metrics.items()),
            interval_note=_INTERVAL_NOTE if metric.low is not None else "",
            compared=compared,
            name=escape(name),
            histogram=_histogram(100 * metric.per_image, 100 * metric.value, name),
            best=best,
            worst=worst,
            photo_note=photos.note(),
            signature=escape(scores.signature),
        ),
        encoding="utf-8",
    )


def _order(scores: Scores) -> list[int]:
    """Positions from the worst caption to the best by the first metric, ties by the others."""
    columns = [metric.per_image for metric in scores.metrics.values()]
    return np.lexsort(columns[::-1]).tolist()


def _tile(name: str, metric: Metric, *, first: bool) -> str:
    span = ""
    if metric.low is not None and metric.high is not None:
        span = f"<p class=span>{100 * metric.low:.1f} to {100 * metric.high:.1f}</p>"
    kind = "tile lead" if first else "tile"
    value = f"{100 * metric.value:.1f}"
    return f"<div class='{kind}'><h2>{escape(name)}</h2><p class=value>{value}</p>{span}</div>"


def _comparison(comparison: Comparison) -> str:
    rows = []
    for name, d in comparison.differences.items():
        mark = "" if not d.clear else " class=up" if d.difference > 0 else " class=down"
        rows.append(
            f"<tr><th scope=row>{escape(name)}</th><td>{100 * d.value:.1f}</td>"
            f"<td>{100 * d.other:.1f}</td><td{mark}>{100 * d.difference:+.1f}</td>"
            f"<td>{100 * d.low:+.1f} to {100 * d.high:+.1f}</td></tr>"
        )
    return (
        f"<section><h2>Comparison</h2><p class=verdict>{escape(comparison.verdict())}</p>"
        "<div class=scroll><table><thead><tr><th></th>"
        "<th scope=col>these</th><th scope=col>other</th><th scope=col>difference</th>"
        "<th scope=col>95% interval</th></tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table></div></section>"
    )


def _histogram(values: np.ndarray, mean: float, name: str) -> str:
    """How many photos have which score: an inline SVG of 40 bars and a line at the corpus value."""
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
            f"<rect x='{place * bar + 1:.1f}' y='{base - tall:.1f}' width='{max(1, bar - 2):.1f}' "
            f"height='{tall:.1f}' rx='2'><title>{low:g} to {low + step:g}: {count:,} {photos}"
            "</title></rect>"
        )
    ticks = []
    every = max(1, -(-bins // 6))
    for place in range(0, bins + 1, every):
        anchor = "start" if place == 0 else "end" if place == bins else "middle"
        ticks.append(
            f"<text x='{place * bar:.1f}' y='{height - 8}' text-anchor='{anchor}'>"
            f"{place * step:g}</text>"
        )
    at = min(width, mean / step * bar)
    side, offset = ("end", -6) if at > width * 0.7 else ("start", 6)
    label = f"{name} of the set: {mean:.1f}"
    return (
        f"<p class=hint>A bar is {step:g} points of {escape(name)} wide; the tallest stands for "
        f"{tallest:,} photos.</p>"
        f"<svg viewBox='0 0 {width} {height}' role=img aria-label='Histogram of {escape(name)} "
        f"per photo'><g class=bars>{''.join(bars)}</g><line class=axis x1=0 x2={width} y1={base} "
        f"y2={base} /><line class=mean x1='{at:.1f}' x2='{at:.1f}' y1=4 y2={base} />"
        f"<text class=meantext x='{at + offset:.1f}' y=24 text-anchor='{side}'>{escape(label)}"
        f"</text>{''.join(ticks)}</svg>"
    )


def _card(
    place: int,
    name: str,
    metric: Metric,
    refs: References,
    matched: Matched,
    other: Matched | None,
    photos: _Photos,
) -> str:
    image = matched.images[place]
    caption = matched.captions[place].strip()
    file, image_id = matched.files[place], refs.ids[image]
    picture = photos.picture([file, refs.files[image]], image_id, caption)
    rival = ""
    if other:
        rival = f"<p class=rival><b>Other</b> {escape(other.captions[place].strip())}</p>"
    lines = "".join(f"<li>{escape(line.strip())}</li>" for line in refs.captions[image])
    label = Path(file).name if file else f"image {image_id}"
    return (
        f"<article>{picture}<div class=text><p class=caption>{escape(caption)}</p>{rival}"
        f"<ul>{lines}</ul><p class=meta><span class=path>{escape(label)}</span>"
        f"<span class=score>{escape(name)} {100 * metric.per_image[place]:.1f}</span></p>"
        "</div></article>"
    )


class _Photos:
    """The photos of a folder as data URIs; each photo that cannot be shown says so on its card."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.shown = self.absent = 0
        self._by_name: dict[str, Path] = {}
        self._by_number: dict[str, Path] = {}

    def picture(self, names: Sequence[str], image_id: str, alt: str) -> str:
        """The <img> of a photo, a box that says why not, or nothing without a folder."""
        if self.folder is None:
            return ""
        path = self._find(names, image_id)
        uri = _thumbnail(path) if path else None
        if uri is None:
            self.absent += 1
            why = "photo cannot be read" if path else "photo not found"
            return f"<div class=nophoto>{why}</div>"
        self.shown += 1
        return f"<img loading=lazy alt='{escape(alt)}' src='{uri}'>"

    def note(self) -> str:
        """A sentence under the page when photos are missing."""
        if self.folder is None:
            return "<p class=note>Without photos: add <code>--images DIR</code> to show them.</p>"
        if self.absent:
            return (
                f"<p class=note>{self.absent} of {self.absent + self.shown} photos were not found "
                f"in <span class=path>{escape(str(self.folder))}</span> or cannot be read.</p>"
            )
        return ""

    def _find(self, names: Sequence[str], image_id: str) -> Path | None:
        """By path, then by file name anywhere below the folder, then by the number in the name."""
        assert self.folder is not None
        for name in names:
            for tail in (name, Path(name).name):
                if tail and (self.folder / tail).is_file():
                    return self.folder / tail
        if not self._by_name:
            for path in sorted(self.folder.rglob("*")):
                if path.suffix.lower() in PHOTO_SUFFIXES:
                    self._by_name.setdefault(path.name, path)
                    self._by_number.setdefault(file_number(path.name), path)
        for name in names:
            if Path(name).name in self._by_name:
                return self._by_name[Path(name).name]
        number = image_id.lstrip("0") if re.fullmatch(r"\d+", image_id) else ""
        return self._by_number.get(number) if number else None


def _thumbnail(path: Path) -> str | None:
    """A small upright JPEG of a photo as a data URI; None when it is no readable photo."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as photo:
            photo.draft("RGB", (THUMBNAIL, THUMBNAIL))
            upright = ImageOps.exif_transpose(photo).convert("RGB")
            upright.thumbnail((THUMBNAIL, THUMBNAIL))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    file = io.BytesIO()
    upright.save(file, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


_STYLE = """
:root { color-scheme: light dark; --ground: #f6f5f2; --card: #ffffff; --ink: #1d1f23;
  --soft: #626770; --line: #e2e0da; --accent: #2f6f5e; --bar: #9cc3b5; --good: #1f7a4d;
  --bad: #b3402a; }
@media (prefers-color-scheme: dark) { :root { --ground: #15171a; --card: #1e2125; --ink: #eceae5;
  --soft: #a0a5ad; --line: #31353b; --accent: #7fcbb2; --bar: #3f7263; --good: #6fd09b;
  --bad: #f08d76; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; font-weight: 650;
  overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 12px; font-weight: 650; }
section { margin-top: 44px; }
p { margin: 0; }
.sub, .note, .hint { color: var(--soft); }
.hint { margin: -8px 0 16px; font-size: 15px; }
.note { margin-top: 28px; font-size: 14px; }
.path { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px;
  margin-top: 28px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 16px; }
.tile h2 { font-size: 14px; color: var(--soft); margin: 0; font-weight: 500; }
.tile .value { font-size: 28px; line-height: 1.3; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.tile .span { font-size: 13px; color: var(--soft); font-variant-numeric: tabular-nums; }
.lead { border-color: var(--accent); }
.lead .value { color: var(--accent); }
.under { margin-top: 10px; font-size: 14px; color: var(--soft); }
svg { display: block; width: 100%; height: auto; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; padding: 16px; }
.bars rect { fill: var(--bar); }
.bars rect:hover { fill: var(--accent); }
svg text { font-size: 10px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.axis { stroke: var(--line); }
.mean { stroke: var(--accent); stroke-width: 2; stroke-dasharray: 4 3; }
svg .meantext { fill: var(--accent); font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(256px, 1fr)); gap: 16px; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; display: flex; flex-direction: column; }
article img, .nophoto { width: 100%; aspect-ratio: 4 / 3; object-fit: contain;
  background: var(--ground); border-bottom: 1px solid var(--line); }
.nophoto { display: grid; place-items: center; color: var(--soft); font-size: 14px; }
.text { padding: 14px 16px; display: flex; flex-direction: column; flex: 1; }
.caption { font-weight: 600; overflow-wrap: anywhere; }
.rival { margin-top: 6px; font-size: 15px; overflow-wrap: anywhere; }
.rival b { color: var(--soft); font-weight: 500; }
ul { margin: 10px 0 14px; padding: 0 0 0 14px; border-left: 2px solid var(--line);
  list-style: none; color: var(--soft); font-size: 14px; }
li + li { margin-top: 4px; }
li { overflow-wrap: anywhere; }
.meta { margin-top: auto; display: flex; justify-content: space-between; gap: 12px;
  font-size: 13px; color: var(--soft); }
.score { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }
.best .score { color: var(--good); }
.worst .score { color: var(--bad); }
.verdict { margin-bottom: 14px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 16px; text-align: right; white-space: nowrap; font-size: 15px; }
th { font-weight: 500; color: var(--soft); }
th[scope=row] { text-align: left; }
tbody tr { border-top: 1px solid var(--line); }
.up { color: var(--good); font-weight: 600; }
.down { color: var(--bad); font-weight: 600; }
footer { margin-top: 48px; padding-top: 16px; border-top: 1px solid var(--line);
  font-size: 13px; color: var(--soft); }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
@media (max-width: 520px) { main { padding: 24px 14px 48px; } h1 { font-size: 23px; }
  .tiles { grid-template-columns: repeat(2, 1fr); } svg { padding: 8px; }
  svg text { font-size: 26px; }
  th, td { padding: 8px 9px; font-size: 14px; } }
@media print { article { break-inside: avoid; } }
"""

_INTERVAL_NOTE = (
    " The range under a score is its 95% bootstrap interval over the photos: how far it would move "
    "with other photos of the same kind."
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class=sub>{subtitle}</p>
<div class=tiles>{tiles}</div>
<p class=under>Scores times 100, as papers print them.{interval_note}</p>
</header>
{compared}
<section>
<h2>How the photos score</h2>
{histogram}
</section>
<section class=best>
<h2>Best captions</h2>
<p class=hint>The highest {name}; below each caption, what people wrote.</p>
<div class=cards>{best}</div>
</section>
<section class=worst>
<h2>Worst captions</h2>
<p class=hint>The lowest {name}. A low score can be a wrong caption or an unusual wording.</p>
<div class=cards>{worst}</div>
</section>
{photo_note}
<footer><code>{signature}</code></footer>
</main>
</body>
</html>
"""
