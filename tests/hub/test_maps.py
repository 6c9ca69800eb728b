"""Heatmaps of hub checkpoints: the library's own attention, in the right place on the photo."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captioner.attention import Placement, View, token_maps
from captioner.batch.items import Item
from captioner.batch.records import FIELDS, record
from captioner.captioner import Captioner, load
from captioner.errors import SettingError
from captioner.hub import geometry
from captioner.photos import Photo
from captioner.request import Request

from .checkpoints import photos

ASKED = Request(beams=2, max_length=6, min_length=2)
CROP = {"dinov2"}
"""Encoders whose processor cuts the middle out of the photo."""


@pytest.fixture(scope="module")
def calm(made) -> Callable[..., Captioner]:
    """A checkpoint whose encoder hardly mixes what it sees in different places."""
    known: dict[tuple[str, ...], Captioner] = {}

    def get(*kind: str) -> Captioner:
        if kind not in known:
            known[kind] = load(made(*kind), device="cpu", dtype="float32")
            net = known[kind].model.net
            if kind[0] == "florence2":
                encoders = [net.model.vision_tower.blocks, net.model.language_model.encoder.layers]
                for p in net.model.vision_tower.convs.parameters():
                    if p.dim() == 4:  # they reach over the upper and left edge of their cells
                        p.data[..., : p.shape[-1] // 2, :] = 0
                        p.data[..., : p.shape[-1] // 2] = 0
            elif kind[0] == "pix2struct":
                encoders = [net.encoder.encoder]
            elif kind[0] == "git":
                encoders = [known[kind].model.tower]
            else:
                encoders = [net.vision_model if hasattr(net, "vision_model") else net.encoder]
            with torch.no_grad():
                for p in (p for encoder in encoders for p in encoder.parameters()):
                    p.mul_(0.05 if p.dim() == 2 or (kind[0] == "florence2" and p.dim() > 1) else 1)
        return known[kind]

    return get


def test_blip_s_second_look_is_the_library_s_attention(made, loaded):
    from transformers import AutoImageProcessor, BlipForConditionalGeneration

    folder, model = made("blip", 0), loaded("blip", 0)
    images = photos(4)
    net = BlipForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(images, return_tensors="pt").pixel_values
    with torch.inference_mode():
        states = net.vision_model(pixels).last_hidden_state
        for at, caption in enumerate(model.caption(images, ASKED)):
            ids = torch.tensor([[model.model.begin, *caption.ids]])[:, :-1]
            out = net.text_decoder(
                input_ids=ids, encoder_hidden_states=states[at : at + 1], output_attentions=True
            )
            same_attention(model, caption, torch.stack(out.cross_attentions)[:, 0, :, :, 1:])
    assert any(caption.words for caption in model.caption(images, ASKED))


@pytest.mark.parametrize(
    "encoder, decoder, first",
    [("vit", "gpt2", 1), ("deit", "bert", 2), ("swin", "roberta", 0), ("dinov2", "gpt2", 1),
     ("dinov2_with_registers", "gpt2", 4)],
)  # fmt: skip
def test_an_encoder_decoder_s_second_look_is_the_library_s(made, loaded, encoder, decoder, first):
    from transformers import AutoImageProcessor, VisionEncoderDecoderModel

    folder = made("encoder_decoder", encoder, decoder)
    model, images = loaded("encoder_decoder", encoder, decoder), photos(4)
    net = VisionEncoderDecoderModel.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(images, return_tensors="pt").pixel_values
    with torch.inference_mode():
        for at, caption in enumerate(model.caption(images, ASKED)):
            ids = torch.tensor([[model.model.begin, *caption.ids]])[:, :-1]
            out = net(
                pixel_values=pixels[at : at + 1], decoder_input_ids=ids, output_attentions=True
            )
            weights = torch.stack(out.cross_attentions)[:, 0]
            assert (
                weights.shape[-1]
                == first
                + model.model.placement(model.model.see([Photo(images[at], 1, 1)], ASKED), 0).cells
            )
            same_attention(model, caption, weights[..., first:])


def test_florence_s_second_look_is_the_library_s(made, loaded):
    from transformers import AutoProcessor, Florence2ForConditionalGeneration

    folder, model, images = made("florence2"), loaded("florence2"), photos(4)
    net = Florence2ForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    processor = AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        for image, caption in zip(images, model.caption(images, ASKED), strict=True):
            inputs = processor(images=[image], text=["<CAPTION>"], return_tensors="pt")
            ids = torch.tensor([[2, *caption.ids]])[:, :-1]
            out = net.eval()(**inputs, decoder_input_ids=ids, output_attentions=True)
            weights = torch.stack(out.cross_attentions)[:, 0]
            # Of what the encoder reads, the photo's tokens are between <image> and the prompt: the
            # mean of all, and 3 x 3 of its cells.
            places = (inputs.input_ids[0] == net.config.image_token_id).nonzero().flatten()
            assert len(places) == 10 < weights.shape[-1]
            same_attention(model, caption, weights[..., places[1:]])


def test_pix2struct_s_second_look_is_the_library_s(made, loaded):
    from transformers import AutoProcessor, Pix2StructForConditionalGeneration

    folder, model, images = made("pix2struct"), loaded("pix2struct"), photos(4)
    net = Pix2StructForConditionalGeneration.from_pretrained(folder, attn_implementation="eager")
    processor = AutoProcessor.from_pretrained(folder)
    grids = set()
    with torch.inference_mode():
        for image, caption in zip(images, model.caption(images, ASKED), strict=True):
            inputs = processor(images=[image], return_tensors="pt", max_patches=20)
            ids = torch.tensor([[0, *caption.ids]])[:, :-1]
            out = net.eval()(**inputs, decoder_input_ids=ids, output_attentions=True)
            weights = torch.stack(out.cross_attentions)[:, 0]
            patches = int(inputs.attention_mask.sum())
            same_attention(model, caption, weights[..., :patches])
            grids.add(model.model.place(caption.photo).grid)
    assert len(grids) > 2 and all(rows * columns <= 20 for rows, columns in grids)


def test_git_s_second_look_is_the_library_s(made, loaded):
    from transformers import AutoProcessor, GitForCausalLM

    model, images = loaded("git"), photos(4)
    net = GitForCausalLM.from_pretrained(made("git")).eval()
    processor = AutoProcessor.from_pretrained(made("git"))
    with torch.inference_mode():
        for image, caption in zip(images, model.caption(images, ASKED), strict=True):
            ids = torch.tensor([[2, *caption.ids]])[:, :-1]
            pixels = processor(images=[image], return_tensors="pt").pixel_values
            out = net(input_ids=ids, pixel_values=pixels, output_attentions=True)
            # The class token and 16 patches, then the text.
            weights = torch.stack(out.attentions)[:, 0, :, 17:, 1:17]
            same_attention(model, caption, weights, "image-token attention")


@pytest.mark.parametrize(
    "kind, text", [("blip2", "opt"), ("blip2", "t5"), ("instructblip", "llama")]
)
def test_a_q_former_s_second_look_composes_the_library_s(made, loaded, kind, text):
    import transformers

    name = {"blip2": "Blip2", "instructblip": "InstructBlip"}[kind]
    folder, model = made("qformer", kind, text), loaded("qformer", kind, text)
    net = getattr(transformers, f"{name}ForConditionalGeneration").from_pretrained(
        folder, attn_implementation="eager"
    )
    net.eval()
    processor, images = transformers.AutoProcessor.from_pretrained(folder), photos(3)
    asked = ASKED.with_(prompt="a dog")
    with torch.inference_mode():
        for image, caption in zip(images, model.caption(images, asked), strict=True):
            inputs = processor(images=[image], text=["a dog"], return_tensors="pt")
            seen = net.vision_model(inputs.pixel_values).last_hidden_state
            instructed = {}
            if kind == "instructblip":
                ids = inputs.qformer_input_ids
                instructed = {"input_ids": ids, "attention_mask": torch.ones(1, 5 + ids.shape[1])}
            lens = torch.stack(net.qformer(
                query_embeds=net.query_tokens, encoder_hidden_states=seen,
                output_attentions=True, **instructed,
            ).cross_attentions).mean(dim=(0, 2))[0, :, 1:]  # fmt: skip
            ids = torch.tensor([[*caption.ids]])
            if text == "t5":
                inputs["decoder_input_ids"] = torch.cat([torch.zeros(1, 1).long(), ids[:, :-1]], 1)
                out = net(**inputs, output_attentions=True).language_model_outputs
                looks = torch.stack(out.cross_attentions)[:, 0, :, :, :5]
            else:
                before = inputs.input_ids
                begin = torch.zeros(1, 1).long()
                row = torch.cat([before[:, :5], begin, before[:, 5:], ids[:, :-1]], dim=1)
                inputs["input_ids"], inputs["attention_mask"] = row, torch.ones_like(row)
                out = net(**inputs, output_attentions=True).language_model_outputs
                looks = torch.stack(out.attentions)[:, 0, :, before.shape[1] :, :5]
            weights = looks @ (lens / lens.sum(-1, keepdim=True))
            same_attention(model, caption, weights, "query-composed attention")


def test_kosmos_s_second_look_composes_the_library_s(made, loaded):
    from transformers import AutoProcessor, Kosmos2ForConditionalGeneration

    model, images = loaded("kosmos2"), photos(3)
    net = Kosmos2ForConditionalGeneration.from_pretrained(
        made("kosmos2"), attn_implementation="eager"
    ).eval()
    processor = AutoProcessor.from_pretrained(made("kosmos2"))
    with torch.inference_mode():
        for image, caption in zip(images, model.caption(images, ASKED), strict=True):
            inputs = processor(
                images=[image], text=["An image of"], return_tensors="pt", num_image_tokens=6
            )
            before = inputs.input_ids.shape[1]
            row = torch.cat([inputs.input_ids, torch.tensor([[*caption.ids]])[:, :-1]], dim=1)
            mask = inputs.image_embeds_position_mask
            more = torch.zeros(1, row.shape[1] - mask.shape[1], dtype=mask.dtype)
            out = net(
                pixel_values=inputs.pixel_values, input_ids=row, output_attentions=True,
                image_embeds_position_mask=torch.cat([mask, more], dim=1),
            )  # fmt: skip
            lens = out.image_outputs.projection_attentions.mean(dim=1)[0, :, 1:17]
            looks = torch.stack(out.attentions)[:, 0, :, before - 1 :, 2:8]
            weights = looks @ (lens / lens.sum(-1, keepdim=True))
            same_attention(model, caption, weights, "query-composed attention")


def same_attention(
    model: Captioner, caption, weights: torch.Tensor, kind: str = "cross-attention"
) -> None:
    """The second look gives these weights (L, H, T, N), and the words' maps are made of them."""
    assert caption.maps == kind
    seen = model.model.see([caption.photo], caption.request)
    placement = model.model.placement(seen, 0)
    [look] = model.model.look(seen, [caption.ids])
    assert torch.allclose(look, weights, atol=1e-5)
    tokens = weights.mean(dim=(0, 1))
    tokens = (tokens / tokens.sum(-1, keepdim=True)).numpy()
    spans = model.model.tokenizer.words(caption.ids)
    for word, span in zip(caption.words, spans, strict=True):
        expected = placement.lay(tokens[span.start : span.stop].mean(axis=0))
        assert np.allclose(word.heatmap, expected, atol=1e-5)
        assert word.heatmap.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (80, 80), (160, 50)])
