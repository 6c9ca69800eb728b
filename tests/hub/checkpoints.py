"""Small checkpoints of the families with random weights, saved as the library saves them: its own
classes, tokenizers trained on the spot, and each family's real processor."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from torch import nn

from tests.conftest import CAPTIONS

TEXTS = [*CAPTIONS, "It's a man's hat, in front of the child.", "Three t-shirts (red) on the bike!"]
CONFUSED = 1.6
"""Times the usual spread of weights: next tokens differ clearly, and from photo to photo."""


def photos(count: int, seed: int = 0) -> list[Image.Image]:
    """Different pictures: coloured blotches, in landscape, portrait and square."""
    rng = np.random.default_rng(seed)
    sizes = [(64, 48), (48, 64), (56, 56), (90, 40)]
    return [
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
            sizes[i % len(sizes)], Image.Resampling.BICUBIC
        )
        for i in range(count)
    ]


def shake(net: nn.Module, seed: int, eos: int | None = None) -> None:
    """Random weights, large enough that what a model writes depends on what it sees. The end token
    is made likely enough to be written."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.dim() > 1:
                into = p[0].numel() if p.dim() != 2 or "c_" not in name else p.shape[0]
                p.normal_(0, CONFUSED / into**0.5)
            elif name.endswith("bias"):
                p.normal_(0, 0.1)
            else:
                p.normal_(1, 0.1)
        if eos is not None:
            net.get_input_embeddings().weight[eos] *= 2


def wordpiece(size: int = 90) -> Any:
    """A BERT tokenizer: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3."""
    from transformers import BertTokenizer

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[arg-type]
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return BertTokenizer(vocab=tokenizer.get_vocab())


def save(folder: Path, net: Any, *parts: Any) -> Path:
    from captioner.hub.loading import quiet

    with quiet():
        for part in (net, *parts):
            part.save_pretrained(folder)
    return folder


def blip(folder: Path, seed: int = 0, **vision: Any) -> Path:
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    tokenizer = wordpiece()
    ids = {"bos_token_id": len(tokenizer), "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        text_config={
            "vocab_size": len(tokenizer) + 1, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 48, **ids,
        },
        vision_config={
            "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8, **vision,
        },
    )  # fmt: skip
    net = BlipForConditionalGeneration(config).eval()
    shake(net, seed, 3)
    side = net.config.vision_config.image_size
    images = BlipImageProcessor(size={"height": side, "width": side})
    return save(folder, net, BlipProcessor(images, tokenizer))


