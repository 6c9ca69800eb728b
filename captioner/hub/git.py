"""GIT (Wang et al. 2022): the patches of a CLIP vision tower stand before the text, which attends
to them as to its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from captioner.errors import ModelError, SettingError
from captioner.generation import Search
from captioner.request import Request

from .loading import load_net, load_parts
from .locate import Checkpoint
from .prefix import PrefixModel


class Git(PrefixModel):
    default = Search(beams=3, length_penalty=1.0, max_length=40)

    def __init__(self, checkpoint: Checkpoint, net: Any, images: Any, tokenizer: Any):
        if net.config.num_image_with_embedding:
            raise ModelError(f"{checkpoint.name} captions videos, not photographs.")
        vision = net.config.vision_config
        self.patch = vision.patch_size
        self.cells = slice(1, 1 + (vision.image_size // vision.patch_size) ** 2)  # after the class
        self.begin, self.end = tokenizer.cls_token_id, tokenizer.sep_token_id
        # The text's positions are counted without the photo.
        self.places = net.config.max_position_embeddings + self.cells.stop
        super().__init__(checkpoint, net, images, tokenizer)
        # Its forward encodes the photo itself; it is given what was encoded before.
        self.tower, net.git.image_encoder = net.git.image_encoder, Given()

    @property
    def text(self) -> Any:
        return self.net

    def watch(self) -> bool:
        return True  # it has attention of its own, which always gives its weights

    def check(self, request: Request) -> None:
        if request.style:
            raise SettingError(
                f"{self.checkpoint.name} knows no `style`: it has learnt to write one kind of "
                "sentence. A `prompt` is read before each caption."
            )

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        return "", tuple(self.tokenizer.encode_prefix(request.prompt))

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        return self.tower(pixels["pixel_values"]).last_hidden_state, None

    def first(self, photos: Tensor, ids: Tensor, cache: Any) -> Tensor:
        return self.logits(input_ids=ids, pixel_values=photos[:, None], cache=cache)

    def further(self, ids: Tensor, cache: Any, length: int) -> Tensor:
        place = torch.full((1, 1), length, device=ids.device)
        return self.logits(input_ids=ids, position_ids=place, cache=cache)

    def attention(self, photo: Tensor, ids: Tensor, rows: slice) -> Sequence[Tensor]:
        out = self.net(input_ids=ids, pixel_values=photo[:, None], output_attentions=True)
        return [layer[:, :, rows, self.cells] for layer in out.attentions]


class Given(nn.Module):
    """In place of the vision tower: what it gave, (B, 1, N, C), as it gives it."""

    def forward(self, given: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=given[:, 0])


def load(checkpoint: Checkpoint, **how: Any) -> Git:
    from transformers import GitForCausalLM

    net = load_net(GitForCausalLM, checkpoint, **how)
    return Git(checkpoint, net, *load_parts(checkpoint))
