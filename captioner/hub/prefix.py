"""Checkpoints whose text follows the photo in one row of tokens, under our own search.

The photo is encoded once; the language model reads what came of it, and its cache follows the
beams. The second look is the attention of each token to the photo's tokens. Where those are not
places but learned queries (the Q-Former of BLIP-2), it is composed with what the queries look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captioner.attention import Placement
from captioner.errors import SettingError
from captioner.generation import Hypothesis, Processor, Search, generate
from captioner.photos import Photo
from captioner.request import Request

from .base import HubModel
from .settings import chosen, rules_of
from .watch import watchable, watching


@dataclass
class Read:
    """A batch of photos as a language model reads them: (B, S, D), of which `cells` are the places
    on the photo, or the queries that `lens` (B, Q, N) says what they look at. prompt: the ids that
    are read before every caption."""

    photos: Tensor
    lens: Tensor | None
    placements: list[Placement]
    prompt: tuple[int, ...] = ()

    def part(self, photos: Sequence[int]) -> Read:
        index = torch.tensor(photos, device=self.photos.device)
        return Read(
            self.photos[index], None if self.lens is None else self.lens[index],
            [self.placements[i] for i in photos], self.prompt,
        )  # fmt: skip


class PrefixModel(HubModel):
    """A family gives `encode`, and `text`, its language model; `begin` and `end`, the ids of
    captions; `places`, the positions that the language model has for all tokens; and `cells`, which
    of the photo's S tokens are places on the photo, or queries."""

    maps = "image-token attention"
    text: Any
    begin: int
    end: int
    places: int
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
        placements = [self.place(photo) for photo in photos]
        lens = torch.cat(lenses) if lenses else None
        return Read(torch.cat([part for part, _ in parts]), lens, placements, ids)

    def part(self, memory: Read, photos: Sequence[int]) -> Read:
        return memory.part(photos)

    def placement(self, memory: Read, photo: int) -> Placement:
        return memory.placements[photo]

    def write(
        self,
        memory: Read,
        search: Search | None = None,
        *,
        prefix: Sequence[int] = (),
        processors: Sequence[Processor] = (),
        seeds: Sequence[int] | None = None,
    ) -> list[list[Hypothesis]]:
        search = search or self.search
        room = self.places - memory.photos.shape[1] - 1 - len(memory.prompt)
        if search.max_length > room:
            raise SettingError(
                f"The maximum length is {search.max_length}, but {self.checkpoint.name} has places "
                f"for {room} tokens after the photo; lower `max_length`."
            )
        config = self.text.generation_config
        forced = rules_of(config, len(prefix), search.max_length, self.end)
        found = generate(
            Step(self, memory), len(memory.photos), search, bos=self.begin, eos=self.end,
            pad=self.begin, never=(), prompt=memory.prompt, prefix=prefix,
            conventions=self.conventions, processors=[*processors, *forced], seeds=seeds,
            device=memory.photos.device,
        )  # fmt: skip
        return [[chosen(one, config, search.max_length, prefix) for one in row] for row in found]

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
