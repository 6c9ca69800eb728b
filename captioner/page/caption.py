"""The Caption tab's service: one photo in; its caption, its words, and where the model looked for
each.

The browser gets the words and small heatmaps at once. The full overlays it asks for one by one,
ahead of the person, and keeps: walking through the words waits for nothing.
"""

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner import render
from captioner.attention import WHOLE, Box
from captioner.batch.items import Item, open_item
from captioner.batch.records import record
from captioner.caption import Caption
from captioner.captioner import DRAWN_SIDE, Captioner
from captioner.errors import CaptionerError, PhotoError
from captioner.heatmaps import kinds
from captioner.machine import cores
from captioner.photos import Photo, load_photo
from captioner.request import Request
from captioner.settings import checked

from .batching import DynamicBatcher
from .cache import PrivateCache
from .data_uris import LOSSLESS, picture, text_uri
from .messages import (
    AddedCaption,
    CaptionAnswer,
    Compared,
    Download,
    Failure,
    Heads,
    PhotoAnswer,
    Picture,
    Place,
    Question,
    Superseded,
    Thumbs,
    index,
    or_error,
    text,
)
from .models import Models
from .question_queue import QuestionQueue, SupersededError
from .settings import model_and_request
from .uploads import PHOTO_LIMITS, renamed

THUMB = 168
"""Pixels of the longer side of a small heatmap: sharp at twice the density."""
DRAWN = 1024
"""Pixels of the longer side that `Caption.overlay` draws at most."""
CACHE_BYTES = 256 << 20
MAPS = 100_000
"""About the bytes of a caption with both kinds of heatmaps."""
MAX_CAPTIONS = 100
"""Captions of one photo, a person's own included."""
OTHERS = 2
"""Further captions that the page shows unless it is asked for another number."""


