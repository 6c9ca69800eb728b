"""Captioner: what people hold. Photographs in, captions with their words and heatmaps out.

import captioner
model = captioner.load()                      # the model in the box
caption = model.caption("photo.jpg")
print(caption.text, caption.confidence)
for word in caption.words:
    print(word.text, word.probability, word.heatmap.shape)
caption.overlay(1).save("second-word.png")
caption.contact_sheet().save("all-words.png")
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import render
from .attention import word_maps
from .ensemble import load_model
from .errors import CaptionerError
from .generation import Hypothesis, Search
from .images import Limits, Photo, load_photo, to_square
from .machine import choose_device, choose_dtype
from .model import Model
from .tokenizer import CaptionTokenizer

BUILTIN = Path(__file__).parent / "builtin"
# Overlays are drawn on the photo at this many pixels of its shorter side, where it has them.
DRAWN_SIDE = 512
# Photos that go through the encoder together on a CPU: of 1 to 16 the quickest with the model in
# the box, in float32 and in bfloat16.
CPU_PHOTOS = 4


@dataclass(frozen=True)
class Word:
    """One word of a caption.

    probability: the model's, of all its tokens given what stands before; 1.0 for words that were
        given as a prefix.
    heatmap: (h, w) float32 over the patch grid, not negative, sums to 1: where the model looked to
        write the word. None when the caption was made without heatmaps.
    """

    text: str
    probability: float
    heatmap: np.ndarray | None = field(repr=False, compare=False, default=None)


@dataclass(frozen=True)
class Caption:
    """A caption of one photo.

    confidence: the geometric mean of the probabilities of its tokens, the end included: 0 to 1.
    alternatives: further captions of the photo, best first; they have no alternatives of their own.
    score: what the search ranked it by (log-probability, length-normalised if the search does so).
    ids: its token ids, by which `Captioner.word_weights` looks again.
    """

    text: str
    confidence: float
    words: list[Word]
    alternatives: list["Caption"] = field(repr=False, default_factory=list)
    score: float = 0.0
    ids: tuple[int, ...] = field(repr=False, compare=False, default=())
    photo: Photo = field(repr=False, compare=False, kw_only=True)

    def overlay(self, i: int, **options: Any) -> Image.Image:
        """The photo with the heatmap of word i over it, in true aspect ratio; options as
        `render.overlay`. Raises CaptionerError when there is no such word or no heatmap."""
        if not -len(self.words) <= i < len(self.words):
            raise CaptionerError(f"There is no word {i}: the caption has {len(self.words)} words.")
        word = self.words[i]
        return render.overlay(self.photo.image, _heatmap(word), **{"label": word.text, **options})

    def contact_sheet(self, **options: Any) -> Image.Image:
        """The photo, the caption, and an overlay for every word, as one picture."""
        words = [(w.text, w.probability, _heatmap(w)) for w in self.words]
        return render.contact_sheet(self.photo.image, words, **{"title": self.text, **options})

    def to_dict(self) -> dict[str, Any]:
        """Text, confidence, words and alternatives, for JSON; probabilities to 4 digits."""
        return {
            "caption": self.text,
            "confidence": round(self.confidence, 4),
            "words": [{"text": w.text, "probability": round(w.probability, 4)} for w in self.words],
            "alternatives": [
                {"caption": a.text, "confidence": round(a.confidence, 4)} for a in self.alternatives
            ],
        }


def _heatmap(word: Word) -> np.ndarray:
    if word.heatmap is None:
        raise CaptionerError(
            "This caption was made without heatmaps; caption the photo with heatmaps=True."
        )
    return word.heatmap


class Captioner:
    """A model ready to caption, on a device, in a dtype. Made by `captioner.load`."""

    def __init__(self, model: Model, *, device: torch.device, dtype: torch.dtype):
        self.model = model.eval().to(device=device, dtype=dtype)
        self.device = device
        self.dtype = dtype

    @property
    def name(self) -> str:
        """The model's name and version, as it is written beside every caption."""
        about = self.model.config.about
        return " ".join(str(about[k]) for k in ("name", "version") if about.get(k)) or "unnamed"

    @property
    def size(self) -> int:
        """Pixels of the square that the model sees."""
        return self.model.config.encoder.size

    @overload
    def caption(self, photo: Sequence[Any], **options: Any) -> list[Caption]: ...
    @overload
    def caption(self, photo: Any, **options: Any) -> Caption: ...

    def caption(
        self,
        photo: Any,
        *,
        heatmaps: bool = True,
        alternatives: int = 0,
        prefix: str = "",
        without: Iterable[str] = (),
        limits: Limits | None = None,
        batch_size: int = 32,
        **search: Any,
    ) -> Caption | list[Caption]:
        """Caption one photo, or a list of photos.

        Args:
            photo: whatever `images.load_photo` takes, or a list or tuple of such.
            heatmaps: also take the second look that gives every word its map.
            alternatives: how many further captions to return (at most beams - 1; with sampling,
                any number).
            prefix: the beginning of the caption, which the model continues.
            without: words that must not appear, in any case.
            limits: of the photo's size, against decompression bombs.
            batch_size: photos that go through the network together.
            **search: any field of `generation.Search`: beams, length_penalty, min_length,
                max_length, no_repeat, sample, temperature, top_k, top_p, seed.

        Raises:
            PhotoError: a photo cannot be used. CaptionerError: a setting makes no sense.
        """
        many = isinstance(photo, (list, tuple))
        sources = list(photo) if many else [photo]
        settings = self.search(alternatives=alternatives, **search)
        options = limits or Limits()
        captions: list[Caption] = []
        for start in range(0, len(sources), batch_size):
            part = sources[start : start + batch_size]
            side = max(self.size, DRAWN_SIDE) if heatmaps else self.size
            photos = [load_photo(s, min_side=side, limits=options) for s in part]
            captions += self.caption_photos(
                photos, settings, heatmaps=heatmaps, prefix=prefix, without=without
            )
        return captions if many else captions[0]

    def search(self, *, alternatives: int = 0, **changes: Any) -> Search:
        """The model's own search settings with some changed. Raises CaptionerError for unknown
        or senseless ones."""
        base = self.model.config.search
        changes = {k: v for k, v in changes.items() if v is not None}
        if alternatives < 0:
            raise CaptionerError("The number of alternatives must not be negative.")
        if alternatives and not changes.get("sample"):
            beams = changes.get("beams", base.beams)
            if alternatives >= beams:
                raise CaptionerError(
                    f"{alternatives} alternatives need a beam of at least {alternatives + 1}; "
                    f"it is {beams}."
                )
        try:
            return base.with_(**{"returned": 1 + alternatives, **changes})
        except TypeError as error:
            unknown = str(error).rsplit(" ", 1)[-1].strip("'")
            raise CaptionerError(f"There is no search setting {unknown!r}.") from error

    def caption_photos(
        self, photos: Sequence[Photo], search: Search, **options: Any
    ) -> list[Caption]:
        """Caption loaded photos as one batch. Options as `caption_features`."""
        if not photos:
            return []
        pixels = np.stack([to_square(p, self.size) for p in photos])
        return self.caption_pixels(pixels, photos, search, **options)

    def caption_pixels(
        self, pixels: np.ndarray, photos: Sequence[Photo], search: Search, **options: Any
    ) -> list[Caption]:
        """Caption a batch that is already squares: pixels (B, S, S, 3) uint8, and the photos that
        they were made of, for the drawings. Options as `caption_features`."""
        return self.caption_features(self.encode(pixels), photos, search, **options)

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """pixels (B, S, S, 3) uint8 -> patch features (B, N, C)."""
        # On a CPU a few photos at a time: the activations of more fit neither into its caches nor
        # into the memory that the allocator keeps at hand.
        group = CPU_PHOTOS if self.device.type == "cpu" else len(pixels)
        parts = torch.from_numpy(pixels).to(self.device).split(group)
        return torch.cat([self.model.features(part) for part in parts])

    @torch.inference_mode()
    def word_weights(self, caption: Caption) -> list[np.ndarray]:
        """Every layer's and head's own map for each word of a caption that this model wrote: one
        array (L, H, h, w) float32 a word, each map summing to 1. `Word.heatmap` is the average of
        those that the model's config names."""
        memory = self.model.memory_of(self.encode(to_square(caption.photo, self.size)[None]))
        [weights] = self.model.look(memory, [caption.ids])  # (L, H, T, N)
        maps = weights.numpy().reshape(*weights.shape[:3], *self.model.grid)
        spans = self.model.tokenizer.words(caption.ids)
        return [maps[:, :, s.start : s.stop].mean(axis=2) for s in spans]

    @torch.inference_mode()
    def caption_features(
        self,
        features: Tensor,
        photos: Sequence[Photo],
        search: Search,
        *,
        heatmaps: bool = True,
        prefix: str = "",
        without: Iterable[str] = (),
    ) -> list[Caption]:
        """Caption a batch of photos whose patch features (B, N, C) are known."""
        tokenizer = self.model.tokenizer
        memory = self.model.memory_of(features.to(self.device))
        banned = [w for w in (word.strip() for word in without) if w]
        found = self.model.write(
            memory,
            search,
            prefix=tokenizer.encode_prefix(prefix),
            processors=[BannedWords(banned, tokenizer)] if banned else [],
        )
        looks: list[list[np.ndarray | None]] = [[None] * len(row) for row in found]
        if heatmaps:
            deepest = max(len(row) for row in found)
            for rank in range(deepest):
                # One pass for the best captions of all photos, one for the second best, ...
                with_rank = [i for i, row in enumerate(found) if rank < len(row)]
                index = torch.tensor(with_rank, device=self.device)
                whole = len(with_rank) == len(found)
                part = memory if whole else [(k[index], v[index]) for k, v in memory]
                weights = self.model.look(part, [found[i][rank].ids for i in with_rank])
                for i, w in zip(with_rank, weights, strict=True):
                    looks[i][rank] = w.numpy()
        captions = []
        for photo, row, maps in zip(photos, found, looks, strict=True):
            first, *others = [
                finish(self.model, photo, h, w) for h, w in zip(row, maps, strict=True)
            ]
            first.alternatives.extend(others)
            captions.append(first)
        return captions


