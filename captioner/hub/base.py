"""What every model from the hub has in common: its folder, its processor, its settings.

A family's file says how its photos are encoded, how its text is written, and which of the
positions that the text looks at are places on the photo; `cross` and `prefix` do the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from captioner.attention import Combine, Placement
from captioner.errors import SettingError
from captioner.generation import Conventions, Hypothesis, Processor, Search, Step, generate
from captioner.model import CPU_PHOTOS, too_long
from captioner.photos import Photo
from captioner.request import Request

from . import geometry
from .locate import Checkpoint
from .settings import chosen, conventions_of, rules_of, search_of, unrepeated
from .words import HubVocabulary

MOST_SIDE = 2048
"""Pixels of a photo's shorter side that are kept for a model, however many it could use."""


@dataclass
class Seen:
    """A batch of photos as the text of a checkpoint looks at them.

    placements: of each photo. prompt: the ids that are read before every caption. lens: where the
    text looks at learned queries, (B, Q, cells), what these look at.
    """

    placements: list[Placement]
    prompt: tuple[int, ...]
    lens: Tensor | None

    def part(self, photos: Sequence[int]) -> Self:
        """Some of the photos."""
        lens = None if self.lens is None else self.lens[list(photos)]
        return replace(self, placements=[self.placements[i] for i in photos], lens=lens)


S = TypeVar("S", bound=Seen)


