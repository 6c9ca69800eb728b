"""Attention to less of a photo, as `python -m eval cost sparse` measures it, is what it says."""

import json

import pytest
import torch
from PIL import Image

from captioner.captioner import Captioner
from captioner.decoder import CrossAttention, DecoderConfig, TextDecoder
from captioner.model import CaptionModel
from eval import cost, sparse
from eval import sparse_attention as ways

from .conftest import CAPTIONS, tiny_model

CONFIG = DecoderConfig(vocab_size=50, width=32, layers=2, heads=4, positions=32)


@pytest.fixture
def decoder() -> TextDecoder:
    torch.manual_seed(0)
    return TextDecoder(CONFIG).eval()


@torch.inference_mode()
def test_as_many_strongest_keys_as_there_are_is_full_attention(decoder):
    whole = decoder.layers[0].cross_attention
    memory, x = whole.memory(torch.randn(2, 9, 32)), torch.randn(6, 5, 32)
    every = ways.Strongest(whole, 9)
    torch.testing.assert_close(every(x, memory), whole(x, memory), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(every.explicit(x, memory), whole.explicit(x, memory), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_strongest_keys_are_those_with_the_highest_weights(decoder):
    whole = decoder.layers[0].cross_attention
    memory, x = whole.memory(torch.randn(2, 9, 32)), torch.randn(6, 5, 32)
    some = ways.Strongest(whole, 3)
    y, weights = some.explicit(x, memory)
    torch.testing.assert_close(some(x, memory), y, atol=1e-5, rtol=1e-5)
    _, full = whole.explicit(x, memory)
    least = full.topk(3).values[..., -1:]
    expected = torch.where(full >= least, full, 0)
    torch.testing.assert_close(
        weights, expected / expected.sum(-1, keepdim=True), atol=1e-5, rtol=1e-5
    )


@torch.inference_mode()
def test_fewer_counted_keys_and_means_in_place_are_the_same(decoder):
    """So what is scored on means in place is what is timed on fewer keys."""
    x, ids = torch.randn(2, 25, 32), torch.randint(50, (6, 5))
    group = ways.merged(x, 7)
    expected, _ = decoder(ids, decoder.photo_memory(ways.in_place(x, group)))
    for layer in decoder.layers:
        layer.cross_attention = ways.Counted(layer.cross_attention, ways.sizes(group, 7))
    found, _ = decoder(ids, decoder.photo_memory(ways.means(x, group, 7)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_pooling_takes_two_by_two_and_leaves_a_class_token():
    assert ways.pooled(3, 4, 1).tolist() == [[0, 1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4]]


def test_the_most_alike_are_matched_first():
    like = torch.tensor([[0.0, 1.0], [1.0, 0.1], [1.0, 0.0], [0.2, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    # Of 0, 2 and 4, token 2 is most like 1 (and then 0 like 3).
    assert ways.matched(like[None], 1).tolist() == [[0, 2, 2, 3, 1, 4]]
    assert ways.matched(like[None], 2).tolist() == [[2, 1, 1, 2, 0, 3]]
    assert ways.matched(like[None], 2, first=1).tolist()[0][0] == 0


@pytest.mark.parametrize("token", [False, True])
@torch.inference_mode()
def test_a_transformer_with_nothing_merged_is_as_it_was(token):
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=64, embed_dim=32, depth=3, num_heads=4, num_classes=0, class_token=token,
        global_pool="",
    ).eval()  # fmt: skip
    pixels = torch.randn(2, 3, 64, 64)
    features, group = ways.encode_merged(vit, pixels, 16 + token)
    torch.testing.assert_close(features, vit.forward_features(pixels), atol=1e-5, rtol=1e-5)
    assert group.tolist() == [list(range(16 + token))] * 2
    features, group = ways.encode_merged(vit, pixels, 5)
    assert features.shape == (2, 5, 32)
    for row in group:
        assert set(row.tolist()) == set(range(5))
        assert not token or row[0] == 0


@pytest.fixture
def photos(tmp_path):
    """Three photos with their captions."""
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{i}.png")
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(3)],
        "annotations": [{"id": i, "image_id": i, "caption": CAPTIONS[i]} for i in range(3)],
    }
    (tmp_path / "captions.json").write_text(json.dumps(content), encoding="utf-8")
    return ["--images", str(tmp_path), "--annotations", str(tmp_path / "captions.json")]


def test_captions_of_every_way_are_scored_and_the_model_is_left_as_it_was(
    photos, monkeypatch, capsys
):
    model = tiny_model()
    captioner = Captioner(model, device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr(sparse, "load", lambda **_: captioner)
    assert cost.main(["sparse", *photos, "--keys", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 3 and list(found["ways"]) == list(sparse.WAYS)
    assert found["ways"]["full"]["gained"] == 0 and found["ways"]["full"]["same"] == 1
    assert isinstance(captioner.model, CaptionModel)
    for layer in model.decoder.layers:
        assert type(layer.cross_attention) is CrossAttention
    assert "photo_memory" not in vars(model.decoder)
    # A way that shows the decoder other keys gives other weights.
    memory = torch.randn(1, *model.grid, 8).sum(-1).flatten(1).unsqueeze(2).expand(-1, -1, 32)
    for way in sparse.WAYS[2:]:
        with sparse._changed(captioner, way, 2):
            assert not torch.equal(
                model.decoder.photo_memory(memory)[0][0],
                TextDecoder.photo_memory(model.decoder, memory)[0][0],
            )


def test_options_that_do_not_go_together_are_refused(capsys):
    assert cost.main(["sparse", "--images", "."]) == 2
    assert cost.main(["sparse", "--instances", "x.json"]) == 2
    assert cost.main(["sparse", "--keys", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_time_of_every_way_is_put_beside_full_attention(capsys):
    assert cost.main(["sparse", "--quick", "--photos", "1"]) == 0
    table = capsys.readouterr().out
    assert "| 49 | the model in the box |" in table
    for way in sparse.WAYS:
        assert f"{way}: step, ms" in table
