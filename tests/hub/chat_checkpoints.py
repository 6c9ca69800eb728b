"""Small chat models with random weights, as `checkpoints` has the other families."""

from pathlib import Path
from typing import Any

from .checkpoints import byte_bpe, save, shake

TEMPLATE = (
    "{% for message in messages %}user: {% for part in message['content'] %}"
    "{{ SIGN if part['type'] == 'image' else part['text'] }}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 600,
        "tie_word_embeddings": False}  # fmt: skip
VISION = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
          "num_attention_heads": 4, "image_size": 32, "patch_size": 8}  # fmt: skip


def chat(folder: Path, kind: str, seed: int = 0, eos: int | list[int] = 0) -> Path:
    """A chat model of a kind. Its end token is <|endoftext|>, with the id 0."""
    sign, special = SIGNS.get(kind, ("<image>", {}))
    tokenizer = byte_bpe(340, extra_special_tokens={"image_token": sign, **special})
    image = tokenizer.convert_tokens_to_ids(sign)
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    text = {**TEXT, "vocab_size": len(tokenizer), **ids}
    template = TEMPLATE.replace("SIGN", repr(START.get(kind, sign)))
    net, processor = KINDS[kind](tokenizer, image, text, template)
    net = net.eval()
    net.generation_config.update(**{**ids, "eos_token_id": eos})
    shake(net, seed, None if kind in ("gemma3", "paligemma") else 0)
    return save(folder, net, processor)


def llava(tokenizer: Any, image: int, text: dict[str, Any], template: str) -> tuple[Any, Any]:
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "llama", **text}, image_token_index=image,
    )  # fmt: skip
    images = CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def paligemma(tokenizer: Any, image: int, text: dict[str, Any], template: str) -> tuple[Any, Any]:
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
    )

    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", "projection_dim": 32, **VISION},
        text_config={"model_type": "gemma", "head_dim": 8, **text},
        image_token_index=image, projection_dim=32, tie_word_embeddings=False,
    )  # fmt: skip
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    return PaliGemmaForConditionalGeneration(config), PaliGemmaProcessor(images, tokenizer)


def idefics3(tokenizer: Any, image: int, text: dict[str, Any], template: str) -> tuple[Any, Any]:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    config = Idefics3Config(
        vision_config=VISION, text_config={"model_type": "llama", **text}, image_token_id=image,
        scale_factor=2,
    )  # fmt: skip
    images = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=template)
    return Idefics3ForConditionalGeneration(config), processor


def internvl(tokenizer: Any, image: int, text: dict[str, Any], template: str) -> tuple[Any, Any]:
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    vision = {**VISION, "image_size": [32, 32], "patch_size": [8, 8]}
    config = InternVLConfig(
        vision_config=vision, text_config={"model_type": "qwen2", **text}, image_token_id=image,
        image_seq_length=4,
    )  # fmt: skip
    images = GotOcr2ImageProcessor(size={"height": 32, "width": 32}, max_patches=6)
    processor = InternVLProcessor(
        images, tokenizer, InternVLVideoProcessor(), image_seq_length=4, chat_template=template
    )
    return InternVLForConditionalGeneration(config), processor


def gemma3(tokenizer: Any, image: int, text: dict[str, Any], template: str) -> tuple[Any, Any]:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
    )

    of = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        vision_config={"model_type": "siglip_vision_model", **VISION},
        text_config={
            **text, "head_dim": 8, "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        mm_tokens_per_image=4, image_token_index=image, boi_token_index=of("<boi>"),
        eoi_token_index=of("<eoi>"), tie_word_embeddings=False,
    )  # fmt: skip
    images = Gemma3ImageProcessor(size={"height": 32, "width": 32})
    processor = Gemma3Processor(images, tokenizer, template, image_seq_length=4)
    return Gemma3ForConditionalGeneration(config), processor


def qwen2_5_vl(tokenizer: Any, image: int, text: dict[str, Any], template: str) -> tuple[Any, Any]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    of = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 8,
            "window_size": 32, "out_hidden_size": 32, "fullatt_block_indexes": [1],
        },
        text_config={
            **text, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2],
                                        "rope_theta": 10000.0},
        },
        image_token_id=image, video_token_id=of("<video>"), vision_start_token_id=of("<start>"),
        vision_end_token_id=of("<end>"),
    )  # fmt: skip
    images = Qwen2VLImageProcessor(
        patch_size=8, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    )
    processor = Qwen2_5_VLProcessor(
        images, tokenizer, Qwen2VLVideoProcessor(), chat_template=template
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


KINDS = {
    "llava": llava,
    "paligemma": paligemma,
    "idefics3": idefics3,
    "internvl": internvl,
    "gemma3": gemma3,
    "qwen2_5_vl": qwen2_5_vl,
}
SIGNS: dict[str, tuple[str, dict[str, str]]] = {
    "idefics3": ("<image>", {
        "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }),
    "internvl": ("<image>", {
        "start_image_token": "<start>", "end_image_token": "<end>", "video_token": "<video>",
        "context_image_token": "<image>",
    }),
    "gemma3": ("<image>", {"boi_token": "<boi>", "eoi_token": "<eoi>"}),
    "qwen2_5_vl": ("<image>", {
        "video_token": "<video>", "vision_start_token": "<start>", "vision_end_token": "<end>",
    }),
}  # fmt: skip
START = {"gemma3": "<boi>", "qwen2_5_vl": "<start><image><end>"}
