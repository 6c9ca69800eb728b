"""Chat models: captions as of the library's `generate`, maps of its attention, in their place."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.captioner import Captioner, load
from captioner.errors import ModelError, SettingError
from captioner.hub.styles import styles
from captioner.photos import Photo
from captioner.request import Request

from ..commands import run
from .chat_checkpoints import KINDS
from .checkpoints import photos
from .test_parity import GREEDY, same

ASKED = Request(max_length=5, min_length=5)
PROMPTS = {"paligemma": "caption en"}


def library(folder: Any, **how: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    net = AutoModelForImageTextToText.from_pretrained(folder, **how).eval()
    return net, AutoProcessor.from_pretrained(folder)


def inputs_of(processor: Any, kind: str, images: list[Any]) -> Any:
    """Photos of one size and the default question, as the library makes them tensors."""
    prompt = PROMPTS.get(kind, styles("chat")["sentence"])
    if kind == "paligemma":
        texts = ["<image>" + prompt] * len(images)
        return processor(images=images, text=texts, return_tensors="pt")
    return processor.apply_chat_template(
        [
            [{"role": "user", "content": [
                {"type": "image", "image": image}, {"type": "text", "text": prompt},
            ]}]
            for image in images
        ],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("least", [8, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.slow
def test_a_chat_model_writes_what_the_library_writes(made, loaded, kind, least):
    model = loaded("chat", kind)
    net, processor = library(made("chat", kind))
    sizes: dict[Any, list[Any]] = {}
    for image in photos(least, 12):
        sizes.setdefault(image.size, []).append(image)
    for settings in (GREEDY, {"beams": 3, "min_length": 4}):
        count = 0
        for images in sizes.values():
            inputs = inputs_of(processor, kind, images)
            begin = inputs["input_ids"].shape[1]
            count += same(model, net, inputs, images, begin, **settings)
        assert count == least


@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_model_s_second_look_is_the_library_s(made, loaded, kind):
    model = loaded("chat", kind)
    net, processor = library(made("chat", kind), attn_implementation="eager")
    images = photos(3, 2)
    captions = model.caption(images, ASKED)
    for image, caption in zip(images, captions, strict=True):
        inputs = inputs_of(processor, kind, [image])
        inputs.pop("labels", None)
        ids = inputs["input_ids"]
        before = ids.shape[1]
        given = torch.tensor([caption.ids[:-1]])
        more = {"input_ids": torch.cat([ids, given], 1)}
        for name, value in (("attention_mask", 1), ("token_type_ids", 1), ("mm_token_type_ids", 0)):
            if name in inputs:
                value = 0 if kind == "gemma3" and name == "token_type_ids" else value
                more[name] = torch.cat([inputs[name], torch.full_like(given, value)], 1)
        with torch.inference_mode():
            out = net(**{**inputs, **more}, output_attentions=True)
        cells = (ids[0] == net.config.image_token_id).nonzero().flatten()
        weights = torch.stack(out.attentions)[:, 0, :, before - 1 :][..., cells]
        seen = model.model.see([caption.photo], caption.request)
        [look] = model.model.look(seen, [caption.ids])
        assert look.shape == weights.shape == (2, 4, 5, model.model.placement(seen, 0).cells)
        # Rounding differs between CPUs: 2e-5 is the most that was seen.
        assert torch.allclose(look, weights, atol=5e-5)
    assert caption.maps == "image-token attention"
    assert caption.words[0].heatmap.sum() == pytest.approx(1, abs=1e-4)


@pytest.fixture(scope="module")
def calm(made) -> Callable[[str], Captioner]:
    """A chat model whose vision tower hardly mixes what it sees in different places."""

    @functools.cache
    def get(kind: str) -> Captioner:
        model = load(made("chat", kind), device="cpu", dtype="float32")
        with torch.no_grad():
            for name, p in model.model.net.named_parameters():
                layers = any(part in name for part in (".layers.", ".layer.", ".blocks."))
                if ("vision" in name or "visual" in name) and layers and p.dim() == 2:
                    p.mul_(0.03)
        return model

    return get


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(96, 64), (64, 96), (160, 50)])
def test_the_photo_s_tokens_are_where_the_placement_says(calm, kind, size):
    """What changes most in the photo's tokens when a spot of the photo changes."""
    model = calm(kind).model
    for x, y in ((0.3, 0.4), (0.6, 0.7)):
        plain = Image.new("RGB", size, (110, 120, 130))
        spot = np.array(plain)
        top, left = int(y * size[1]), int(x * size[0])
        reach = max(size) // 16
        spot[max(0, top - reach) : top + reach, max(0, left - reach) : left + reach] = (255, 0, 90)
        before, after = (tokens(model, image) for image in (plain, Image.fromarray(spot)))
        change = (after - before).norm(dim=1).numpy()
        placement = model.place(Photo(plain, *size))
        at, best = 0, []
        for view in placement.views:
            part = change[at : at + view.cells].reshape(view.rows, view.columns)
            at += view.cells
            if part.max() > 0.3 * change.max():
                row, column = np.unravel_index(part.argmax(), part.shape)
                box_left, box_top, box_right, box_bottom = view.box
                wide, high = (
                    (box_right - box_left) / view.columns,
                    (box_bottom - box_top) / view.rows,
                )
                best.append((box_left + column * wide, box_top + row * high, wide, high))
        assert at == len(change) and best
        for left, top, wide, high in best:  # the spot may touch the next cell, too
            assert left - reach / size[0] <= x <= left + wide + reach / size[0]
            assert top - reach / size[1] <= y <= top + high + reach / size[1]