def concurrency() -> int:
    """Photos that are being read, captioned or drawn at the same time."""
    return 4 * cores()


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo's captions, best first, and what they were made of: each by the captioner at the same
    place. Behind them stand those of other models, and a person's own words. other_maps: by rank
    and kind, the captions with the other kind of heatmaps, as far as it was asked for."""

    captions: list[Caption]
    captioners: list[Captioner]
    item: Item
    other_maps: dict[tuple[int, str], Caption] = field(default_factory=dict)
    making: threading.Lock = field(default_factory=threading.Lock)

    def captioner(self, question: Question) -> Captioner:
        """That of the caption that a question is about."""
        return self.captioners[index(question, "rank", len(self.captions), "caption")]

    def caption(self, question: Question) -> Caption:
        """The caption that a question is about, by its rank."""
        return self.captions[index(question, "rank", len(self.captions), "caption")]


class CaptionService:
    """Captions photos for the page and for programs, and draws the pictures that belong to them.

    waiting: how many photos of the page may wait for their turn.
    """

    def __init__(self, models: Models, waiting: int = 0):
        self.models = models
        workers = max(1, cores() // 2)
        self.batcher = DynamicBatcher(workers, max(1, cores() // workers))
        self.cache: PrivateCache[CaptionedPhoto] = PrivateCache(CACHE_BYTES, "This caption")
        self.queue = QuestionQueue(concurrency(), waiting)
        self._adding = threading.Lock()
        # Of the page and of programs together: each decoded photo takes memory.
        self._at_work = threading.BoundedSemaphore(concurrency())

    def caption(self, item: Item, captioner: Captioner, request: Request) -> Caption:
        """Caption a photo.

        Raises CaptionerError, with the photo called by the name that its owner gave it.
        """
        with self._at_work:
            try:
                side = max(captioner.size, DRAWN_SIDE)
                source = open_item(item, PHOTO_LIMITS)
                photo = load_photo(source, min_side=side, limits=PHOTO_LIMITS)
            except PhotoError as error:
                raise PhotoError(renamed(error, item)) from error
            caption = self.batcher.caption(captioner, photo, request)
        name = Path(item.name).name
        captions = [_at_drawn_size(c, name) for c in (caption, *caption.alternatives)]
        return replace(captions[0], alternatives=captions[1:])

    def show(self, item: Item, options: object) -> PhotoAnswer:
        """Caption a photo, keep it in the cache, and say what the page's script needs to show it.

        Raises CaptionerError.
        """
        began = time.perf_counter()
        captioner, request = model_and_request(self.models, options, OTHERS)
        best = self.caption(item, captioner, request)
        seconds = time.perf_counter() - began
        captions = [best, *best.alternatives]
        photo = CaptionedPhoto(captions, [captioner] * len(captions), item)
        image = best.photo.image
        return {
            "id": self.cache.put(photo, image.width * image.height * 3 + MAPS * len(captions)),
            "name": best.photo.name,
            "model": self.models.name_of(captioner),
            "seconds": round(seconds, 2),
            "width": best.photo.width,
            "height": best.photo.height,
            "layers": captioner.model.layers,
            "heatmaps": kinds(captioner.model),
            "sampled": request.sample,
            "blank": best.blank,
            "captions": [_describe(c) for c in photo.captions],
        }

    # What the page's script asks for.

    async def ask(
        self, question: Question, find: Callable[[], Item]
    ) -> PhotoAnswer | Superseded | Failure:
        """Caption the photo that `find` gives, with the question's settings, in its turn. `find`
        may raise CaptionerError."""

        def work() -> PhotoAnswer | Failure:
            return or_error(lambda: self.show(find(), question.get("settings")))

        try:
            return await self.queue.run(text(question, "page"), work)
        except SupersededError:
            return {"superseded": True}
        except CaptionerError as error:
            return {"error": str(error)}

    async def place(self, question: Question) -> Place:
        """Where in the queue the page's question is."""
        return {"before": self.queue.before(text(question, "page"))}

    def photo(self, question: Question) -> Picture | Failure:
        """The bare photo, as large as the overlays."""

        def draw() -> Picture:
            photo = self._photo(question).captions[0].photo
            return {"src": picture(photo.image, "WEBP", quality=92, method=0)}

        return or_error(draw)

    def explain(self, question: Question) -> AddedCaption | Failure:
        """The person's own words about the photo, as if the model had written them. They become
        one more caption of the photo."""

        def read() -> AddedCaption:
            photo, words = self._photo(question), text(question, "text")
            best = photo.captions[0]
            if len(photo.captions) >= MAX_CAPTIONS:
                raise CaptionerError("That is enough about one photo; caption it again.")
            request = checked(Request, {"explain": " ".join(words.split())})
            request = best.request.explaining(request.explain)
            captioner = photo.captioners[0]
            captioner.search(request)
            with self._at_work:
                [found] = captioner.explain_photo(best.photo, [request.explain], request)
            rank = self._add(photo, found, captioner)
            return {"rank": rank, "caption": _describe(found) | {"own": True}}

        return or_error(read)

    def compare(self, question: Question) -> Compared | Failure:
        """What the other models of this server say of the photo, with the same settings."""

        def ask() -> Compared:
            photo = self._photo(question)
            best = photo.captions[0]
            request = replace(best.request, explain="", alternatives=0)
            answers: list[AddedCaption] = []
            for name in self.models.names:
                if (captioner := self.models.get(name)) not in photo.captioners:
                    captioner.search(request)
                    with self._at_work:
                        found = self.batcher.caption(captioner, best.photo, request)
                    rank = self._add(photo, found, captioner)
                    about: CaptionAnswer = _describe(found) | {
                        "model": name,
                        "layers": captioner.model.layers,
                        "heatmaps": kinds(captioner.model),
                    }
                    answers.append({"rank": rank, "caption": about})
            return {"captions": answers}

        return or_error(ask)

    def _add(self, photo: CaptionedPhoto, caption: Caption, captioner: Captioner) -> int:
        """One more caption of a photo; its rank."""
        with self._adding:
            photo.captioners.append(captioner)
            photo.captions.append(caption)
            return len(photo.captions) - 1

    def overlay(self, question: Question) -> Picture | Failure:
        """A word's overlay, pixel for pixel `Caption.overlay(word, strength=strength)`."""
        return or_error(lambda: {"src": picture(self._overlay(question), "WEBP", **LOSSLESS)})

    def _overlay(self, question: Question) -> Image.Image:
        """{"word", "strength", "band": whether the word is printed on it}"""
        caption = self._caption(question)
        word = index(question, "word", len(caption.words), "word")
        options: dict[str, Any] = {}
        if (strength := question.get("strength")) is not None:
            options["strength"] = _share(strength)
        if question.get("band") is False:
            options["label"] = None
        return caption.overlay(word, **options)

    def thumbs(self, question: Question) -> Thumbs | Failure:
        """Small overlays of all words of a caption, of the kind of heatmap that is asked for."""

        def draw() -> Thumbs:
            return {"thumbs": _thumbs(self._caption(question))}

        return or_error(draw)

    def heads(self, question: Question) -> Heads | Failure:
        """Small overlays of a word for every head of a layer, and of their average."""

        def draw() -> Heads:
            photo = self._photo(question)
            caption = photo.caption(question)
            attention = photo.captioner(question).word_attention(caption)
            word = index(question, "word", len(attention), "word")
            maps = attention[word][index(question, "layer", len(attention[word]), "layer")]
            small = _small(caption, 2 * THUMB)
            return {
                "heads": [_thumb(small, m / m.sum(), caption.seen) for m in maps],
                "average": _thumb(small, maps.mean(0) / maps.mean(0).sum(), caption.seen),
            }

        return or_error(draw)

    def download(self, question: Question) -> Download | Failure:
        """The caption as text, JSON or a contact sheet; or the overlay in view."""

        def make() -> Download:
            photo = self._photo(question)
            caption, kind = self._caption(question), question.get("kind")
            stem = Path(photo.item.name).stem or "photo"
            if kind == "sheet":
                return {
                    "name": f"{stem}-words.png",
                    "src": picture(caption.contact_sheet(), "PNG"),
                }
            if kind == "overlay":
                number = f"{index(question, 'word', len(caption.words), 'word') + 1:02}"
                drawn = picture(self._overlay(question), "PNG")
                return {"name": f"{stem}-word-{number}.png", "src": drawn}
            if kind == "text":
                return {"name": f"{stem}.txt", "src": text_uri(caption.text + "\n", "text/plain")}
            if kind == "json":
                content = record(photo.item, caption, photo.captioner(question))
                lines = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
                return {"name": f"{stem}.json", "src": text_uri(lines, "application/json")}
            raise CaptionerError(f"There is no download {kind!r}.")

        return or_error(make)

    def _photo(self, question: Question) -> CaptionedPhoto:
        return self.cache.get(question.get("id"))

    def _caption(self, question: Question) -> Caption:
        """The caption that a question is about, with heatmaps of the kind {"maps"}, those that it
        was made with where no kind is named. The other kind is made when it is first asked for."""
        photo = self._photo(question)
        caption = photo.caption(question)
        kind = text(question, "maps") or caption.request.heatmaps
        if kind == caption.request.heatmaps:
            return caption
        key = index(question, "rank", len(photo.captions), "caption"), kind
        with photo.making:
            if key not in photo.other_maps:
                with self._at_work:
                    other = photo.captioner(question).with_heatmaps(caption, kind)
                photo.other_maps[key] = other
            return photo.other_maps[key]


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise CaptionerError(f"The strength is a number from 0 to 1, not {value!r}.")
    return float(value)


