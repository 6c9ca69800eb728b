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

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import render
from .attention import word_maps
from .decoder import KeyValue
from .ensemble import load_model
from .errors import CaptionerError
from .generation import Hypothesis, Search
from .machine import choose_device, choose_dtype
from .model import Model
from .photos import Limits, Photo, PhotoSource, load_photo, to_square
from .request import Keywords, Request, unknown_setting
from .tokenizer import CaptionTokenizer

BUILTIN = Path(__file__).parent / "builtin"
# Overlays are drawn on the photo at this many pixels of its shorter side, where it has them.
DRAWN_SIDE = 512
# Photos that go through the encoder together on a CPU: of 1 to 16 the quickest with the model in
# the box, in float32 and in bfloat16.
CPU_PHOTOS = 4
Photos = list[PhotoSource] | tuple[PhotoSource, ...]


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
    ids: its token ids, by which `Captioner.word_attention` looks again.
    """

    text: str
    confidence: float
    words: list[Word]
    alternatives: list[Caption] = field(repr=False, default_factory=list)
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
    def caption(
        self,
        photo: Photos,
        request: Request | None = None,
        *,
        limits: Limits | None = None,
        batch_size: int = 32,
        **settings: Unpack[Keywords],
    ) -> list[Caption]: ...
    @overload
    def caption(
        self, photo: PhotoSource, request: Request | None = None, *, limits: Limits | None = None,
        batch_size: int = 32, **settings: Unpack[Keywords],
    ) -> Caption: ...  # fmt: skip

    def caption(
        self,
        photo: PhotoSource | Photos,
        request: Request | None = None,
        *,
        limits: Limits | None = None,
        batch_size: int = 32,
        beams: int | None = None,
        alternatives: int | None = None,
        length_penalty: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        no_repeat: int | None = None,
        prefix: str | None = None,
        without: str | Iterable[str] | None = None,
        sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        heatmaps: bool | None = None,
        **unknown: object,
    ) -> Caption | list[Caption]:
        """Caption one photo, or a list of photos.

        Args:
            photo: whatever `photos.load_photo` takes, or a list or tuple of such.
            request: how to caption; each keyword that is a field of `Request` changes one setting
                of it, None leaving it as it is.
            limits: of the photo's size, against decompression bombs.
            batch_size: photos that go through the network together.

        Raises:
            PhotoError: a photo cannot be used. CaptionerError: a setting makes no sense.
        """
        for name in unknown:
            raise unknown_setting(name)
        request = (request or Request()).with_(
            beams=beams, alternatives=alternatives, length_penalty=length_penalty,
            min_length=min_length, max_length=max_length, no_repeat=no_repeat, prefix=prefix,
            without=without, sample=sample, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed, heatmaps=heatmaps,
        )  # fmt: skip
        many = isinstance(photo, (list, tuple))
        sources: Photos = photo if isinstance(photo, (list, tuple)) else [photo]
        self.search(request)  # a setting that makes no sense is told before any photo is read
        side = max(self.size, DRAWN_SIDE) if request.heatmaps else self.size
        captions: list[Caption] = []
        for start in range(0, len(sources), batch_size):
            part = sources[start : start + batch_size]
            photos = [load_photo(s, min_side=side, limits=limits or Limits()) for s in part]
            captions += self.caption_photos(photos, request)
        return captions if many else captions[0]

    def search(self, request: Request) -> Search:
        """The search that a request amounts to with this model. Raises CaptionerError when it makes
        no sense."""
        return request.search(self.model.config.search)

    def caption_photos(self, photos: Sequence[Photo], request: Request) -> list[Caption]:
        """Caption loaded photos as one batch."""
        if not photos:
            return []
        return self.caption_pixels(
            np.stack([to_square(p, self.size) for p in photos]), photos, request
        )

    def caption_pixels(
        self, pixels: np.ndarray, photos: Sequence[Photo], request: Request
    ) -> list[Caption]:
        """Caption a batch that is already squares: pixels (B, S, S, 3) uint8, and the photos that
        they were made of, for the drawings."""
        return self.caption_features(self.encode(pixels), photos, request)

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """pixels (B, S, S, 3) uint8 -> patch features (B, N, C)."""
        # On a CPU a few photos at a time: the activations of more fit neither into its caches nor
        # into the memory that the allocator keeps at hand.
        group = CPU_PHOTOS if self.device.type == "cpu" else len(pixels)
        parts = torch.split(torch.from_numpy(pixels).to(self.device), group)
        return torch.cat([self.model.features(part) for part in parts])

    @torch.inference_mode()
    def word_attention(self, caption: Caption) -> list[np.ndarray]:
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
        self, features: Tensor, photos: Sequence[Photo], request: Request
    ) -> list[Caption]:
        """Caption a batch of photos whose patch features (B, N, C) are known."""
        tokenizer = self.model.tokenizer
        memory = self.model.memory_of(features.to(self.device))
        found = self.model.write(
            memory,
            self.search(request),
            prefix=tokenizer.encode_prefix(request.prefix),
            processors=[BannedWords(request.without, tokenizer)] if request.without else [],
        )
        maps: list[list[np.ndarray | None]] = (
            self._look(memory, found) if request.heatmaps else [[None] * len(row) for row in found]
        )
        captions = []
        for photo, row, weights in zip(photos, found, maps, strict=True):
            first, *others = [
                finish(self.model, photo, h, w) for h, w in zip(row, weights, strict=True)
            ]
            first.alternatives.extend(others)
            captions.append(first)
        return captions

    def _look(
        self, memory: list[KeyValue], found: list[list[Hypothesis]]
    ) -> list[list[np.ndarray | None]]:
        """The second look at every caption of every photo: attention weights (L, H, T, N)."""
        looks: list[list[np.ndarray | None]] = [[None] * len(row) for row in found]
        for rank in range(max(len(row) for row in found)):
            # One pass for the best captions of all photos, one for the second best, ...
            with_rank = [i for i, row in enumerate(found) if rank < len(row)]
            index = torch.tensor(with_rank, device=self.device)
            whole = len(with_rank) == len(found)
            part = memory if whole else [(k[index], v[index]) for k, v in memory]
            weights = self.model.look(part, [found[i][rank].ids for i in with_rank])
            for i, w in zip(with_rank, weights, strict=True):
                looks[i][rank] = w.numpy()
        return looks


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