@pytest.mark.parametrize("cell", [(0, 0), (2, 1), (3, 3)])
@pytest.mark.parametrize(
    "kind",
    [
        ("blip",),
        ("encoder_decoder", "vit"),
        ("encoder_decoder", "deit"),
        ("encoder_decoder", "dinov2"),
    ],
)
def test_the_peak_is_where_the_model_looked(calm, kind, size, cell):  # fmt: skip
    model = calm(*kind)
    # Where the model sees the photo: all of it, or its middle, which the processor cuts out after
    # the shorter side has 36 pixels.
    box = middle(size, 36, 32) if kind[-1] in CROP else (0.0, 0.0, 1.0, 1.0)
    check_peak(model, size, box, (4, 4), cell)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (160, 50)])
@pytest.mark.parametrize("place", [(0.1, 0.2), (0.4, 0.6), (0.95, 0.95)])
@pytest.mark.parametrize("kind", ["florence2", "pix2struct"])
def test_the_peak_is_in_the_cell_of_a_grid_that_follows_the_photo(calm, kind, size, place):
    model = calm(kind)
    rows, columns = 3, 3
    if kind == "pix2struct":  # as many patches of 8 pixels in the photo's shape as 20 allow
        scale = (20 * (8 / size[1]) * (8 / size[0])) ** 0.5
        rows, columns = int(scale * size[1] / 8), int(scale * size[0] / 8)
    cell = int(place[0] * rows), int(place[1] * columns)
    check_peak(model, size, (0.0, 0.0, 1.0, 1.0), (rows, columns), cell)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (160, 50)])
