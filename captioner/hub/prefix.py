"""Checkpoints whose text follows the photo in one row of tokens, under our own search.

The photo is encoded once; the language model reads what came of it, and its cache follows the
beams. The second look is the attention of each token to the photo's tokens. Where those are not
places but learned queries (the Q-Former of BLIP-2), it is composed with what the queries look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from captioner.photos import Photo
from captioner.request import Request

from .base import HubModel, Seen
from .watch import watchable, watching


@dataclass
class Read(Seen):
    """Photos as a language model reads them, (B, S, D)."""

    photos: Tensor

    def part(self, photos: Sequence[int]) -> Self:
        part = super().part(photos)
        part.photos = self.photos[list(photos)]
        return part


class PrefixModel(HubModel[Read]):
    """A family gives `encode`, and `text`, its language model; and `cells`, which of the photo's S
    tokens are places on the photo, or queries."""

    maps = "image-token attention"
    text: Any
    cells: slice

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self.layers = [f"Layer {i + 1}" for i in range(self.text.config.num_hidden_layers)]
        if not self.watch():
            self.maps = ""

    def watch(self) -> bool:
        """Make the language model's attention watchable, and say whether it is."""
        return watchable(self.text)

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        """What the processor gave -> what the language model reads of each photo (B, S, D), and the
        lens (B, Q, N) where its cells are queries."""
        raise NotImplementedError

    def first(self, photos: Tensor, ids: Tensor, cache: Any) -> Tensor:
        """Photos (B, S, D) and the ids (B, t) after them -> logits (B, S + t, V)."""
        words = self.text.get_input_embeddings()(ids)
        together = torch.cat([photos.to(words.dtype), words], dim=1)
        return self.logits(inputs_embeds=together, cache=cache)

    def further(self, ids: Tensor, cache: Any, length: int) -> Tensor:
        """ids (R, 1) after `length` ids of a caption that the cache holds -> logits (R, 1, V)."""
        return self.logits(input_ids=ids, cache=cache)

    def logits(self, cache: Any, **inputs: Any) -> Tensor:
        logits: Tensor = self.text(**inputs, cache=cache, use_cache=cache is not None).logits
        return logits

    @torch.inference_mode()
    def see(self, photos: Sequence[Photo], request: Request) -> Read:
        text, ids = self.prompt(request)
        parts = self.encoded(photos, text)
        lenses = [lens for _, lens in parts if lens is not None]
        return Read(
            [self.place(photo) for photo in photos], ids, torch.cat(lenses) if lenses else None,
            torch.cat([part for part, _ in parts]),
        )  # fmt: skip

    def step(self, memory: Read) -> Step:
        return Step(self, memory)

    def read(self, ids: Tensor, memory: Read) -> Tensor:
        return self.first(memory.photos, ids, None)

    def taken(self, memory: Read) -> int:
        return memory.photos.shape[1]

    @property
    def writing(self) -> Any:
        return self.text.generation_config

    @torch.inference_mode()
    def look(self, memory: Read, captions: Sequence[Sequence[int]]) -> Iterable[Tensor]:
        before = [self.begin, *memory.prompt]
        at = memory.photos.shape[1] + len(before) - 1  # the query that wrote the first token
        for i, ids in enumerate(captions):
            row = torch.tensor([[*before, *ids][: len(before) + len(ids) - 1]], device=self.device)
            layers = self.attention(memory.photos[i : i + 1], row, slice(at, at + len(ids)))
            weights = torch.stack([layer[0] for layer in layers]).float()
            if memory.lens is not None:
                weights = weights @ memory.lens[i].float()
            yield weights.cpu()

    def attention(self, photo: Tensor, ids: Tensor, rows: slice) -> Sequence[Tensor]:
        """Of each layer the attention (1, H, rows, cells) to one photo's cells, where `ids` (1, t)
        follow it."""
        with watching(rows, self.cells, self.text) as layers:
            self.first(photo, ids, None)
        return layers


class Step:
    """The language model as a `generation.Step`: its cache follows the rows."""

    def __init__(self, model: PrefixModel, memory: Read):
        from transformers import DynamicCache

        self.model, self.memory = model, memory
        self.cache = DynamicCache()
        self.length = 0

    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        if parents is None:
            logits = self.model.first(self.memory.photos, tokens, self.cache)
        else:
            self.cache.reorder_cache(parents)  # type: ignore[arg-type]
            logits = self.model.further(tokens, self.cache, self.length)
        self.length += tokens.shape[1]
        return logits[:, -1]