def _at_drawn_size(caption: Caption, name: str) -> Caption:
    """The caption with its photo reduced to what `overlay` draws on, which changes no overlay: the
    cache holds more of them, and each overlay is drawn sooner."""
    photo = caption.photo
    if not caption.words or caption.words[0].heatmap is None or max(photo.image.size) <= DRAWN:
        return replace(caption, photo=replace(photo, name=name))
    reduced = caption.overlay(0, strength=0, label=None, seen=WHOLE)
    return replace(caption, photo=Photo(reduced, photo.width, photo.height, name))


def _describe(caption: Caption) -> CaptionAnswer:
    """What the page shows of a caption, its words with their small heatmaps."""
    # Shown first: of the longer words, which name things, the one whose map is the most pointed.
    peaks = [0 if w.heatmap is None else w.heatmap.max() + (len(w.text) > 2) for w in caption.words]
    return {
        "text": caption.text,
        "confidence": _known(caption.confidence),
        "unseen": caption.seen != WHOLE,
        "first": int(np.argmax(peaks)) if peaks else 0,
        "words": [
            {
                "text": w.text,
                "probability": _known(w.probability),
                "given": w.given,
                "doubtful": w.doubtful,
                "thumb": thumb,
            }
            for w, thumb in zip(caption.words, _thumbs(caption), strict=True)
        ],
    }


def _known(probability: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(probability) else probability


def _small(caption: Caption, side: int) -> Image.Image:
    image = caption.photo.image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _thumbs(caption: Caption) -> list[str]:
    """A small overlay of each word; "" of one without a heatmap."""
    small = _small(caption, THUMB)
    seen = caption.seen
    return ["" if w.heatmap is None else _thumb(small, w.heatmap, seen) for w in caption.words]


def _thumb(small: Image.Image, heatmap: np.ndarray, seen: Box) -> str:
    return picture(render.overlay(small, heatmap, seen=seen), "JPEG", quality=82)