@pytest.mark.parametrize("cell", [(0, 0), (2, 1), (3, 3)])
@pytest.mark.parametrize("kind", [("git",), ("qformer", "blip2", "opt"), ("kosmos2",)])
def test_the_peak_of_a_prefix_model_is_where_it_looked(calm, kind, size, cell):
    """The queries of its first layer that looks at patches are planted."""
    model = calm(*kind)
    net, inner = model.model.net, model.model
    shorter = {"git": 36, "kosmos2": 32}.get(kind[0])
    box = middle(size, shorter, 32) if shorter else (0.0, 0.0, 1.0, 1.0)

    def keys(image: Image.Image) -> torch.Tensor:
        pixels = inner.pixels([Photo(image, *image.size)])["pixel_values"]
        with torch.inference_mode():
            if kind[0] == "git":
                seen = net.git.visual_projection(inner.tower(pixels).last_hidden_state)
                return net.git.encoder.layer[0].attention.self.key(seen)
            seen = net.vision_model(pixel_values=pixels)[0]
            if kind[0] == "kosmos2":
                seen = net.vision_model.model.post_layernorm(seen)
                seen = net.image_to_text_projection.dense(
                    torch.nn.functional.normalize(seen, dim=-1)
                )
                return net.image_to_text_projection.x_attn.k_proj(seen)
            return net.qformer.encoder.layer[0].crossattention.attention.key(seen)

    owner, name = {
        "git": lambda: (net.git.encoder.layer[0].attention.self, "query"),
        "kosmos2": lambda: (net.image_to_text_projection.x_attn, "q_proj"),
        "qformer": lambda: (net.qformer.encoder.layer[0].crossattention.attention, "query"),
    }[kind[0]]()

    def look(plain: Image.Image, spot: Image.Image) -> np.ndarray:
        change = (keys(spot) - keys(plain))[0, 1:]  # after the class token
        wanted = change[change.norm(dim=1).argmax()].unflatten(0, (4, -1))
        kept = getattr(owner, name)
        setattr(owner, name, Constant((wanted / wanted.norm(dim=1, keepdim=True) * 60).flatten()))
        try:
            seen = inner.see([Photo(spot, *spot.size)], ASKED)
            [weights] = inner.look(seen, [[5, 6, 7]])
        finally:
            setattr(owner, name, kept)
        first = weights[:1].numpy()  # of the layers that follow, none is planted
        return inner.placement(seen, 0).lay(token_maps(first, inner.combine))[1]

    check_peak(model, size, box, (4, 4), cell, look)


