"""The Caption tab: one photo in; its caption, its words, and where the model looked for each.

The browser gets the words and small heatmaps at once. The full overlays it asks for one by one,
ahead of the person, and keeps: walking through the words waits for nothing.
"""

import base64
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioner import render
from captioner.batch.items import Item, open_item
from captioner.batch.records import record
from captioner.captioner import DRAWN_SIDE, Caption, Captioner
from captioner.errors import CaptionerError, PhotoError
from captioner.machine import cores
from captioner.photos import Photo, load_photo

from .batching import DynamicBatcher
from .cache import PrivateCache
from .models import Models
from .settings import model_and_request
from .uploads import PHOTO_LIMITS, renamed

THUMB = 168
"""Pixels of the longer side of a small heatmap: sharp at twice the density."""
DRAWN = 1024
"""Pixels of the longer side that `Caption.overlay` draws at most."""
CACHE_BYTES = 256 << 20


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo that was captioned: its caption and the alternatives, best first."""

    captions: list[Caption]
    captioner: Captioner
    item: Item

    def caption(self, rank: Any) -> Caption:
        if not isinstance(rank, int) or not 0 <= rank < len(self.captions):
            raise CaptionerError(f"There is no caption {rank!r}.")
        return self.captions[rank]


class CaptionService:
    """Captions photos for the page and hands out the pictures that belong to them."""

    def __init__(self, models: Models):
        self.models = models
        workers = max(1, cores() // 2)
        self.batcher = DynamicBatcher(workers, max(1, cores() // workers))
        self.cache: PrivateCache[CaptionedPhoto] = PrivateCache(CACHE_BYTES, "This caption")

    def write(self, item: Item, options: dict[str, Any]) -> tuple[Captioner, Caption]:
        """Caption a photo with options from outside, which are checked.

        Raises CaptionerError, with the photo called by the name that its owner gave it.
        """
        captioner, request = model_and_request(self.models, options)
        try:
            side = max(captioner.size, DRAWN_SIDE)
            source = open_item(item, PHOTO_LIMITS)
            photo = load_photo(source, min_side=side, limits=PHOTO_LIMITS)
        except PhotoError as error:
            raise PhotoError(renamed(error, item)) from error
        caption = self.batcher.caption(captioner, photo, request)
        name = Path(item.name).name
        captions = [_at_drawn_size(c, name) for c in (caption, *caption.alternatives)]
        return captioner, replace(captions[0], alternatives=captions[1:])

    def show(self, item: Item, options: dict[str, Any]) -> dict[str, Any]:
        """`write`, kept in the cache; what the page's script needs to show it."""
        began = time.perf_counter()
        captioner, best = self.write(item, options)
        seconds = time.perf_counter() - began
        shown = CaptionedPhoto([best, *best.alternatives], captioner, item)
        image = best.photo.image
        return {
            "id": self.cache.put(shown, image.width * image.height * 3 + 100_000),
            "name": best.photo.name,
            "model": captioner.name,
            "seconds": round(seconds, 2),
            "width": best.photo.width,
            "height": best.photo.height,
            "layers": captioner.model.layers,
            "captions": [_describe(c) for c in shown.captions],
        }

    # What the page's script asks for. Each takes one object from the browser and answers with one;
    # a mistake is answered as {"error": sentence}.

    def photo(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The bare photo, as large as the overlays."""
        return or_error(lambda: {"src": _lossy(self.cache.get(ask.get("id")).captions[0])})

    def overlay(self, ask: dict[str, Any]) -> dict[str, Any]:
        """A word's overlay, pixel for pixel `Caption.overlay(word, strength=strength)`."""

        def draw() -> dict[str, Any]:
            caption = self.cache.get(ask.get("id")).caption(ask.get("rank"))
            word, strength = ask.get("word"), ask.get("strength")
            if not isinstance(word, int) or word < 0:
                raise CaptionerError(f"There is no word {word!r}.")
            options = {} if strength is None else {"strength": _number(strength)}
            return {"src": data_uri(caption.overlay(word, **options), "WEBP", **LOSSLESS)}

        return or_error(draw)

    def heads(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Small overlays of a word for every head of a layer, and of their average."""

        def draw() -> dict[str, Any]:
            shown = self.cache.get(ask.get("id"))
            caption, word, layer = shown.caption(ask.get("rank")), ask.get("word"), ask.get("layer")
            weights = shown.captioner.word_attention(caption)
            if not isinstance(word, int) or not 0 <= word < len(weights):
                raise CaptionerError(f"There is no word {word!r}.")
            if not isinstance(layer, int) or not 0 <= layer < len(weights[word]):
                raise CaptionerError(f"There is no layer {layer!r}.")
            maps = weights[word][layer]
            small = _small(caption, 2 * THUMB)
            return {
                "heads": [_thumb(small, m / m.sum()) for m in maps],
                "average": _thumb(small, maps.mean(0) / maps.mean(0).sum()),
            }

        return or_error(draw)

    def download(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The caption as text, JSON or a contact sheet: {"name": file name, "src": data URI}."""

        def make() -> dict[str, Any]:
            shown = self.cache.get(ask.get("id"))
            caption, kind = shown.caption(ask.get("rank")), ask.get("kind")
            stem = Path(shown.item.name).stem or "photo"
            if kind == "sheet":
                sheet = caption.contact_sheet()
                return {"name": f"{stem}-words.png", "src": data_uri(sheet, "PNG")}
            if kind == "text":
                return {"name": f"{stem}.txt", "src": text_uri(caption.text + "\n", "text/plain")}
            if kind == "json":
                content = record(shown.item, caption, shown.captioner)
                text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
                return {"name": f"{stem}.json", "src": text_uri(text, "application/json")}
            raise CaptionerError(f"There is no download {kind!r}.")

        return or_error(make)


LOSSLESS: dict[str, Any] = {"lossless": True, "quality": 0, "method": 0}
"""WebP settings: exact pixels, a third smaller than PNG and several times quicker to write."""


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """The picture as a `data:` address."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def text_uri(text: str, kind: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def or_error(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except (CaptionerError, ValueError) as error:
        return {"error": str(error)}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CaptionerError(f"The strength is a number from 0 to 1, not {value!r}.")
    return float(value)


def _at_drawn_size(caption: Caption, name: str) -> Caption:
    """The caption with its photo reduced to what `overlay` draws on, which changes no overlay: the
    cache holds more of them, and each overlay is drawn sooner."""
    photo = caption.photo
    if not caption.words or max(photo.image.size) <= DRAWN:
        return replace(caption, photo=replace(photo, name=name))
    reduced = caption.overlay(0, strength=0, label=None)
    return replace(caption, photo=Photo(reduced, photo.width, photo.height, name))


def _describe(caption: Caption) -> dict[str, Any]:
    """What the page shows of a caption, its words with their small heatmaps."""
    small = _small(caption, THUMB)
    maps = [w.heatmap for w in caption.words if w.heatmap is not None]
    # Shown first: of the longer words, which name things, the one whose map is the most pointed.
    peaks = [m.max() + (len(w.text) > 2) for w, m in zip(caption.words, maps, strict=True)]
    first = int(np.argmax(peaks)) if peaks else 0
    return {
        "text": caption.text,
        "confidence": caption.confidence,
        "first": first,
        "words": [
            {"text": w.text, "probability": w.probability, "thumb": _thumb(small, m)}
            for w, m in zip(caption.words, maps, strict=True)
        ],
    }


def _small(caption: Caption, side: int) -> Image.Image:
    image = caption.photo.image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _thumb(small: Image.Image, heatmap: np.ndarray) -> str:
    return data_uri(render.overlay(small, heatmap), "JPEG", quality=82)


def _lossy(caption: Caption) -> str:
    return data_uri(caption.photo.image, "WEBP", quality=92, method=0)
