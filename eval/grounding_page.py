"""The page of `eval grounding`: for each kind of heatmap its best, its worst and some other words.

White is drawn around what the word names. The page is `templates/grounding.html`; captions are
other people's text and are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from captioner import render
from captioner.html import render as fill
from captioner.page.data_uris import picture
from captioner.photos import load_photo

from .grounding_figures import COLUMNS, Figures
from .instances import Instances
from .pointing import Pointing

SHOWN = 8  # words of each sort
SIDE = 360  # pixels of a picture's longer side


@dataclass(frozen=True)
class Card:
    """A word on the page. picture: a data URI."""

    picture: str
    word: str
    caption: str
    name: str
    hit: bool
    ap: float
    area: float


def write_page(
    path: Path,
    model: str,
    words: Sequence[Pointing],
    kinds: Sequence[str],
    found: Figures,
    instances: Instances,
) -> None:
    """Writes the page."""
    parts = []
    for kind in kinds:
        for title, chosen in _sorts(words, kind).items():
            cards = [_card(word, kind, instances) for word in chosen]
            parts.append((f"{kind.capitalize()}: {title}", cards))
    page = fill("eval", "grounding.html", model=model, found=found, columns=COLUMNS, parts=parts)
    path.write_text(page, encoding="utf-8")


def _sorts(words: Sequence[Pointing], kind: str) -> dict[str, list[Pointing]]:
    """Words by how far the map is above an even one as a score of the mask's pixels."""

    def gain(word: Pointing) -> tuple[float, float]:
        scores = word.scores[kind]
        return scores.pointing, scores.ap - scores.area

    order = sorted(words, key=gain)
    count = min(SHOWN, max(1, len(order) // 2))
    random = np.random.default_rng(0).permutation(len(words))[:count]
    return {
        "the best": order[::-1][:count],
        "the worst": order[:count],
        "chosen at random": [words[i] for i in random],
    }


def _card(word: Pointing, kind: str, instances: Instances) -> Card:
    image = load_photo(word.file, min_side=SIDE).image
    shown = render.overlay(image, word.maps[kind], max_side=SIDE)
    thing = instances.thing(word.photo, word.categories)
    if thing is not None:
        mask = Image.fromarray(thing.mask).convert("L").resize(shown.size)
        inner = mask.filter(ImageFilter.MinFilter(5))
        edge = np.asarray(mask) > np.asarray(inner)
        shown.paste("#ffffff", mask=Image.fromarray(edge))
    scores = word.scores[kind]
    return Card(
        picture(shown, "JPEG", quality=82), word.word, word.caption, word.file.name,
        scores.pointing > 0.5, scores.ap, scores.area,
    )  # fmt: skip