def middle(size: tuple[int, int], shorter: int, crop: int) -> tuple[float, float, float, float]:
    """The box of a centre crop after the shorter side is made `shorter` pixels long."""
    scale = shorter / min(size)
    width, height = (int(side * scale + 1e-9) for side in size)
    left, top = (width - crop) // 2, (height - crop) // 2
    return left / width, top / height, (left + crop) / width, (top + crop) / height


def check_peak(model, size, box, grid, cell, look=None) -> None:
    """Paint a spot on what one cell of the model's grid sees of a photo, let every query look for
    what it changes in the model's keys, and find the peak of the maps on the spot."""
    (rows, columns), (row, column) = grid, cell
    across, down = (box[2] - box[0]) / columns, (box[3] - box[1]) / rows
    x, y = box[0] + (column + 0.5) * across, box[1] + (row + 0.5) * down
    plain = Image.new("RGB", size, (90, 90, 90))
    spot = plain.copy()
    half = (max(1, across * size[0] * 0.4), max(1, down * size[1] * 0.4))
    spot.paste(
        (255, 0, 0),
        (round(x * size[0] - half[0]), round(y * size[1] - half[1]),
         round(x * size[0] + half[0]), round(y * size[1] + half[1])),
    )  # fmt: skip
    heatmap = look(plain, spot) if look else planted(model, plain, spot)
    height, width = heatmap.shape
    top, left = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert left / width <= x <= (left + 1) / width
    assert top / height <= y <= (top + 1) / height


