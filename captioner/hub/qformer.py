"""BLIP-2 (Li et al. 2023) and InstructBLIP (Dai et al. 2023): a ViT, a Q-Former whose learned
queries look at its patches, and a language model that reads the queries.

The language model stands behind them in two kinds: one that only decodes (OPT, Vicuna) reads the
queries before its text, one that also encodes (T5) looks at them by cross-attention. In both a
token's map is its attention to the queries composed with the queries' attention to the patches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captioner.errors import SettingError
from captioner.generation import Search
from captioner.request import Request

from .base import HubModel, S
from .cross import CrossModel, Looked
from .loading import load_net, load_processor
from .locate import Checkpoint
from .prefix import PrefixModel, Read
from .settings import token
from .styles import prompt_of


class QFormer(HubModel[S]):
    """What both kinds have in common. `instructed`: the Q-Former reads the prompt, too."""

    maps = "query-composed attention"
    default = Search(beams=5, length_penalty=1.0, max_length=30)

    def __init__(self, checkpoint: Checkpoint, net: Any, processor: Any):
        self.instructed = net.config.model_type == "instructblip"
        self.patch = net.config.vision_config.patch_size
        net.qformer.set_attn_implementation("eager")  # which gives its weights
        super().__init__(checkpoint, net, processor.image_processor, processor.tokenizer)
        self.processor = processor

    def check(self, request: Request) -> None:
        if self.instructed:
            prompt_of(request, "instructblip", self.checkpoint.name)
        elif request.style:
            raise SettingError(
                f"{self.checkpoint.name} knows no `style`: it has learnt to write one kind of "
                'sentence. A `prompt` such as "a photo of" or "Question: ... Answer:" is read '
                "before each caption."
            )

    def asked(self, request: Request) -> str:
        if self.instructed:
            return prompt_of(request, "instructblip", self.checkpoint.name)
        return " ".join(request.prompt.split())

    def queries(self, pixels: Tensor, prompt: str) -> tuple[Tensor, Tensor]:
        """What the language model reads of the photos (B, Q, D), and the lens (B, Q, N)."""
        net = self.net
        seen = net.vision_model(pixels).last_hidden_state
        asked: dict[str, Any] = {}
        if self.instructed:
            read = self.processor.qformer_tokenizer(prompt, return_tensors="pt")["input_ids"]
            asked["input_ids"] = read.to(seen.device).expand(len(seen), -1)
            count = net.config.num_query_tokens + read.shape[1]
            asked["attention_mask"] = torch.ones(
                len(seen), count, dtype=torch.long, device=seen.device
            )
        out = net.qformer(
            query_embeds=net.query_tokens.expand(len(seen), -1, -1), encoder_hidden_states=seen,
            output_attentions=True, **asked,
        )  # fmt: skip
        count = net.config.num_query_tokens
        read = net.language_projection(out.last_hidden_state[:, :count].to(seen.dtype))
        lens = torch.stack(out.cross_attentions).mean(dim=(0, 2))[..., 1:]  # after the class token
        return read, lens / lens.sum(dim=-1, keepdim=True)


class PrefixQFormer(QFormer[Read], PrefixModel):
    def __init__(self, checkpoint: Checkpoint, net: Any, processor: Any):
        self.cells = slice(0, net.config.num_query_tokens)
        self.begin = token(net.language_model, "bos_token_id")
        self.end = token(net.language_model, "eos_token_id")
        self.places = net.config.text_config.max_position_embeddings
        super().__init__(checkpoint, net, processor)

    @property
    def text(self) -> Any:
        return self.net.language_model

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        text = self.asked(request)
        return text, tuple(self.tokenizer.encode_prefix(text))

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        return self.queries(pixels["pixel_values"], prompt)


class CrossQFormer(QFormer[Looked], CrossModel):
    places = 1 << 20  # T5's positions are relative

    def __init__(self, checkpoint: Checkpoint, net: Any, processor: Any):
        self.begin = token(net.language_model, "decoder_start_token_id", "pad_token_id")
        self.end = token(net.language_model, "eos_token_id")
        super().__init__(checkpoint, net, processor)

    def prompt(self, request: Request) -> tuple[str, tuple[int, ...]]:
        return self.asked(request), ()

    def encode(self, pixels: dict[str, Tensor], prompt: str) -> tuple[Tensor, Tensor | None]:
        text = self.net.language_model
        queries, lens = self.queries(pixels["pixel_values"], prompt)
        ids = self.processor.tokenizer(prompt, return_tensors="pt")["input_ids"].to(queries.device)
        words = text.get_input_embeddings()(ids).expand(len(queries), -1, -1)
        read = torch.cat([queries.to(words.dtype), words], dim=1)
        return text.encoder(inputs_embeds=read).last_hidden_state, lens

    def logits(self, ids: Tensor, states: Tensor, cache: Any) -> Tensor:
        out = self.net.language_model(
            decoder_input_ids=ids, encoder_outputs=(states,), cache=cache,
            use_cache=cache is not None,
        )  # fmt: skip
        logits: Tensor = out.logits
        return logits


def load(checkpoint: Checkpoint, **how: Any) -> QFormer[Any]:
    import transformers

    name = "InstructBlip" if checkpoint.kind == "instructblip" else "Blip2"
    net = load_net(getattr(transformers, f"{name}ForConditionalGeneration"), checkpoint, **how)
    processor = load_processor(checkpoint)
    if net.config.use_decoder_only_language_model:
        return PrefixQFormer(checkpoint, net, processor)
    return CrossQFormer(checkpoint, net, processor)