def tokens(model: Any, image: Image.Image) -> torch.Tensor:
    """The features (N, D) of a photo's tokens, before the language model mixes them."""
    read = model.tensors(image, "")
    inner = model.net.model
    pixels = {k: v for k, v in read.items() if k.startswith(("pixel", "image_grid", "image_sizes"))}
    made = inner.get_image_features(**pixels)
    made = getattr(made, "pooler_output", made)
    parts = made if isinstance(made, (tuple, list)) else [made]
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]).detach()


def test_several_end_tokens_are_one_end(made, loaded):
    folder = made("chat", "llava", eos=[0, 40])
    net, processor = library(folder)
    model, images = loaded("chat", "llava", eos=[0, 40]), photos(4, 5)[:1]
    inputs = inputs_of(processor, "llava", images)
    with torch.inference_mode():
        logits = net(**inputs).logits[:, -1].log_softmax(dim=1)
    seen = model.model.see([Photo(i, *i.size) for i in images], Request())
    own = seen.places[0][0].logits.log_softmax(dim=1)
    assert own[0, 0] == pytest.approx(float(logits[0, [0, 40]].logsumexp(0)), abs=1e-5)
    assert own[0, 40] == -torch.inf
    assert own[0, 7] == pytest.approx(float(logits[0, 7]), abs=1e-5)


def test_what_is_asked_of_a_chat_model(loaded):
    model, images = loaded("chat", "llava"), photos(2, 6)
    plain, other, worded = (
        [c.text for c in model.caption(images, ASKED, **asked)]
        for asked in ({}, {"style": "keywords"}, {"prompt": styles("chat")["keywords"]})
    )
    assert other == worded != plain
    begun = model.caption(images, prefix="A dog", max_length=8, beams=2)
    assert all(caption.text.startswith("A dog") for caption in begun)
    assert all(caption.words[0].given and caption.words[0].probability < 1 for caption in begun)
    drawn = [model.caption(images, ASKED, sample=True, seed=seed) for seed in (1, 1, 2)]
    assert [c.text for c in drawn[0]] == [c.text for c in drawn[1]] != [c.text for c in drawn[2]]
    with pytest.raises(SettingError, match="no style 'keywords'"):
        loaded("chat", "paligemma").caption(images, style="keywords")


@pytest.fixture(scope="module")
def unplaced(made, tmp_path_factory) -> Path:
    """A checkpoint with a token more than there are places: that of the whole photo."""
    folder = tmp_path_factory.mktemp("unplaced") / "llava"
    shutil.copytree(made("chat", "llava"), folder)
    for name in ("config.json", "processor_config.json"):
        text = (folder / name).read_text()
        assert '"vision_feature_select_strategy": "default"' in text
        (folder / name).write_text(text.replace('strategy": "default"', 'strategy": "full"'))
    return folder


def test_a_chat_model_that_does_not_say_where_its_tokens_lie_has_no_maps(unplaced):
    model = load(unplaced, device="cpu", dtype="float32")
    caption = model.caption(photos(1)[0], ASKED)
    assert caption.maps == "" and caption.words[0].heatmap is None


def test_a_chat_model_that_takes_no_photo_is_refused_with_a_sentence(made, tmp_path):
    folder = tmp_path / "llava"
    shutil.copytree(made("chat", "llava"), folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no pictures here') }}")
    with pytest.raises(ModelError, match="llava cannot be loaded: no pictures here"):
        load(folder)


@pytest.mark.slow
def test_a_job_without_maps_says_so_and_goes_on(unplaced, tmp_path):
    photos(1)[0].save(tmp_path / "a.png")
    done = run(
        "caption", tmp_path / "a.png", "--model", unplaced, "--heatmaps", tmp_path / "sheets",
        "--device", "cpu", "--max-length", "4",
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith(f"{tmp_path / 'a.png'}\t")
    assert "llava gives no heatmaps" in done.stderr
    assert not (tmp_path / "sheets" / "a.png").exists()
