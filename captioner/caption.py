"""What comes of a photo: its caption, the words of it, and their heatmaps."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, Unpack

import numpy as np
from PIL import Image

from . import render
from .attention import WHOLE, Box
from .errors import CaptionerError
from .photos import Photo
from .request import Request


class OverlayOptions(TypedDict, total=False):
    """The options of `render.overlay`."""

    label: str | None
    strength: float
    max_side: int | None
    scale: float | None
    seen: Box


class SheetOptions(TypedDict, total=False):
    """The options of `render.contact_sheet`."""

    title: str | None
    others: Sequence[str]
    columns: int | None
    width: int
    what: str
    seen: Box


@dataclass(frozen=True)
class Word:
    """One word of a caption.

    probability: the model's, of all its tokens given what stands before; NaN where a server does
        not say.
    given: whether it was given as a part of the prefix and not chosen by the model.
    doubtful: whether it names a thing that may well not be there (`captioner.doubt`).
    heatmap: (h, w) float32 over the whole photo, not negative, sums to 1. Of attention it is over
        the patch grid: where the model looked to write the word. Of evidence it is four times as
        fine: what the word's probability hangs on. None when the caption was made without heatmaps.
    """

    text: str
    probability: float
    heatmap: np.ndarray | None = field(repr=False, compare=False, default=None)
    given: bool = False
    doubtful: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Text and probability, for JSON; "given" and "doubtful" where it is."""
        about: dict[str, Any] = {"text": self.text, "probability": _rounded(self.probability)}
        return about | {name: True for name in ("given", "doubtful") if getattr(self, name)}


@dataclass(frozen=True, repr=False)
class Caption:
    """A caption of one photo.

    confidence: the geometric mean of the probabilities of its tokens, the end included and a given
        prefix not: 0 to 1; by the temperature that the model has for it (`finish.confidence`).
    alternatives: further captions of the photo, best first; they have no alternatives of their own.
    score: what the search ranked it by (log-probability, length-normalised if the search does so).
    ids: its token ids, by which `Captioner.word_attention` looks again; request: what was asked.
    blank: the picture has no content (nearly one colour): the sentence says so, is not the model's,
        and has a confidence of 1.
    maps: what the words' heatmaps are: "evidence", or the kind of attention, such as
        "cross-attention"; "" when there are none.
    seen: the part of the photo that the model has seen: left, top, right, bottom, as shares of its
        width and height. Heatmaps cover the whole photo and are 0 where the model saw nothing.
    """

    text: str
    confidence: float
    words: list[Word]
    alternatives: list[Caption] = field(repr=False, default_factory=list)
    score: float = 0.0
    blank: bool = False
    ids: tuple[int, ...] = field(repr=False, compare=False, default=())
    maps: str = field(repr=False, compare=False, default="")
    seen: Box = field(repr=False, compare=False, default=WHOLE)
    request: Request = field(repr=False, compare=False, default_factory=Request)
    photo: Photo = field(repr=False, compare=False, kw_only=True)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Caption {self.text!r}, confidence {self.confidence:.2f}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the sentence, its words the deeper tinted the surer the model was,
        and a small contact sheet."""
        words = " ".join(
            f'<span title="{w.probability:.2f}" style="background:rgba(247,141,37,'
            f'{0.6 * max(0.0, w.probability):.2f})">{html.escape(w.text)}</span>'
            for w in self.words
            if not math.isnan(w.probability)
        )
        shown = f"<p>{words or html.escape(self.text)} <small>{self.confidence:.2f}</small></p>"
        if not self.words or any(word.heatmap is None for word in self.words):
            return shown
        picture = io.BytesIO()
        self.contact_sheet(width=640).save(picture, "JPEG", quality=85)
        data = base64.b64encode(picture.getvalue()).decode()
        return f'{shown}<img src="data:image/jpeg;base64,{data}" alt="{html.escape(self.text)}">'

    def overlay(self, i: int | str, **options: Unpack[OverlayOptions]) -> Image.Image:
        """The photo with the heatmap of a word over it, in true aspect ratio. i: the word's place,
        or the word itself. Options as `render.overlay`.

        Raises CaptionerError when there is no such word or no heatmap.
        """
        if isinstance(i, str):
            texts = [word.text.lower() for word in self.words]
            if i.lower() not in texts:
                raise CaptionerError(f"There is no word {i!r} in the caption: {self.text}")
            i = texts.index(i.lower())
        if not -len(self.words) <= i < len(self.words):
            raise CaptionerError(f"There is no word {i}: the caption has {len(self.words)} words.")
        word = self.words[i]
        options.setdefault("label", word.text)
        options.setdefault("seen", self.seen)
        return render.overlay(self.photo.image, _heatmap(word), **options)

    def contact_sheet(self, **options: Unpack[SheetOptions]) -> Image.Image:
        """The photo, the caption, its alternatives, and an overlay for every word, as one
        picture; options as `render.contact_sheet`."""
        words = [(w.text, w.probability, _heatmap(w)) for w in self.words]
        options.setdefault("title", self.text)
        options.setdefault("others", [a.text for a in self.alternatives])
        options.setdefault("what", self.maps.capitalize() or "Attention")
        options.setdefault("seen", self.seen)
        return render.contact_sheet(self.photo.image, words, **options)

    def to_dict(self) -> dict[str, Any]:
        """Text, confidence, words and the kind of their heatmaps, alternatives and whether the
        picture is blank, for JSON; probabilities to 4 digits, None where they are not known. `seen`
        is there where the model has not seen all of the photo."""
        return {
            "caption": self.text,
            "confidence": _rounded(self.confidence),
            "words": [w.to_dict() for w in self.words],
            "heatmaps": self.maps,
            **({} if self.seen == WHOLE else {"seen": [round(x, 4) for x in self.seen]}),
            "alternatives": [
                {"caption": a.text, "confidence": _rounded(a.confidence)} for a in self.alternatives
            ],
            "blank": self.blank,
        }


def blank(found: Caption) -> Caption:
    """What is said of a picture without content, in place of what the model invented. Its heatmaps
    are flat: nothing in it was looked at more than the rest."""
    text = f"A plain {found.photo.blank} picture with nothing in it"
    some = next((w.heatmap for w in found.words if w.heatmap is not None), None)
    flat = None if some is None else np.full_like(some, 1 / some.size)
    words = [Word(word, 1.0, flat) for word in text.split()]
    return replace(
        found, text=f"{text}.", confidence=1.0, words=words, alternatives=[], score=0.0, blank=True
    )


def _rounded(probability: float) -> float | None:
    return None if math.isnan(probability) else round(probability, 4)


def _heatmap(word: Word) -> np.ndarray:
    if word.heatmap is None:
        raise CaptionerError(
            "This caption was made without heatmaps; caption the photo with heatmaps=True."
        )
    return word.heatmap
