"""Heatmaps made visible: one word over its photo, or all words of a caption on one sheet.

    picture = overlay(photo.image, word.heatmap, label=word.text)
    sheet = contact_sheet(photo.image, [(w.text, w.probability, w.heatmap) for w in words],
                          title="A cat lies on a sofa.")
    sheet.save("sheet.png")

Display scaling happens here and nowhere else. A map is a distribution over its h x w cells, and a
cell is coloured by its ratio to an even spread, p * h * w: 0 is no attention, 1 is what every cell
of a flat map has, and `FULL` (6) times that or more is the full colour. The scale is the same for
every map: a flat map looks flat, and the maps of different words compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .attention import WHOLE, Box
from .fonts import clean, font_for, squeeze, wrap
from .texts import percent

__all__ = ["FULL", "colour", "contact_sheet", "overlay"]

FULL = 6.0
"""Times the attention of an even spread at which the colour is full."""

# Dark violet to light yellow through red, in the manner of inferno, without its black and white
# ends, which a photo has itself. The lightness (CIE L*) rises evenly from 13 to 89, so the order of
# the colours is seen with every kind of colour vision, and on paper without colour.
ANCHORS = np.array(
    [
        (0.00, 38, 16, 84),
        (0.20, 98, 26, 122),
        (0.40, 164, 44, 112),
        (0.60, 221, 80, 72),
        (0.80, 247, 141, 37),
        (1.00, 255, 222, 89),
    ]
)

WHITE, INK, MUTED, CARD, EDGE = "#ffffff", "#16181d", "#59636e", "#1f2328", "#eceef1"
SOFT = "#c9d1d9"  # on CARD: contrast 10:1
UNSEEN = 0.7  # how black the photo is where the model has not seen it
BAR = 0.72  # how black the bar behind a label is: white on it has at least 8:1, whatever the photo


def overlay(
    photo: Image.Image,
    heatmap: np.ndarray,
    *,
    label: str | None = None,
    strength: float = 0.6,
    max_side: int | None = 1024,
    scale: float | None = None,
    seen: Box = WHOLE,
) -> Image.Image:
    """Lay one heatmap over the whole photo, in the photo's aspect ratio.

    Args:
        photo: the upright photo.
        heatmap: (h, w), not negative, summing to 1; cell (row, column) covers the photo's rows
            row*H/h to (row+1)*H/h and columns column*W/w to (column+1)*W/w.
        label: printed in white on a dark bar at the bottom, shortened where it does not fit.
        strength: opacity of the full colour, 0 (the photo itself) to 1.
        max_side: the result's longest side in pixels; a smaller photo keeps its size. None: all of
            the photo's pixels.
        scale: times an even spread at which the colour is full; None: `FULL`.
        seen: the part of the photo that the model has seen, left, top, right, bottom in shares of
            its width and height; the rest is dark.

    Returns:
        An RGB image of the photo's (perhaps reduced) size.

    Raises:
        ValueError: the map is not a distribution over a grid, or a number is out of its range.
    """
    if max_side is not None:
        photo = photo.resize(
            _fit(photo.size, (max_side, max_side), enlarge=False),
            Image.Resampling.LANCZOS,
            reducing_gap=3.0,
        )
    picture = _blend(photo.convert("RGB"), heatmap, strength, scale, seen)
    if label and (text := clean(label)):
        _print_label(picture, text)
    return picture


def contact_sheet(
    photo: Image.Image,
    words: Sequence[tuple[str, float, np.ndarray]],
    *,
    title: str | None = None,
    others: Sequence[str] = (),
    columns: int | None = None,
    width: int = 1200,
    what: str = "Attention",
    seen: Box = WHOLE,
) -> Image.Image:
    """One picture of a whole caption: the photo, the title, and every word's heatmap in order.

    Args:
        photo: the upright photo.
        words: (text, probability in 0..1, heatmap (h, w)) of each word; see `overlay`.
        title: the caption, wrapped beside the photo (below it where the photo is very wide).
        others: further captions, set smaller below the title.
        columns: overlays per row; None: as many as suit the photo's shape.
        width: the sheet's width in pixels, at least 240. Its height follows.
        what: what the heatmaps show, for the legend.
        seen: the part of the photo that the model has seen; see `overlay`.

    Returns:
        An RGB image `width` pixels across.

    Raises:
        ValueError: as `overlay`; or the width or the number of columns is too small.
    """
    if width < 240:
        raise ValueError(f"A contact sheet is at least 240 pixels wide, not {width}.")
    if columns is not None and columns < 1:
        raise ValueError(f"A contact sheet has at least 1 column, not {columns}.")
    margin = max(12, round(width * 0.03))
    gap = max(8, round(width * 0.0135))
    if seen != WHOLE:
        what += " (dark: not seen)"
    header = _header(photo, title, others, what, width - 2 * margin, gap)
    cards = _cards(photo, words, columns, seen, width - 2 * margin, gap)
    height = margin + header.height + sum(gap + row[0].height for row in cards) + margin
    if cards:
        height += gap  # a little more air between the header and the words
    sheet = Image.new("RGB", (width, height), WHITE)
    sheet.paste(header, (margin, margin))
    top = margin + header.height + 2 * gap
    for row in cards:
        for place, card in enumerate(row):
            sheet.paste(card, (margin + place * (card.width + gap), top))
        top += row[0].height + gap
    return sheet


def colour(intensity: np.ndarray) -> np.ndarray:
    """Colours of the scale: intensities (...) float in 0..1 -> (..., 3) uint8 RGB."""
    channels = [np.interp(intensity, ANCHORS[:, 0], ANCHORS[:, 1 + c]) for c in range(3)]
    levels: np.ndarray = np.rint(np.stack(channels, axis=-1))
    return levels.astype(np.uint8)


# The map on the photo -----------------------------------------------------------------------------


def _blend(
    photo: Image.Image, heatmap: np.ndarray, strength: float, scale: float | None, seen: Box
) -> Image.Image:
    """The photo, drained of some colour, under the map's colours; dark where it was not seen."""
    if not 0 <= strength <= 1:
        raise ValueError(f"The strength of an overlay is between 0 and 1, not {strength}.")
    intensity = _intensity(heatmap, photo.size, FULL if scale is None else scale)
    heat = intensity.copy()
    heat.putpalette(colour(np.arange(256) / 255).tobytes())
    # The photo's own colours would be read as heat: with the overlay's strength they recede.
    faded = Image.blend(photo, photo.convert("L").convert("RGB"), min(1.0, 1.2 * strength))
    alpha = intensity.point([round(255 * strength * (i / 255) ** 0.8) for i in range(256)])
    blended = Image.composite(heat.convert("RGB"), faded, alpha)
    if seen == WHOLE:
        return blended
    dark = Image.blend(photo, Image.new("RGB", photo.size), UNSEEN)
    left, top, right, bottom = (
        round(share * side) for share, side in zip(seen, 2 * photo.size, strict=True)
    )
    dark.paste(blended.crop((left, top, right, bottom)), (left, top))
    return dark


