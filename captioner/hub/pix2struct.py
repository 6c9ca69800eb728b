"""Pix2Struct (Lee et al. 2022): a ViT over as many patches as fit a budget, in the photo's own
shape, and a T5 decoder. Its heads for documents, which draw a question into the picture, are
refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from captioner.errors import ModelError, SettingError
from captioner.generation import Search
from captioner.request import Request

from .cross import CrossModel
from .loading import load_net, load_parts
from .locate import Checkpoint
from .settings import token


class Pix2Struct(CrossModel):
    default = Search(beams=3, length_penalty=1.0, max_length=50)
    places = 1 << 20  # its positions are relative

    def __init__(self, checkpoint: Checkpoint, net: Any, images: Any, tokenizer: Any):
        if getattr(images, "is_vqa", False):
            raise ModelError(
                f"{checkpoint.name} answers questions that are drawn into the picture; it writes "
                "no captions."
            )
        self.patch = net.config.vision_config.patch_size
        self.begin = token(net, "decoder_start_token_id", "pad_token_id")
        self.end = token(net, "eos_token_id")
        super().__init__(checkpoint, net, images, tokenizer)

    def check(self, request: Request) -> None:
        if request.style:
            raise SettingError(
                f"{self.checkpoint.name} knows no `style`: it has learnt to write one kind of "
                'sentence. A `prompt` such as "A picture of" is read before each caption.'
            )

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        return "", tuple(self.tokenizer.encode_prefix(request.prompt))

    def pictures(self, image: Image.Image) -> Sequence[np.ndarray]:
        made = self.images(images=[image], return_tensors="pt", do_normalize=False)
        # Each line is a patch: its row and column, which begin at 1 and are 0 in padding, and its
        # pixels (row, column, colour).
        lines = made["flattened_patches"][0].float().numpy()
        lines = lines[lines[:, 0] > 0]
        rows, columns = int(lines[:, 0].max()), int(lines[:, 1].max())
        patches = lines[:, 2:].reshape(rows, columns, self.patch, self.patch, 3)
        picture = patches.transpose(4, 0, 2, 1, 3)
        return [picture.reshape(3, rows * self.patch, columns * self.patch)]

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        mask = pixels["attention_mask"]
        out = self.net.encoder(pixels["flattened_patches"], attention_mask=mask)
        return out.last_hidden_state, mask

    def logits(self, ids: Tensor, states: Tensor, cache: Any) -> Tensor:
        out = self.net.decoder(
            input_ids=ids, encoder_hidden_states=states, cache=cache, use_cache=cache is not None
        )
        logits: Tensor = out.logits
        return logits


def load(checkpoint: Checkpoint, **how: Any) -> Pix2Struct:
    from transformers import Pix2StructForConditionalGeneration

    net = load_net(Pix2StructForConditionalGeneration, checkpoint, **how)
    return Pix2Struct(checkpoint, net, *load_parts(checkpoint))
