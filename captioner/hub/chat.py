"""Any vision-language model of the library that is asked in a chat (AutoModelForImageTextToText):
LLaVA, SmolVLM, Qwen-VL, InternVL, Gemma 3, PaliGemma and their kin, under our own search.

The question and the photo are read once. What the language model remembers of them (its keys and
values) is where the search begins, and where the second look begins too: photos whose questions
have the same tokens are read, and written of, as one batch. A map is the attention of each word to
the photo's tokens, where the checkpoint says how they lie on the photo.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captioner.attention import Placement, View
from captioner.errors import ModelError
from captioner.generation import Hypothesis, Processor, Search
from captioner.model import CPU_PHOTOS, too_long
from captioner.photos import Photo
from captioner.request import Request

from .base import HubModel, Seen
from .loading import load_net, load_processor, sentences
from .locate import Checkpoint
from .settings import declared
from .styles import prompt_of
from .watch import watchable, watching

CELLS: dict[str, Callable[[Any], float]] = {
    "llava": lambda config: config.vision_config.patch_size,
    "paligemma": lambda config: config.vision_config.patch_size,
    "idefics3": lambda config: config.vision_config.patch_size * config.scale_factor,
    "smolvlm": lambda config: config.vision_config.patch_size * config.scale_factor,
    "internvl": lambda config: config.vision_config.patch_size[0] / config.downsample_ratio,
    "gemma3": lambda config: config.vision_config.image_size / math.isqrt(
        config.mm_tokens_per_image
    ),
}  # fmt: skip
"""Pixels of the side of a cell that one of the photo's tokens stands for, where they lie rows first
in the views that the processor makes. (Models that are given `image_grid_thw` say it with that.)"""


@dataclass
class Group:
    """Photos that were read as one batch, as their questions have the same tokens.

    cache: what the language model remembers of them. kwargs: what the library hands from step to
    step. logits: (B, V), of the first token. looks: of each layer (B, H, 1, N), where the model
    looked for that. cells: which of the tokens are the photo's N.
    """

    cache: Any
    kwargs: dict[str, Any]
    logits: Tensor
    looks: list[Tensor]
    cells: Tensor


@dataclass
class Asked(Seen):
    """Photos with the question, each in its group."""

    places: list[tuple[Group, int]]

    def part(self, photos: Sequence[int]) -> Self:
        return replace(super().part(photos), places=[self.places[i] for i in photos])


class Chat(HubModel[Asked]):
    maps = "image-token attention"
    # The settings of a conversation, which are drawn at random, are no settings for captions.
    default = Search(beams=1, length_penalty=1.0, max_length=128)

    def __init__(self, checkpoint: Checkpoint, net: Any, processor: Any):
        text = net.config.get_text_config(decoder=True)
        ends = net.generation_config.eos_token_id or text.eos_token_id
        if ends is None:
            raise ModelError(f"{checkpoint.name} does not say which token ends its answers.")
        self.ends = [ends] if isinstance(ends, int) else list(ends)
        self.begin = self.end = self.ends[0]  # the begin token is never read
        self.places = text.max_position_embeddings
        self.layers = [f"Layer {i + 1}" for i in range(text.num_hidden_layers)]
        super().__init__(checkpoint, net, processor.image_processor, processor.tokenizer)
        self.search = self.default.with_(
            max_length=declared(net.generation_config, "max_new_tokens")
        )
        self.processor = processor
        self.image_token = net.config.image_token_id
        self.style = "paligemma" if checkpoint.kind == "paligemma" else "chat"
        if not self.says_where() or not watchable(net.get_decoder()):
            self.maps = ""

    def says_where(self) -> bool:
        """Whether the checkpoint says how the photo's tokens lie on it, and they do."""
        grey = Photo(Image.new("RGB", (60, 40), (128, 128, 128)), 60, 40)
        read = self.tensors(grey.image, "")
        cell = CELLS.get(self.checkpoint.kind)
        if cell is None and "image_grid_thw" not in read:
            return False
        self.patch = int(cell(self.net.config)) if cell else 0
        return self.place(grey).cells == int((read["input_ids"] == self.image_token).sum())

    def check(self, request: Request) -> None:
        prompt_of(request, self.style, self.checkpoint.name)

    def tensors(self, image: Image.Image, prompt: str, **how: Any) -> dict[str, Tensor]:
        """A photo and the question as the processor makes them tensors, all with one row of a
        batch, or as many as the photo has views."""
        photo: dict[str, Any] = {"type": "image", "image": image}
        asked = [{"role": "user", "content": [photo, {"type": "text", "text": prompt}]}]
        if getattr(self.processor, "chat_template", None):
            made = self.processor.apply_chat_template(
                asked, add_generation_prompt=True, tokenize=True, return_dict=True,
                return_tensors="pt", processor_kwargs={"images_kwargs": how},
            )  # fmt: skip
        else:
            made = self.processor(
                images=[image], text=[self.processor.image_token + prompt], images_kwargs=how,
                return_tensors="pt",
            )  # fmt: skip
        return {name: x for name, x in made.items() if isinstance(x, Tensor)}

    def pictures(self, image: Image.Image) -> Sequence[np.ndarray]:
        made = self.tensors(image, "", do_rescale=False, do_normalize=False)["pixel_values"]
        return list(made.float().reshape(-1, *made.shape[-3:]).numpy())

    def place(self, photo: Photo) -> Placement:
        if self.patch:
            return super().place(photo)
        # The whole photo, in as many patches as suit its shape, some of which are one token.
        size = photo.image.size
        if size not in self._placements:
            _, rows, columns = self.tensors(photo.image, "")["image_grid_thw"][0].tolist()
            merged = self.processor.image_processor.merge_size
            self._placements[size] = Placement((View(rows // merged, columns // merged),))
        return self._placements[size]

    @torch.inference_mode()
    def see(self, photos: Sequence[Photo], request: Request) -> Asked:
        prompt = prompt_of(request, self.style, self.checkpoint.name)
        most = CPU_PHOTOS if self.device.type == "cpu" else len(photos)
        rows = [self.tensors(photo.image, prompt) for photo in photos]
        alike: dict[object, list[int]] = {}
        for i, row in enumerate(rows):
            shapes = tuple((name, x.shape) for name, x in sorted(row.items()))
            alike.setdefault((shapes, tuple(row["input_ids"][0].tolist())), []).append(i)
        found: dict[int, tuple[Group, int]] = {}
        for same in alike.values():
            for at in range(0, len(same), most):
                part = same[at : at + most]
                group = self.prefill({
                    name: torch.cat([rows[i][name] for i in part]) for name in rows[part[0]]
                })  # fmt: skip
                found |= {i: (group, place) for place, i in enumerate(part)}
        placements = [self.place(p) if self.maps else Placement(()) for p in photos]
        return Asked(placements, (), None, [found[i] for i in range(len(photos))])

    def prefill(self, inputs: dict[str, Tensor]) -> Group:
        """Read photos and their question, as the library's `generate` begins."""
        from transformers import DynamicCache

        net, dtype = self.net, next(self.net.parameters()).dtype
        inputs = {
            name: x.to(self.device, dtype if x.is_floating_point() else x.dtype)
            for name, x in inputs.items()
        }
        ids = inputs.pop("input_ids")
        inputs.setdefault("attention_mask", torch.ones_like(ids))
        kwargs: dict[str, Any] = {
            **inputs,
            "use_cache": True,
            "cache": DynamicCache(config=net.config),
        }
        accepted = inspect.signature(net.forward).parameters
        if "position_ids" in accepted:
            kwargs["position_ids"] = net._prepare_position_ids_for_generation(
                ids, {**kwargs, "input_ids": ids}
            )
        if "logits_to_keep" in accepted:
            kwargs["logits_to_keep"] = 1
        made = net.prepare_inputs_for_generation(ids, is_first_iteration=True, **kwargs)
        cells = (ids[0] == self.image_token).nonzero().flatten()
        with watching(slice(-1, None), cells, net.get_decoder()) as looks:
            out = net(**made, return_dict=True)
        kwargs.pop("logits_to_keep", None)
        return Group(out.cache, kwargs, self.closed(out.logits[:, -1]), looks, cells)

    def closed(self, logits: Tensor) -> Tensor:
        """Logits (..., V) in which one end token stands for all that there are."""
        if len(self.ends) == 1:
            return logits
        logits = logits.clone()
        end = logits[..., self.ends].logsumexp(dim=-1)
        logits[..., self.ends] = -torch.inf
        logits[..., self.end] = end
        return logits

    def step(self, memory: Asked) -> Step:
        return Step(self, memory)

    def taken(self, memory: Asked) -> int:
        length: int = memory.places[0][0].kwargs["attention_mask"].shape[1]
        return length

    def write(
        self,
        memory: Asked,
        search: Search | None = None,
        *,
        prefix: Sequence[int] = (),
        processors: Sequence[Processor] = (),
        seeds: Sequence[int] | None = None,
    ) -> list[list[Hypothesis]]:
        groups: dict[int, list[int]] = {}
        for i, (group, _) in enumerate(memory.places):
            groups.setdefault(id(group), []).append(i)
        found: dict[int, list[Hypothesis]] = {}
        for photos in groups.values():
            rows = super().write(
                memory.part(photos), search, prefix=prefix, processors=processors,
                seeds=[seeds[i] for i in photos] if seeds else None,
            )  # fmt: skip
            found |= dict(zip(photos, rows, strict=True))
        return [found[i] for i in range(len(memory.places))]

    @torch.inference_mode()
    def logprobs(self, memory: Asked, captions: Sequence[Sequence[int]]) -> list[Tensor]:
        found = []
        for i, ids in enumerate(captions):
            part = memory.part([i])
            if len(ids) > self.room(part):
                raise too_long(len(ids), self.room(part))
            step = Step(self, part)
            first, tokens = step.logits.unsqueeze(1), torch.tensor([ids], device=self.device)
            logits = torch.cat([first, step.run(tokens, None)], dim=1)[0].float()
            written = torch.tensor([*ids, self.end], device=self.device)
            found.append(logits.log_softmax(dim=-1).gather(1, written.unsqueeze(1)).squeeze(1))
        return found

    @torch.inference_mode()
    def look(self, memory: Asked, captions: Sequence[Sequence[int]]) -> Iterable[Tensor]:
        for i, ids in enumerate(captions):
            group, row = memory.places[i]
            layers = [look[row : row + 1] for look in group.looks]
            if len(ids) > 1:
                before = torch.tensor([ids[:-1]], device=self.device)
                length = len(ids) - 1 + group.kwargs["attention_mask"].shape[1]
                text = self.net.get_decoder()
                with watching(slice(None), group.cells, text, length=length) as more:
                    Step(self, memory.part([i])).run(before, None)
                layers = [torch.cat(both, dim=2) for both in zip(layers, more, strict=True)]
            yield torch.stack([layer[0, :, : len(ids)] for layer in layers]).float().cpu()


class Step:
    """The language model as a `generation.Step`, which goes on from what it has read."""

    def __init__(self, model: Chat, memory: Asked):
        """memory: photos of one group."""
        self.model = model
        self.group = memory.places[0][0]
        rows = torch.tensor([row for _, row in memory.places], device=model.device)
        self.logits = self.group.logits[rows]
        self.kwargs = {**self.group.kwargs, "cache": _copied(self.group.cache)}
        self.follow(rows)

    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        if parents is None:
            tokens = tokens[:, 1:]  # without the begin token
            return self.run(tokens, None)[:, -1] if tokens.shape[1] else self.logits
        return self.run(tokens, parents)[:, -1]

    def follow(self, rows: Tensor) -> None:
        """Let the state of each row be that of one before."""
        self.kwargs["cache"].reorder_cache(rows)
        for name in ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids"):
            if (x := self.kwargs.get(name)) is not None:
                dim = x.dim() - 2  # positions may have a further dimension before the rows'
                if x.shape[dim] > 1 or dim == 0:
                    self.kwargs[name] = x.index_select(dim, rows)

    def run(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        """tokens (R, t) after all that was read -> logits (R, t, V)."""
        if parents is not None:
            self.follow(parents)
        net, count = self.model.net, tokens.shape[1]
        self.kwargs = net._update_model_kwargs_for_generation({}, self.kwargs, num_new_tokens=count)
        made = net.prepare_inputs_for_generation(
            tokens, next_sequence_length=count, is_first_iteration=False, **self.kwargs
        )
        return self.model.closed(net(**made, return_dict=True).logits)


def _copied(cache: Any) -> Any:
    """A cache that can go on without changing this one."""
    made = copy.copy(cache)
    made.layers = [
        # Keys and values are put together anew at every step; other states are changed in place.
        copy.copy(layer) if hasattr(layer, "keys") else copy.deepcopy(layer)
        for layer in cache.layers
    ]
    return made


def load(checkpoint: Checkpoint, **how: Any) -> Chat:
    from transformers import AutoModelForImageTextToText

    net = load_net(AutoModelForImageTextToText, checkpoint, **how)
    processor = load_processor(checkpoint)
    with sentences(checkpoint):  # its first photo may show that it is no captioner
        return Chat(checkpoint, net, processor)