def planted(model: Captioner, plain: Image.Image, spot: Image.Image) -> np.ndarray:
    """A token's map on the photo with the spot, where all queries ask for the keys that the
    spot changes most."""
    inner = model.model
    before, after = (inner.see([Photo(i, *i.size)], ASKED).memory for i in (plain, spot))
    kept = [cross.query for cross in inner.crosses]
    try:
        for cross, (old, _), (new, _) in zip(inner.crosses, before, after, strict=True):
            change = (new - old)[0, :, inner.first :]  # (H, N, d)
            most = change.norm(dim=(0, 2)).argmax()
            wanted = change[:, most]
            cross.query = Constant((wanted / wanted.norm(dim=1, keepdim=True) * 30).flatten())
        [look] = inner.look(inner.see([Photo(spot, *spot.size)], ASKED), [[5, 6, 7]])
        seen = inner.see([Photo(spot, *spot.size)], ASKED)
        return inner.placement(seen, 0).lay(token_maps(look.numpy(), inner.combine))[1]
    finally:
        for cross, query in zip(inner.crosses, kept, strict=True):
            cross.query = query


class Constant(nn.Module):
    """The same query for every token."""

    def __init__(self, value: torch.Tensor):
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value.expand(*x.shape[:2], -1)


def test_a_map_of_a_crop_is_zero_where_the_model_saw_nothing(loaded):
    model = loaded("encoder_decoder", "dinov2")
    caption = model.caption(photos(4)[3], ASKED)  # 90 x 40
    heatmap = caption.words[0].heatmap
    left, top, right, bottom = middle((90, 40), 36, 32)
    assert caption.seen == pytest.approx((left, top, right, bottom), abs=0.01)
    height, width = heatmap.shape
    assert width > 2 * height - 2
    for column in range(width):
        unseen = (column + 1) / width < left or column / width > right
        assert (heatmap[:, column].max() == 0) == unseen
    assert heatmap.sum() == pytest.approx(1, abs=1e-5)


