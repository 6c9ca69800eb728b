"""Captions of hub checkpoints under our search are those of the library's own `generate`."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from captioner.captioner import Captioner
from captioner.photos import Photo
from captioner.request import Request

from .checkpoints import DECODERS, ENCODERS, photos

GREEDY: dict[str, Any] = {"beams": 1}
SETTINGS: list[dict[str, Any]] = [
    GREEDY,
    {"beams": 2, "min_length": 6, "max_length": 8},
    {"beams": 3},
    {"beams": 3, "no_repeat": 2, "length_penalty": 0.5},
    {"beams": 4, "length_penalty": -1.0, "no_repeat": 2},
    {"beams": 5, "length_penalty": 2.0, "alternatives": 3},
]
PAIRS = [(e, "gpt2") for e in ENCODERS] + [("vit", d) for d in DECODERS if d != "gpt2"]


def theirs(net: Any, inputs: Any, begin: int, **settings: Any) -> Any:
    """The library's captions with settings of ours. `begin`: tokens before the caption."""
    asked = {"min_length": 0, "max_length": 12, "length_penalty": 1.0, "no_repeat": 0, **settings}
    beams = {"length_penalty": asked["length_penalty"]} if asked["beams"] > 1 else {}
    with torch.inference_mode():
        return net.generate(
            **inputs, **beams, num_beams=asked["beams"], do_sample=False,
            num_return_sequences=1 + asked.get("alternatives", 0),
            max_new_tokens=asked["max_length"], min_length=begin + asked["min_length"],
            no_repeat_ngram_size=asked["no_repeat"], return_dict_in_generate=True,
            output_scores=True,
        )  # fmt: skip


def same(model: Captioner, net: Any, inputs: Any, images: list[Any], begin: int = 1,
         **settings: Any) -> int:  # fmt: skip
    """Assert that ids, scores and log-probabilities are theirs; how many photos there were."""
    out = theirs(net, inputs, begin, **settings)
    request = Request(min_length=0, max_length=12, length_penalty=1.0, no_repeat=0).with_(
        **settings
    )
    seen = model.model.see([Photo(i, *i.size) for i in images], request)
    found = model.model.write(seen, model.search(request))
    each = 1 + request.alternatives
    assert all(len(row) == each for row in found)
    rows = out.sequences[:, begin:].tolist()
    end = model.model.end
    gained = net_scores(net, out, settings)
    for at, (row, hypothesis) in enumerate(zip(rows, itertools.chain(*found), strict=True)):
        ids = row[: row.index(end)] if end in row else row
        assert list(hypothesis.ids) == ids, f"caption {at} with {settings}"
        if out.get("sequences_scores") is not None:
            # A length penalty below 0 multiplies the sum, and float32 has 7 digits.
            score = float(out.sequences_scores[at])
            assert hypothesis.score == pytest.approx(score, rel=1e-6, abs=1e-4)
        for ours, other in zip(hypothesis.logprobs, gained[at].tolist(), strict=False):
            assert ours == pytest.approx(other, abs=1e-4)
    return len(images)


def net_scores(net: Any, out: Any, settings: dict[str, Any]) -> torch.Tensor:
    """The log-probability of each token. A greedy search has them before they are normalised."""
    inner = ("text_decoder", "language_model", "text_model")
    decoder = next((getattr(net, name) for name in inner if hasattr(net, name)), net)
    if settings["beams"] == 1:
        return decoder.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    return decoder.compute_transition_scores(
        out.sequences, out.scores, out.beam_indices, normalize_logits=False
    )


