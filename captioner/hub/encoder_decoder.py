"""VisionEncoderDecoderModel: a vision encoder (ViT, DeiT, Swin, DINOv2) and a text decoder that has
cross-attention (GPT-2, BERT, RoBERTa), such as nlpconnect/vit-gpt2-image-captioning."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captioner.encoders.transformers import CLASS_TOKENS

from .cross import CrossModel
from .loading import load_net, load_parts
from .locate import Checkpoint
from .settings import token

WINDOWED = ("swin", "swinv2", "donut-swin")


class EncoderDecoder(CrossModel):
    def __init__(self, checkpoint: Checkpoint, net: Any, images: Any, tokenizer: Any):
        encoder, decoder = net.config.encoder, net.config.decoder
        kind = encoder.model_type
        if kind in WINDOWED:
            self.patch = encoder.patch_size * 2 ** (len(encoder.depths) - 1)
        elif kind in CLASS_TOKENS:
            self.patch = encoder.patch_size
            registers = getattr(encoder, "num_register_tokens", 0)
            self.first = CLASS_TOKENS[kind] + registers
        else:
            self.maps = ""
        self.begin = token(net, "decoder_start_token_id", "bos_token_id")
        self.end = token(net, "eos_token_id")
        # RoBERTa and its kin count positions from after the padding id.
        lost = decoder.pad_token_id + 1 if "roberta" in decoder.model_type else 0
        self.places = decoder.max_position_embeddings - lost
        super().__init__(checkpoint, net, images, tokenizer)

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        states = self.net.encoder(pixels["pixel_values"]).last_hidden_state
        project = getattr(self.net, "enc_to_dec_proj", None)
        return project(states) if project is not None else states, None

    def logits(self, ids: Tensor, states: Tensor, cache: Any) -> Tensor:
        out = self.net.decoder(
            input_ids=ids, encoder_hidden_states=states, cache=cache, use_cache=cache is not None
        )
        logits: Tensor = out.logits
        return logits


def load(checkpoint: Checkpoint, **how: Any) -> EncoderDecoder:
    from transformers import VisionEncoderDecoderModel

    net = load_net(VisionEncoderDecoderModel, checkpoint, **how)
    return EncoderDecoder(checkpoint, net, *load_parts(checkpoint))
