"""Kosmos-2 (Peng et al. 2023): a CLIP vision tower, learned queries that look at its patches, and a
language model that reads the queries between <image> and </image>."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captioner.errors import SettingError
from captioner.generation import Search
from captioner.request import Request

from .loading import load_net, load_processor
from .locate import Checkpoint
from .prefix import PrefixModel
from .settings import token
from .watch import watching


class Kosmos(PrefixModel):
    maps = "query-composed attention"
    default = Search(beams=3, length_penalty=1.0, max_length=64)

    def __init__(self, checkpoint: Checkpoint, net: Any, processor: Any):
        tokenizer, config = processor.tokenizer, net.config
        self.patch = config.vision_config.patch_size
        self.opening = tokenizer.convert_tokens_to_ids([tokenizer.bos_token, processor.boi_token])
        self.begin = tokenizer.convert_tokens_to_ids(processor.eoi_token)
        self.end = token(net.text_model, "eos_token_id")
        self.cells = slice(2, 2 + config.latent_query_num)
        self.places = config.text_config.max_position_embeddings
        super().__init__(checkpoint, net, processor.image_processor, tokenizer)

    @property
    def text(self) -> Any:
        return self.net.text_model

    def check(self, request: Request) -> None:
        if request.style:
            raise SettingError(
                f"{self.checkpoint.name} knows no `style`. Its `prompt` is read before each "
                'caption: "An image of" unless you say otherwise.'
            )

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        text = request.prompt or ("" if request.prefix else "An image of")
        return "", tuple(self.tokenizer.encode_prefix(text))

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        net = self.net
        seen = net.vision_model(pixel_values=pixels["pixel_values"])[0]
        seen = torch.nn.functional.normalize(net.vision_model.model.post_layernorm(seen), dim=-1)
        # Its queries look at the class token, the patches and themselves.
        with watching(slice(None), slice(1, seen.shape[1])) as kept:
            queries, _ = net.image_to_text_projection(seen)
        opening = torch.tensor([self.opening], device=seen.device)
        words = self.text.get_input_embeddings()(opening).expand(len(seen), -1, -1)
        lens = kept[0].mean(dim=1) if kept else None
        if lens is not None:
            lens = lens / lens.sum(dim=-1, keepdim=True)
        return torch.cat([words, queries.to(words.dtype)], dim=1), lens


def load(checkpoint: Checkpoint, **how: Any) -> Kosmos:
    from transformers import Kosmos2ForConditionalGeneration

    net = load_net(Kosmos2ForConditionalGeneration, checkpoint, **how)
    return Kosmos(checkpoint, net, load_processor(checkpoint))
