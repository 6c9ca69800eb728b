"""Florence-2 (Xiao et al. 2023): DaViT, and a BART whose encoder reads the photo and the prompt.

Its text looks at the photo's tokens and at the prompt's. The first of the photo's tokens is the
mean of the others (`Florence2MultiModalProjector`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.errors import SettingError
from captioner.generation import Search
from captioner.request import Request

from .cross import CrossModel
from .loading import load_net, load_processor
from .locate import Checkpoint
from .settings import token
from .styles import prompt_of


class Florence(CrossModel):
    default = Search(beams=3, length_penalty=1.0, no_repeat=3, max_length=200)

    def __init__(self, checkpoint: Checkpoint, net: Any, processor: Any):
        config = net.config
        self.patch = math.prod(config.vision_config.patch_stride)
        self.begin = token(net, "decoder_start_token_id")
        self.end = token(net, "eos_token_id")
        self.places = config.text_config.max_position_embeddings
        super().__init__(checkpoint, net, processor.image_processor, processor.tokenizer)
        self.processor = processor
        self.first = 1 + self.ids("<CAPTION>").tolist().index(config.image_token_id)

    def ids(self, prompt: str) -> Tensor:
        """What the encoder reads: (S,), with a place for each token of the photo."""
        grey = np.full((32, 32, 3), 128, np.uint8)
        try:
            read = self.processor(text=[prompt], images=[grey], return_tensors="pt")
        except ValueError as error:  # a task with more text behind it
            raise SettingError(
                f"{self.checkpoint.name} cannot read this `prompt`: {error}"
            ) from error
        ids: Tensor = read["input_ids"][0]
        return ids

    def check(self, request: Request) -> None:
        prompt_of(request, "florence2", self.checkpoint.name)

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        return prompt_of(request, "florence2", self.checkpoint.name), ()

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        photos = self.net.get_image_features(pixels["pixel_values"]).pooler_output
        ids = self.ids(prompt).to(photos.device)
        embedded = self.net.get_input_embeddings()(ids).expand(len(photos), -1, -1)
        place = (ids == self.net.config.image_token_id)[None, :, None]
        embedded = embedded.masked_scatter(place.expand_as(embedded), photos.to(embedded.dtype))
        everything = torch.ones(embedded.shape[:2], dtype=torch.long, device=ids.device)
        encoder = self.net.model.language_model.encoder
        return encoder(attention_mask=everything, inputs_embeds=embedded).last_hidden_state, None

    def logits(self, ids: Tensor, states: Tensor, cache: Any) -> Tensor:
        out = self.net.model.language_model.decoder(
            input_ids=ids, encoder_hidden_states=states, cache=cache, use_cache=cache is not None
        )
        logits: Tensor = self.net.lm_head(out.last_hidden_state)
        return logits


def load(checkpoint: Checkpoint, **how: Any) -> Florence:
    from transformers import Florence2ForConditionalGeneration

    net = load_net(Florence2ForConditionalGeneration, checkpoint, **how)
    return Florence(checkpoint, net, load_processor(checkpoint))