def each_with_others(images: list[Any]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Every setting with photos of its own, so that no pair of photo and model counts twice."""
    share = len(images) // len(SETTINGS)
    for i, settings in enumerate(SETTINGS):
        yield images[i * share : (i + 1) * share], settings


@pytest.mark.parametrize("seed", range(3))
def test_blip_writes_what_the_library_writes(made, loaded, seed):
    from transformers import AutoProcessor, BlipForConditionalGeneration

    folder = made("blip", seed)
    net = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    count = 0
    for images, settings in each_with_others(photos(72, seed)):
        inputs = processor(images=images, return_tensors="pt")
        count += same(loaded("blip", seed), net, inputs, images, **settings)
    assert 3 * count >= 200


def test_blip_reads_a_prompt_as_the_library_does(made, loaded):
    from transformers import AutoProcessor, BlipForConditionalGeneration

    folder, model = made("blip", 0), loaded("blip", 0)
    net = BlipForConditionalGeneration.from_pretrained(folder).eval()
    images = photos(6)
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(images=images, text=["a black dog"] * 6, return_tensors="pt")
    given = len(model.model.tokenizer.encode_prefix("a black dog"))
    for settings in (GREEDY, {"beams": 3}):
        out = theirs(net, inputs, 1 + given, **settings)
        asked = {"max_length": 12, "min_length": 0, "heatmaps": False, **settings}
        after = model.caption(images, prompt="a black dog", **asked)
        # The same words as a prefix are part of the caption; their length is counted in it then.
        within = model.caption(images, prefix="a black dog", **{**asked, "max_length": 12 + given})
        for one, other, row in zip(after, within, out.sequences.tolist(), strict=True):
            row = row[: row.index(3)] if 3 in row else row
            assert list(one.ids) == row[1 + given :]
            assert list(other.ids) == row[1:]
            assert other.text.startswith("A black dog")


@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_encoder_decoders_write_what_the_library_writes(made, loaded, encoder, decoder):
    from transformers import AutoImageProcessor, VisionEncoderDecoderModel

    folder = made("encoder_decoder", encoder, decoder)
    net = VisionEncoderDecoderModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    model = loaded("encoder_decoder", encoder, decoder)
    count = 0
    for images, settings in each_with_others(photos(30, 3)):
        inputs = processor(images=images, return_tensors="pt")
        count += same(model, net, inputs, images, **settings)
    assert len(PAIRS) * count >= 200


def test_florence_writes_what_the_library_writes(made, loaded):
    from transformers import AutoProcessor, Florence2ForConditionalGeneration

    model = loaded("florence2")
    net = Florence2ForConditionalGeneration.from_pretrained(made("florence2")).eval()
    processor = AutoProcessor.from_pretrained(made("florence2"))
    for count, task, settings in (
        (50, "<CAPTION>", GREEDY),
        (50, "<CAPTION>", {"beams": 3}),
        (8, "<CAPTION>", {"beams": 3, "no_repeat": 3, "min_length": 4}),
        (8, "<MORE_DETAILED_CAPTION>", {"beams": 3, "style": "detailed"}),
    ):
        images = photos(count, 7)
        inputs = processor(images=images, text=[task] * count, return_tensors="pt")
        assert same(model, net, inputs, images, **settings) == count


def test_pix2struct_writes_what_the_library_writes(made, loaded):
    from transformers import AutoProcessor, Pix2StructForConditionalGeneration

    model = loaded("pix2struct")
    net = Pix2StructForConditionalGeneration.from_pretrained(made("pix2struct")).eval()
    images = photos(50, 8)
    inputs = AutoProcessor.from_pretrained(made("pix2struct"))(
        images=images, return_tensors="pt", max_patches=20
    )
    for settings in (GREEDY, {"beams": 3}):
        assert same(model, net, inputs, images, **settings) == 50


def test_git_writes_what_the_library_writes(made, loaded):
    from transformers import AutoProcessor, GitForCausalLM

    model = loaded("git")
    net = GitForCausalLM.from_pretrained(made("git")).eval()
    images = photos(50, 9)
    inputs = AutoProcessor.from_pretrained(made("git"))(images=images, return_tensors="pt")
    for settings in (GREEDY, {"beams": 3}, {"beams": 4, "no_repeat": 2}):
        assert same(model, net, inputs, images, **settings) == 50


@pytest.mark.parametrize("kind, text", [
    ("blip2", "opt"), ("blip2", "t5"), ("instructblip", "llama"), ("instructblip", "t5"),
])  # fmt: skip
def test_q_formers_write_what_the_library_writes(made, loaded, kind, text):
    import transformers

    name = {"blip2": "Blip2", "instructblip": "InstructBlip"}[kind]
    folder, model = made("qformer", kind, text), loaded("qformer", kind, text)
    net = getattr(transformers, f"{name}ForConditionalGeneration").from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    images = photos(50, 10)
    for prompt in ("", "a black dog"):
        if not prompt and (kind, text) != ("blip2", "opt"):
            continue  # the library needs one
        asked = {"text": [prompt] * 50} if prompt else {}
        inputs = processor(images=images, **asked, return_tensors="pt")
        if prompt and text != "t5":  # our tokenizer adds no begin token, and theirs needs none
            inputs = with_begin(inputs, 5)
        begin = 1 if text == "t5" else inputs.input_ids.shape[1] if prompt else 6
        for settings in (GREEDY, {"beams": 3}):
            assert same(model, net, inputs, images, begin, prompt=prompt, **settings) == 50


def with_begin(inputs: Any, queries: int) -> Any:
    """The begin token (0) between the queries and the prompt, where the library's processors put
    it for the tokenizers that have one."""
    ids = inputs["input_ids"]
    first = torch.zeros(len(ids), 1, dtype=ids.dtype)
    inputs["input_ids"] = torch.cat([ids[:, :queries], first, ids[:, queries:]], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


def test_kosmos_writes_what_the_library_writes(made, loaded):
    from transformers import AutoProcessor, Kosmos2ForConditionalGeneration

    model = loaded("kosmos2")
    net = Kosmos2ForConditionalGeneration.from_pretrained(made("kosmos2")).eval()
    processor = AutoProcessor.from_pretrained(made("kosmos2"))
    images = photos(50, 11)
    inputs = processor(
        images=images, text=["An image of"] * 50, return_tensors="pt", num_image_tokens=6
    )
    begin = inputs.input_ids.shape[1]
    for settings in (GREEDY, {"beams": 3}):
        assert same(model, net, inputs, images, begin, **settings) == 50
