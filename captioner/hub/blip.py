"""BLIP (Li et al. 2022): a ViT, and a BERT with cross-attention that writes on from a prompt.

Its generate puts the begin token in place of the prompt's [CLS], and ends at [SEP].
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captioner.errors import SettingError
from captioner.generation import Search
from captioner.request import Request

from .cross import CrossModel
from .loading import load_net, load_parts
from .locate import Checkpoint


class Blip(CrossModel):
    # As in the paper: 3 beams, 5 to 20 tokens.
    default = Search(beams=3, length_penalty=1.0, min_length=5, max_length=20)
    first = 1  # after the class token

    def __init__(self, checkpoint: Checkpoint, net: Any, images: Any, tokenizer: Any):
        text, vision = net.config.text_config, net.config.vision_config
        self.patch = vision.patch_size
        self.begin, self.end = text.bos_token_id, text.sep_token_id
        self.places = text.max_position_embeddings
        super().__init__(checkpoint, net, images, tokenizer)

    def check(self, request: Request) -> None:
        if request.style:
            raise SettingError(
                f"{self.checkpoint.name} knows no `style`: it has learnt to write one kind of "
                'sentence. A `prompt` such as "a picture of" is read before each caption.'
            )

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        return "", tuple(self.tokenizer.encode_prefix(request.prompt))

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        return self.net.vision_model(pixels["pixel_values"]).last_hidden_state, None

    def logits(self, ids: Tensor, states: Tensor, cache: Any) -> Tensor:
        out = self.net.text_decoder(
            input_ids=ids, encoder_hidden_states=states, cache=cache, use_cache=cache is not None
        )
        logits: Tensor = out.logits
        return logits


def load(checkpoint: Checkpoint, **how: Any) -> Blip:
    from transformers import BlipForConditionalGeneration

    net = load_net(BlipForConditionalGeneration, checkpoint, **how)
    return Blip(checkpoint, net, *load_parts(checkpoint))