class HubModel(nn.Module, Generic[S]):
    """A checkpoint of the transformers library: `net`, its image processor and its tokenizer.

    A family gives `default`, the search where the checkpoint does not name one; `patch`, the pixels
    of the side of a cell that the text looks at; `begin` and `end`, the ids that captions begin and
    end with; `places`, how many tokens its text has positions for; and overrides what differs.
    """

    default = Search(beams=3, length_penalty=1.0, max_length=30)
    square = False
    maps = "cross-attention"
    fades = False
    patch: int
    begin: int
    end: int
    places: int
    layers: list[str]

    def __init__(self, checkpoint: Checkpoint, net: Any, images: Any, tokenizer: Any):
        super().__init__()
        self.checkpoint = checkpoint
        self.net = net
        self.images = images
        size = net.config.get_text_config(decoder=True).vocab_size
        self.tokenizer = HubVocabulary(tokenizer, size)
        self.search: Search = search_of(net.generation_config, self.default)
        self.conventions: Conventions = conventions_of(net.generation_config)
        self.combine = Combine()
        self.side = min(MOST_SIDE, _side(images))
        self._placements: dict[tuple[int, int], Placement] = {}

    @property
    def about(self) -> dict[str, Any]:
        return self.checkpoint.about

    @property
    def device(self) -> torch.device:
        where: torch.device = next(self.net.parameters()).device
        return where

    def check(self, request: Request) -> None:
        for name in ("prompt", "style"):
            if getattr(request, name):
                raise SettingError(
                    f"{self.checkpoint.name} follows no `{name}`: it has learnt to write one kind "
                    "of sentence."
                )

    def pixels(self, photos: Sequence[Photo]) -> Mapping[str, Tensor]:
        """Photos as the processor hands them to the model, on its device and in its dtype."""
        made = self.images(images=[photo.image for photo in photos], return_tensors="pt")
        weight = next(self.net.parameters())
        return {
            name: x.to(weight.device, weight.dtype if x.is_floating_point() else x.dtype)
            for name, x in made.items()
            if isinstance(x, Tensor)
        }

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        """What of a request the encoder is to read, and the ids that come before every caption."""
        return "", ()

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        """What the processor gave, and a prompt -> what is known of the photos, in two tensors."""
        raise NotImplementedError

    def encoded(self, photos: Sequence[Photo], prompt: str) -> list[tuple[Tensor, Tensor | None]]:
        """`encode` of a batch: on a CPU a few photos at a time, as with our own encoders."""
        pixels = dict(self.pixels(photos))
        group = CPU_PHOTOS if self.device.type == "cpu" else len(photos)
        return [
            self.encode({name: x[at : at + group] for name, x in pixels.items()}, prompt)
            for at in range(0, len(photos), group)
        ]

    def step(self, memory: S) -> Step:
        """The search's step over the photos in `memory`."""
        raise NotImplementedError

    def read(self, ids: Tensor, memory: S) -> Tensor:
        """ids (R, t), the begin token first -> logits (R, S + t, V), S being what the text reads of
        the photo before them."""
        raise NotImplementedError

    def taken(self, memory: S) -> int:
        """How many of its places the photo takes."""
        return 0

    def room(self, memory: S) -> int:
        """The most tokens of a caption."""
        return self.places - self.taken(memory) - 1 - len(memory.prompt)

    @property
    def writing(self) -> Any:
        """The generation config that says which tokens are forced or forbidden."""
        return self.net.generation_config

    def write(
        self,
        memory: S,
        search: Search | None = None,
        *,
        prefix: Sequence[int] = (),
        processors: Sequence[Processor] = (),
        seeds: Sequence[int] | None = None,
    ) -> list[list[Hypothesis]]:
        search = search or self.search
        room = self.room(memory)
        if search.max_length > room:
            raise SettingError(
                f"The maximum length is {search.max_length}, but {self.checkpoint.name} has places "
                f"for {room} tokens; lower `max_length`."
            )
        first = getattr(self.writing, "forced_bos_token_id", None)
        if prefix and first is not None:
            prefix = [first, *prefix]
        forced = rules_of(self.writing, len(prefix), search.max_length, self.end)
        if search.no_repeat:
            forced.append(unrepeated([self.begin, *memory.prompt], search.no_repeat))
        found = generate(
            self.step(memory), len(memory.placements), search, bos=self.begin, eos=self.end,
            pad=self.begin, never=(), prompt=memory.prompt, prefix=prefix,
            conventions=self.conventions, processors=[*processors, *forced], seeds=seeds,
            device=self.device,
        )  # fmt: skip
        longest = search.max_length
        return [[chosen(one, self.writing, longest, prefix) for one in row] for row in found]

    def logprobs(self, memory: S, captions: Sequence[Sequence[int]]) -> list[Tensor]:
        longest = max(len(ids) for ids in captions)
        if longest > self.room(memory):
            raise too_long(longest, self.room(memory))
        padded = [[*ids, *[self.end] * (longest + 1 - len(ids))] for ids in captions]
        before = [self.begin, *memory.prompt]
        read = torch.tensor([[*before, *ids[:-1]] for ids in padded], device=self.device)
        found = self.read(read, memory)[:, -longest - 1 :].float().log_softmax(dim=-1)
        written = torch.tensor(padded, device=self.device)
        found = found.gather(2, written.unsqueeze(2)).squeeze(2)
        forced = len(self.tokenizer.forced)  # these were no choice
        found = torch.cat([torch.zeros_like(found[:, :forced]), found[:, forced:]], dim=1)
        return [row[: len(ids) + 1] for row, ids in zip(found, captions, strict=True)]

    def faded(self, memory: S, shown: Tensor) -> S:
        raise NotImplementedError

    def part(self, memory: S, photos: Sequence[int]) -> S:
        return memory.part(photos)

    def placement(self, memory: S, photo: int) -> Placement:
        return memory.placements[photo]

    def pictures(self, image: Image.Image) -> Sequence[np.ndarray]:
        """What the model sees of an image: views (3, H, W) in the image's own colours."""
        made = self.images(
            images=[image], return_tensors="pt", do_rescale=False, do_normalize=False
        )["pixel_values"]
        return list(made.float().reshape(-1, *made.shape[-3:]).numpy())

    def place(self, photo: Photo) -> Placement:
        """Where on a photo the cells are that the text looks at."""
        size = photo.image.size
        if size not in self._placements:
            if len(self._placements) >= 1000:
                self._placements.clear()
            self._placements[size] = geometry.placement(size, self.pictures, self.patch)
        return self._placements[size]


def _side(images: Any) -> int:
    """The most pixels that an image processor makes of a side of a photo."""
    found = [1]
    for name in ("size", "crop_size", "max_image_size"):
        sizes = getattr(images, name, None) or {}
        values = sizes.values() if isinstance(sizes, Mapping) else vars(sizes).values()
        found += [value for value in values if isinstance(value, int)]
    for pair in getattr(images, "image_grid_pinpoints", None) or ():
        found += [value for value in pair if isinstance(value, int)]
    if patches := getattr(images, "max_patches", None):
        size = getattr(images, "patch_size", None) or {"height": max(found), "width": max(found)}
        found.append(int((patches * size["height"] * size["width"]) ** 0.5))
    # Sizes in pixels altogether are given by some as if they were sides.
    return max(int(value**0.5) if value > 50_000 else value for value in found)