def _intensity(heatmap: np.ndarray, size: tuple[int, int], scale: float) -> Image.Image:
    """The map on the fixed scale, spread over `size` (width, height): mode L, 255 = full colour."""
    grid = np.asarray(heatmap, dtype=np.float32)
    if grid.ndim != 2 or grid.size == 0:
        raise ValueError(f"A heatmap is a grid (h, w), not an array of shape {grid.shape}.")
    if not np.isfinite(grid).all() or grid.min() < 0 or abs(float(grid.sum()) - 1) > 0.02:
        raise ValueError(
            "A heatmap is a distribution: no value below 0 and a sum of 1;"
            f" this one has values {grid.min():g} to {grid.max():g} and the sum {grid.sum():g}."
        )
    if not scale > 0:
        raise ValueError(f"The scale of an overlay is above 0, not {scale}.")
    # Spread over the photo with half as much again above full colour, for round contours; not with
    # more, for a sharp peak would then be seen far beyond its cell.
    room = 1.5
    levels = np.rint(np.minimum(grid * (grid.size / (scale * room)), 1) * 255).astype(np.uint8)
    # PIL's size is (width, height), the grid's shape (rows, columns); `resize` lays the centre of
    # each cell on the centre of its rectangle of the photo.
    spread = Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)
    return spread.point([min(255, round(level * room)) for level in range(256)])


def _fit(size: tuple[int, int], box: tuple[int, int], *, enlarge: bool) -> tuple[int, int]:
    """The largest (width, height) of the same shape inside the box."""
    factor = min(box[0] / size[0], box[1] / size[1])
    if factor >= 1 and not enlarge:
        return size
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _print_label(picture: Image.Image, text: str) -> None:
    """White on a dark bar along the bottom edge, in place."""
    width, height = picture.size
    size = min(44, max(11, round(math.sqrt(width * height) * 0.05)), int(height * 0.6))
    if size < 7:
        return  # a strip of a few pixels' height has no room for letters
    pad = round(size * 0.6)
    font, text = squeeze(text, size, width - 2 * pad)
    bar = round(size * 1.7)
    box = (0, max(0, height - bar), width, height)
    under = picture.crop(box)
    picture.paste(Image.blend(under, Image.new("RGB", under.size), BAR), box)
    middle = (box[1] + height) / 2
    ImageDraw.Draw(picture).text((pad, middle), text, WHITE, font, anchor="lm")


# The sheet ----------------------------------------------------------------------------------------

ASPECTS = (0.4, 6.0)  # width : height; photos beyond are shown with empty space around them