def finish(model: Model, photo: Photo, found: Hypothesis, weights: np.ndarray | None) -> Caption:
    """A hypothesis as a Caption; weights (L, H, T, N) of the second look, None for no heatmaps."""
    spans = model.tokenizer.words(found.ids)
    maps: Sequence[np.ndarray | None] = [None] * len(spans)
    if weights is not None:
        maps = word_maps(weights, spans, model.grid, model.config.combine)
    words = [
        Word(s.text, math.exp(sum(found.logprobs[s.start : s.stop])), m)
        for s, m in zip(spans, maps, strict=True)
    ]
    confidence = math.exp(sum(found.logprobs) / len(found.logprobs))
    text = model.tokenizer.sentence(found.ids)
    return Caption(text, confidence, words, score=found.score, ids=found.ids, photo=photo)


class BannedWords:
    """A search rule: these whole words are never completed, however they might be spelled out in
    tokens. A longer word that merely begins with one of them is barred too, where its tokens pass
    through it."""

    def __init__(self, words: Sequence[str], tokenizer: CaptionTokenizer):
        self.tokenizer = tokenizer
        self.words = [b" " + w.lower().encode() for w in words]
        self.ids: dict[bytes, list[int]] = {}
        for i, text in enumerate(tokenizer.token_bytes):
            if text:
                self.ids.setdefault(text, []).append(i)
        self.longest = max(len(w) for w in self.words)

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        for row, tokens in enumerate(ids.tolist()):
            text = b"".join(self.tokenizer.token_bytes[t] for t in tokens[-self.longest :])
            if len(tokens) <= self.longest and not text.startswith(b" "):
                text = b" " + text  # the first word of a caption needs no space before it
            for word in self.words:
                # Every way in which the text so far may already hold a beginning of the word.
                for held in range(min(len(word) - 1, len(text)) + 1):
                    if text.endswith(word[:held]):
                        for token in self.ids.get(word[held:], ()):
                            logits[row, token] = -torch.inf
        return logits


def load(
    model: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> Captioner:
    """The model in the box, or the one in a folder, ready to caption.

    Args:
        model: a model folder as `python -m train` writes it; None for the model in the box.
        device: "cpu", "cuda", "cuda:1", "mps"; None for the best there is.
        dtype: "float32", "bfloat16", "float16"; None for what the device is quickest in without
            changing captions noticeably.

    Raises:
        ModelError: the folder is missing, damaged or of another kind.
    """
    where = choose_device(device)
    kind = choose_dtype(dtype, where)
    return Captioner(load_model(model or BUILTIN), device=where, dtype=kind)