def test_the_kind_of_map_and_what_was_seen_are_in_the_record(loaded):
    model = loaded("encoder_decoder", "dinov2")
    caption = model.caption(photos(4)[3], ASKED)
    made = record(Item("a.jpg"), caption, model)
    assert made["heatmaps"] == "cross-attention"
    assert made["seen"] == [round(share, 4) for share in caption.seen] != [0, 0, 1, 1]
    assert "seen" not in loaded("blip", 0).caption(photos(4)[3], ASKED).to_dict()
    without = record(Item("a.jpg"), model.caption(photos(4)[3], ASKED, heatmaps=False), model)
    assert without.keys() == set(FIELDS)
    dark = np.asarray(caption.overlay(0, label=None, max_side=None).convert("L"), int)
    assert dark[:, :5].mean() < 0.6 * dark[:, 40:50].mean()


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (300, 90)])
@pytest.mark.parametrize("grey", [0, 127])
def test_padding_and_tiles_are_measured(size, grey):
    """A processor that pads the photo to a square, and one that cuts it into tiles and adds the
    whole: where their pixels come from is found out of what they make of two pictures."""
    width, height = size
    longest = max(size)

    def padded(image: Image.Image) -> list[np.ndarray]:
        square = Image.new("RGB", (longest, longest), (grey, grey, grey))
        square.paste(image, ((longest - width) // 2, (longest - height) // 2))
        return [np.asarray(square.resize((64, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1)]

    [view] = geometry.placement(size, padded, 16).views
    left, top = (longest - width) // 2 / width, (longest - height) // 2 / height
    expected = (-left, -top, longest / width - left, longest / height - top)
    assert (view.rows, view.columns) == (4, 4) and view.box == pytest.approx(expected, abs=0.03)

    def tiles(image: Image.Image) -> list[np.ndarray]:
        large = image.resize((96, 64), Image.Resampling.BICUBIC)
        parts = [large.crop((x, y, x + 32, y + 32)) for y in (0, 32) for x in (0, 32, 64)]
        whole = image.resize((32, 32), Image.Resampling.BICUBIC)
        return [np.asarray(part).transpose(2, 0, 1) for part in (*parts, whole)]

    views = geometry.placement(size, tiles, 8).views
    assert len(views) == 7
    for n, view in enumerate(views[:6]):
        row, column = divmod(n, 3)
        expected = (column / 3, row / 2, (column + 1) / 3, (row + 1) / 2)
        assert view.box == pytest.approx(expected, abs=0.02)
    assert views[6].box == pytest.approx((0, 0, 1, 1), abs=0.01)


def test_maps_are_laid_by_area():
    # The left half of the photo seen as 2 x 2, with as much padding above and below again.
    placement = Placement((View(2, 2, (0.0, -0.5, 0.5, 1.5)),))
    laid = placement.lay(np.array([0.1, 0.3, 0.2, 0.4], np.float32))
    assert laid.shape == placement.grid == (1, 4)
    assert laid[0] == pytest.approx([0.3, 0.7, 0, 0])
    assert placement.seen == (0.0, 0.0, 0.5, 1.0)
    # A whole view and a finer one of the right half.
    both = Placement((View(1, 2), View(2, 2, (0.5, 0.0, 1.0, 1.0))))
    assert both.grid == (2, 4) and both.cells == 6
    laid = both.lay(np.array([0.4, 0.0, 0.0, 0.0, 0.0, 0.6]))
    assert laid == pytest.approx(np.array([[0.1, 0.1, 0, 0], [0.1, 0.1, 0, 0.6]]))
    # One whole grid is the maps as they are.
    maps = np.random.default_rng(0).random((3, 2, 6), np.float32)
    assert np.array_equal(Placement.whole((2, 3)).lay(maps), maps.reshape(3, 2, 2, 3))


@pytest.mark.parametrize(
    "kind",
    [("blip", 0), ("encoder_decoder", "vit", "gpt2"), ("florence2",), ("git",),
     ("qformer", "blip2", "opt"), ("chat", "llava"), ("chat", "qwen2_5_vl")],
)  # fmt: skip
def test_a_caption_that_is_read_is_as_probable_as_when_it_was_written(loaded, kind):
    model = loaded(*kind)
    captions = model.caption(photos(3), ASKED)
    memory = model.model.see([caption.photo for caption in captions], ASKED)
    with torch.inference_mode():
        read = model.model.logprobs(memory, [caption.ids for caption in captions])
    for caption, row in zip(captions, read, strict=True):
        spans = model.model.tokenizer.words(caption.ids)
        for word, span in zip(caption.words, spans, strict=True):
            logprob = float(row[span.start : span.stop].sum())
            assert logprob == pytest.approx(np.log(word.probability), abs=1e-3)
    assert any(caption.words for caption in captions)


def test_a_sentence_is_explained_by_a_hub_model(loaded):
    model = loaded("blip", 0)
    caption = model.explain(photos(1)[0], "a dog in the snow")
    assert [word.text.lower() for word in caption.words] == ["a", "dog", "in", "the", "snow"]
    assert all(word.heatmap is not None and 0 < word.probability < 1 for word in caption.words)
    with pytest.raises(SettingError, match="shorten it"):
        model.explain(photos(1)[0], "a dog in the snow " * 200)


@pytest.mark.parametrize("kind", [("blip", 0), ("encoder_decoder", "vit", "gpt2"), ("florence2",)])
def test_models_with_cross_attention_have_evidence_maps(loaded, kind):
    model = loaded(*kind)
    caption = model.explain(photos(1)[0], "a dog in the snow", heatmaps="evidence")
    assert caption.maps == "evidence" and caption.words
    for word in caption.words:
        assert word.heatmap.min() >= 0 and word.heatmap.sum() == pytest.approx(1, abs=1e-4)
    seen = model.model.see([caption.photo], ASKED)
    cells = model.model.placement(seen, 0).cells
    with torch.inference_mode():
        whole, hidden = (
            model.model.logprobs(model.model.faded(seen, shown), [caption.ids])[0]
            for shown in (torch.ones(1, cells), torch.zeros(1, cells))
        )
        [plain] = model.model.logprobs(seen, [caption.ids])
    assert torch.allclose(plain, whole, atol=1e-4) and not torch.allclose(plain, hidden, atol=1e-4)


@pytest.mark.parametrize("kind", [("git",), ("qformer", "blip2", "t5")])
def test_models_without_have_a_sentence(loaded, kind):
    model = loaded(*kind)
    with pytest.raises(SettingError, match="has no evidence maps"):
        model.caption(photos(1)[0], ASKED, heatmaps="evidence")