def _header(
    photo: Image.Image,
    title: str | None,
    others: Sequence[str],
    what: str,
    width: int,
    gap: int,
) -> Image.Image:
    """The photo, with the title, the further captions and the legend beside it, or below where it
    is very wide."""
    aspect = photo.width / photo.height
    beside = width >= 640 and aspect < 2.2
    most = round(width * 0.46) if beside else width
    # Small photos are enlarged, though not beyond what their pixels bear.
    box = (min(most, photo.width * 3), min(round(width * 0.36), photo.height * 3))
    shown = photo.convert("RGB").resize(
        _fit(photo.size, box, enlarge=True), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    left = shown.width + 2 * gap if beside else 0
    room = width - left
    size = max(16, round(width * 0.03))
    lines: list[str] = []
    text = clean(title or "")
    if text:
        while True:  # long captions are set smaller
            lines = wrap(text, font_for(text, size), room)
            if len(lines) * size * 1.3 <= shown.height * 0.7 or size <= max(14, width * 0.018):
                break
            size -= 1
    legend = _legend(what, min(room, max(220, round(width * 0.28))), max(11, round(width * 0.0125)))
    set_lines = [(line, font_for(text, size), INK, round(size * 1.3)) for line in lines]
    small = max(11, round(size * 0.6))
    for other in map(clean, others):
        font = font_for(other, small)
        set_lines += [(line, font, MUTED, round(small * 1.4)) for line in wrap(other, font, room)]
    text_height = sum(leading for *_, leading in set_lines)
    if beside:
        height = max(shown.height, text_height + 2 * gap + legend.height)
        text_top, legend_top = 0, height - legend.height
    else:
        text_top = shown.height + gap
        legend_top = text_top + text_height + (gap if set_lines else 0)
        height = legend_top + legend.height
    header = Image.new("RGB", (width, height), WHITE)
    header.paste(shown, (0, 0))
    header.paste(legend, (left, legend_top))
    draw = ImageDraw.Draw(header)
    for line, font, colour, leading in set_lines:
        draw.text((left, text_top + leading / 2), line, colour, font, anchor="lm")
        text_top += leading
    return header


def _legend(what: str, width: int, size: int) -> Image.Image:
    """The colours of the scale over a grey like a faded photo's, and what they mean."""
    bar, pad = max(8, round(size * 0.9)), round(size * 0.5)
    line = round(size * 1.4)
    legend = Image.new("RGB", (width, line + bar + pad + line), WHITE)
    draw = ImageDraw.Draw(legend)
    font, heading = squeeze(f"{what}, compared with an even spread", size, width)
    draw.text((0, line / 2), heading, MUTED, font, anchor="lm")
    ramp = np.repeat(np.linspace(0, 1, width, dtype=np.float32)[None], bar, axis=0)
    legend.paste(Image.fromarray(colour(ramp)), (0, line))
    below = line + bar + pad / 2 + line / 2
    draw.text((0, below), "none", MUTED, font, anchor="lm")
    draw.text((width, below), f"{FULL:g} times or more", MUTED, font, anchor="rm")
    even = width / FULL
    draw.line((even, line + bar, even, line + bar + pad / 2), MUTED)
    draw.text((max(even, font.getlength("none  e") + 4), below), "even", MUTED, font, anchor="lm")
    return legend


def _cards(
    photo: Image.Image,
    words: Sequence[tuple[str, float, np.ndarray]],
    columns: int | None,
    seen: Box,
    width: int,
    gap: int,
) -> list[list[Image.Image]]:
    """One card a word, all of one size, in rows."""
    if not words:
        return []
    aspect = min(max(photo.width / photo.height, ASPECTS[0]), ASPECTS[1])
    if columns is None:
        # About the same area for photos of every shape, so that tall ones do not tower.
        wanted = min(width, max(90, math.sqrt(0.036 * width * width * aspect)))
        columns = max(1, min(round((width + gap) / (wanted + gap)), 8))
    columns = min(columns, (width + gap) // (48 + gap))  # no card narrower than 48 pixels
    across = (width - (columns - 1) * gap) // columns
    box = (across, max(8, round(across / aspect)))
    small = photo.convert("RGB").resize(
        _fit(photo.size, box, enlarge=True), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    cards = [_card(small, box, seen, *word) for word in words]
    return [cards[at : at + columns] for at in range(0, len(cards), columns)]


def _card(
    small: Image.Image,
    box: tuple[int, int],
    seen: Box,
    text: str,
    probability: float,
    heatmap: np.ndarray,
) -> Image.Image:
    """The overlay with a dark strip below it: the word, and its probability small."""
    size = min(24, max(12, round(box[0] * 0.072)))
    strip, pad = round(size * 1.8), round(size * 0.55)
    card = Image.new("RGB", (box[0], box[1] + strip), EDGE)
    corner = ((box[0] - small.width) // 2, (box[1] - small.height) // 2)
    card.paste(_blend(small, heatmap, 0.6, None, seen), corner)
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, box[1], *card.size), CARD)
    middle = box[1] + strip / 2
    shown = percent(probability)
    small_font = font_for(shown, max(10, round(size * 0.72)))
    room = box[0] - 2 * pad
    taken = small_font.getlength(shown) + pad
    if room - taken > 2.5 * size:  # the word goes before its number
        draw.text((box[0] - pad, middle), shown, SOFT, small_font, anchor="rm")
        room -= round(taken)
    font, text = squeeze(clean(text), size, room)
    draw.text((pad, middle), text, WHITE, font, anchor="lm")
    return card