def byte_bpe(size: int = 320, *, roberta: bool = False, **more: Any) -> Any:
    """A GPT-2 tokenizer, whose only special token is <|endoftext|>; or RoBERTa's: <s> 0, <pad> 1,
    </s> 2, <unk> 3."""
    from transformers import GPT2Tokenizer, RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if roberta else ["<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    kind = RobertaTokenizer if roberta else GPT2Tokenizer
    return kind(vocab=model["vocab"], merges=merges, **more)


ENCODERS = {
    "vit": {"hidden_size": 24, "intermediate_size": 48},
    "deit": {"hidden_size": 24, "intermediate_size": 48},
    "dinov2": {"hidden_size": 24, "mlp_ratio": 2},
    "dinov2_with_registers": {"hidden_size": 24, "mlp_ratio": 2, "num_register_tokens": 3},
    "swin": {
        "embed_dim": 12, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4, "patch_size": 4,
    },
}  # fmt: skip
DECODERS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48},
    "bert": {"hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 48},
    "roberta": {"hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 50},
}


def encoder_decoder(
    folder: Path, encoder: str = "vit", decoder: str = "gpt2", seed: int = 0
) -> Path:
    from transformers import (
        AutoConfig,
        CLIPImageProcessor,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTImageProcessor,
    )  # fmt: skip

    if decoder == "bert":
        tokenizer, begin, end, pad = wordpiece(), 2, 3, 0
    elif decoder == "roberta":
        tokenizer, begin, end, pad = byte_bpe(roberta=True), 0, 2, 1
    else:
        tokenizer, begin, end, pad = byte_bpe(), 0, 0, 0
    common = {"num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {"image_size": 32, "patch_size": 8, **ENCODERS[encoder]}
    text = {"vocab_size": len(tokenizer), "is_decoder": True, "add_cross_attention": True}
    config = VisionEncoderDecoderConfig(
        encoder=AutoConfig.for_model(encoder, **(common if encoder != "swin" else {}), **vision),
        decoder=AutoConfig.for_model(
            decoder, **(common if decoder != "gpt2" else {}), **text, **DECODERS[decoder],
            bos_token_id=begin, eos_token_id=end, pad_token_id=pad,
        ),
        decoder_start_token_id=begin, eos_token_id=end, pad_token_id=pad,
    )  # fmt: skip
    net = VisionEncoderDecoderModel(config).eval()
    net.generation_config.update(decoder_start_token_id=begin, eos_token_id=end, pad_token_id=pad)
    shake(net, seed, end)
    images: Any = ViTImageProcessor(size={"height": 32, "width": 32})
    if encoder.startswith("dinov2"):  # as its own processor does: the middle of the photo
        images = CLIPImageProcessor(
            size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
        )
    return save(folder, net, images, tokenizer)


def git(folder: Path, seed: int = 0) -> Path:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = wordpiece()
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = GitConfig(
        vision_config={
            "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
        },
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=48, **ids,
    )  # fmt: skip
    net = GitForCausalLM(config).eval()
    shake(net, seed, 3)
    images = CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    return save(folder, net, GitProcessor(images, tokenizer))


def florence2(folder: Path, seed: int = 0) -> Path:
    from transformers import (
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
    )  # fmt: skip

    tokenizer = byte_bpe(roberta=True, extra_special_tokens={"image_token": "<image>"})
    config = Florence2Config(
        vision_config={
            "depths": [1, 1, 1, 1], "embed_dim": [8, 8, 16, 16], "num_heads": [2, 2, 2, 2],
            "num_groups": [2, 2, 2, 2], "window_size": 4, "projection_dim": 32,
            "drop_path_rate": 0.0,
        },
        text_config={
            "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 32, "encoder_layers": 1,
            "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
            "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    net = Florence2ForConditionalGeneration(config).eval()
    net.generation_config.update(
        decoder_start_token_id=2, bos_token_id=0, pad_token_id=1, eos_token_id=2,
        forced_bos_token_id=0, forced_eos_token_id=2, early_stopping=True, num_beams=3,
    )  # fmt: skip
    shake(net, seed, 2)
    images = CLIPImageProcessor(size={"height": 96, "width": 96}, do_center_crop=False)
    images.image_seq_length = 10
    return save(folder, net, Florence2Processor(images, tokenizer))


def unigram(size: int = 70, *, roberta: bool = False) -> Any:
    """A T5 tokenizer: <pad> 0, </s> 1, <unk> 2; or XLM-RoBERTa's: <s> 0, <pad> 1, </s> 2,
    <unk> 3."""
    from transformers import T5Tokenizer, XLMRobertaTokenizer

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    pieces = [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]
    if roberta:
        return XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)])
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def pix2struct(folder: Path, seed: int = 0) -> Path:
    from transformers import (
        Pix2StructConfig,
        Pix2StructForConditionalGeneration,
        Pix2StructImageProcessor,
        Pix2StructProcessor,
    )  # fmt: skip

    tokenizer = unigram()
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = Pix2StructConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "d_kv": 8, "d_ff": 48,
            "num_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8, **ids,
        },
        vision_config={
            "hidden_size": 32, "patch_embed_hidden_size": 3 * 64, "d_ff": 48, "d_kv": 8,
            "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8, "seq_len": 64,
        },
    )  # fmt: skip
    net = Pix2StructForConditionalGeneration(config).eval()
    net.generation_config.update(**ids)
    shake(net, seed, 1)
    images = Pix2StructImageProcessor(patch_size={"height": 8, "width": 8}, max_patches=20)
    return save(folder, net, Pix2StructProcessor(images, tokenizer))


def qformer(folder: Path, kind: str = "blip2", text: str = "opt", seed: int = 0) -> Path:
    """BLIP-2 or InstructBLIP with a language model of a kind: opt, llama, t5."""
    import transformers

    name = {"blip2": "Blip2", "instructblip": "InstructBlip"}[kind]
    of = partial(getattr, transformers)
    tokenizer = unigram() if text == "t5" else byte_bpe()
    images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    parts = [images, tokenizer, *([wordpiece()] if kind == "instructblip" else [])]
    processor = of(f"{name}Processor")(*parts, num_query_tokens=5)
    words = {"vocab_size": len(tokenizer), "model_type": text}
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    language = {
        "opt": {
            **small, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 80,
            "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
        },
        "llama": {
            **small, "intermediate_size": 48, "max_position_embeddings": 80,
            "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "num_key_value_heads": 2,
        },
        "t5": {
            "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2,
            "num_heads": 4, "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
        },
    }[text]  # fmt: skip
    config = of(f"{name}Config")(
        vision_config={**small, "intermediate_size": 48, "image_size": 32, "patch_size": 8},
        qformer_config={
            **small, "intermediate_size": 48, "encoder_hidden_size": 32, "vocab_size": 90,
            "cross_attention_frequency": 1,
        },
        text_config={**words, **language},
        num_query_tokens=5, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    net = of(f"{name}ForConditionalGeneration")(config).eval()
    shake(net, seed, 1 if text == "t5" else 0)
    return save(folder, net, processor)


def kosmos2(folder: Path, seed: int = 0) -> Path:
    from transformers import (
        CLIPImageProcessor,
        Kosmos2Config,
        Kosmos2ForConditionalGeneration,
        Kosmos2Processor,
    )  # fmt: skip

    tokenizer = unigram(roberta=True)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = Kosmos2Processor(images, tokenizer, num_patch_index_tokens=4)
    config = Kosmos2Config(
        text_config={
            "vocab_size": len(tokenizer), "embed_dim": 32, "layers": 2, "ffn_dim": 48,
            "attention_heads": 4, "max_position_embeddings": 100,
        },
        vision_config={
            "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
        },
        latent_query_num=6,
    )  # fmt: skip
    net = Kosmos2ForConditionalGeneration(config).eval()
    shake(net, seed, 2)
    return save(folder, net, processor)
