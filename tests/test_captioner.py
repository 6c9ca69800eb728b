"""The Python call: captions, words, heatmaps, overlays."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import captioner
from captioner.attention import Combine, word_maps
from captioner.errors import CaptionerError, PhotoError
from captioner.photos import Photo, load_photo
from captioner.request import Request
from captioner.tokenizer import WordSpan

from .conftest import BUILTIN


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    sizes = [(64, 48), (48, 80), (120, 120), (200, 40)]
    return [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)).resize((w * 2, h * 2))
        for w, h in sizes
    ]


def test_a_caption_has_all_its_parts(small, photos):
    caption = small.caption(photos[0], alternatives=2)
    assert caption.text[0].isupper()
    assert caption.text[-1] in ".!?" or len(caption.ids) == small.model.search.max_length
    assert 0 < caption.confidence <= 1
    assert len(caption.alternatives) == 2
    assert caption.score >= caption.alternatives[0].score >= caption.alternatives[1].score
    for one in (caption, *caption.alternatives):
        assert one.words
        for word in one.words:
            assert 0 < word.probability <= 1
            assert word.heatmap.dtype == np.float32
            assert word.heatmap.shape == small.model.grid
            assert word.heatmap.min() >= 0
            assert word.heatmap.sum() == pytest.approx(1, abs=1e-5)
    assert caption.overlay(0).size == photos[0].size
    assert caption.contact_sheet().width > photos[0].width


def test_a_list_gives_a_list_equal_to_one_at_a_time(small, photos):
    together = small.caption(photos)
    for photo, caption in zip(photos, together, strict=True):
        alone = small.caption(photo)
        assert alone.text == caption.text
        assert alone.confidence == pytest.approx(caption.confidence, abs=1e-5)
        for a, b in zip(alone.words, caption.words, strict=True):
            np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-5)
    assert small.caption([]) == []


def test_alternatives_of_unlike_numbers_keep_their_own_maps(small, photos):
    """Photos of a batch may have fewer finished captions than asked for."""
    for caption, photo in zip(small.caption(photos, alternatives=2), photos, strict=True):
        alone = small.caption(photo, alternatives=2)
        for a, b in zip(alone.alternatives, caption.alternatives, strict=True):
            assert a.text == b.text
            for x, y in zip(a.words, b.words, strict=True):
                np.testing.assert_allclose(x.heatmap, y.heatmap, atol=1e-5)


def test_a_photo_turned_by_exif_is_the_upright_photo(small, photos, tmp_path):
    upright = photos[0]
    plain = small.caption(upright)
    for orientation, back in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        upright.transpose(back).save(path, exif=exif)
        turned = small.caption(path)
        assert turned.text == plain.text
        assert turned.photo.width == upright.width and turned.photo.height == upright.height
        np.testing.assert_array_equal(turned.words[0].heatmap, plain.words[0].heatmap)


def test_every_kind_of_source_gives_the_same(small, photos, tmp_path):
    photo = photos[1]
    path = tmp_path / "photo.png"
    photo.save(path)
    array = np.asarray(photo)
    sources = [
        path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), photo, array,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
    ]  # fmt: skip
    assert len({small.caption(s).text for s in sources}) == 1


def test_banned_words_do_not_appear(small, photos):
    plain = small.caption(photos[0])
    banned = [w.text for w in plain.words[:2]]
    text = small.caption(photos[0], without=banned).text
    assert not {w.lower() for w in banned} & {w.strip(".,").lower() for w in text.split()}


def test_a_prefix_begins_the_caption(small, photos):
    caption = small.caption(photos[0], prefix="A dog")
    assert caption.text.startswith("A dog")
    assert caption.words[0].given and not caption.words[-1].given


@torch.inference_mode()
def test_a_prefix_is_not_in_the_confidence(small, photos):
    request = Request(prefix="A dog", alternatives=1, beams=2)
    given = len(small.model.tokenizer.encode_prefix("A dog"))
    for caption in small.caption(photos, request):
        memory = small.model.see([caption.photo], request)
        for one in (caption, *caption.alternatives):
            [row] = small.model.logprobs(memory, [one.ids])
            assert one.confidence == pytest.approx(float(row[given:].mean().exp()), rel=1e-4)
            for word, span in zip(one.words, small.model.tokenizer.words(one.ids), strict=True):
                probability = float(row[span.start : span.stop].sum().exp())
                assert word.probability == pytest.approx(probability, rel=1e-4), "its own"
                assert word.given == (span.stop <= given)
        words = caption.to_dict()["words"]
        assert words[0]["given"] and "given" not in words[-1]


@torch.inference_mode()
@pytest.mark.parametrize("known, power", [(2.0, 0.5), (None, 1), (0, 1), ("much", 1)])
def test_the_temperature_of_confidence_changes_no_caption(small, photos, monkeypatch, known, power):
    before = small.caption(photos[0], alternatives=2)
    monkeypatch.setitem(small.model.config.about, "confidence_temperature", known)
    after = small.caption(photos[0], alternatives=2)
    for one, other in zip(
        (before, *before.alternatives), (after, *after.alternatives), strict=True
    ):
        assert (one.text, one.score, one.words) == (other.text, other.score, other.words)
        assert other.confidence == pytest.approx(one.confidence**power)
    assert after.confidence < 1 and before.confidence < 1


def test_a_caption_that_is_read_is_as_probable_as_when_it_was_written(small, photos):
    written = small.caption(photos)
    memory = small.model.see([c.photo for c in written], Request())
    for caption, row in zip(
        written, small.model.logprobs(memory, [c.ids for c in written]), strict=True
    ):
        assert len(row) == len(caption.ids) + 1
        assert caption.confidence == pytest.approx(float(row.mean().exp()), rel=1e-4)
        spans = small.model.tokenizer.words(caption.ids)
        for word, span in zip(caption.words, spans, strict=True):
            probability = float(row[span.start : span.stop].sum().exp())
            assert word.probability == pytest.approx(probability, rel=1e-4)


def test_any_sentence_is_explained(small, photos):
    caption = small.explain(photos[0], "  A dog   jumps into the WATER .")
    assert caption.text == "A dog jumps into the water."
    assert [word.text for word in caption.words] == ["A", "dog", "jumps", "into", "the", "water"]
    for word in caption.words:
        assert 0 < word.probability < 1 and word.heatmap.sum() == pytest.approx(1, abs=1e-5)
    assert caption.words != small.explain(photos[1], caption.text).words
    assert small.explain(photos[0], "A dog", heatmaps=False).words[0].heatmap is None
    texts = ["A dog", "Two dogs play in the snow"]
    together = small.explain_photo(load_photo(photos[0]), texts, Request())
    for one, text in zip(together, texts, strict=True):
        alone = small.explain(photos[0], text)
        assert one.text == alone.text
        for a, b in zip(one.words, alone.words, strict=True):
            assert a.probability == pytest.approx(b.probability, rel=1e-4)
            np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-5)


@pytest.mark.parametrize("text", ["", "  ", " .", "a dog and " * 40])
def test_what_cannot_be_explained_is_a_sentence(small, photos, text):
    with pytest.raises(CaptionerError, match=r"no words|places for 31; shorten it"):
        small.explain(photos[0], text)
    with pytest.raises(CaptionerError, match="no words"):  # before any photo is read
        small.search(Request(explain="..."))


def test_without_heatmaps_an_overlay_is_refused(small, photos):
    caption = small.caption(photos[0], heatmaps=False)
    with pytest.raises(CaptionerError, match="heatmaps=True"):
        caption.overlay(0)
    with pytest.raises(CaptionerError, match="no word 99"):
        small.caption(photos[0]).overlay(99)


@pytest.mark.parametrize(
    "settings",
    [{"beams": 2, "alternatives": 2}, {"beam": 3}, {"max_length": 99}, {"alternatives": -1}],
)
def test_senseless_settings_are_sentences(small, photos, settings):
    with pytest.raises(CaptionerError):
        small.caption(photos[0], **settings)


def test_a_bad_photo_is_a_photo_error(small, tmp_path):
    with pytest.raises(PhotoError, match=r"gone\.jpg"):
        small.caption(tmp_path / "gone.jpg")


@pytest.mark.parametrize("size", [(640, 427), (427, 640)])
def test_a_planted_look_lands_where_it_should(small, size):
    """A model whose attention is planted on one cell: the overlay is hottest in that rectangle."""
    small_grid = small.model.grid
    width, height = size
    photo = Photo(Image.new("RGB", size, (90, 90, 90)), width, height)
    for row, col in ((0, 0), (0, small_grid[1] - 1), (small_grid[0] - 1, 0), (1, 2)):
        keep = small.model.look

        def planted(memory, captions, row=row, col=col, keep=keep):
            weights = keep(memory, captions)
            for w in weights:
                w.zero_()
                w[..., row * small_grid[1] + col] = 1
            return weights

        small.model.look = planted
        try:
            caption = small.caption(photo)
        finally:
            del small.model.look
        bare = np.asarray(caption.overlay(0, strength=0.0, label=None), dtype=float)
        heat = np.asarray(caption.overlay(0, label=None), dtype=float)
        brightness = np.abs(heat - bare).sum(-1)
        y, x = np.unravel_index(brightness.argmax(), brightness.shape)
        assert heat.shape[:2] == (height, width)
        assert row * height / small_grid[0] <= y < (row + 1) * height / small_grid[0]
        assert col * width / small_grid[1] <= x < (col + 1) * width / small_grid[1]


def test_a_word_of_several_tokens_has_their_average():
    weights = np.zeros((2, 2, 3, 4))
    weights[..., 0, 0] = 1
    weights[..., 1, 1] = 1
    weights[..., 2, 3] = 1
    maps = word_maps(weights, [WordSpan("ab", 0, 2), WordSpan("c", 2, 3)], (2, 2))
    np.testing.assert_allclose(maps[0], [[0.5, 0.5], [0, 0]])
    np.testing.assert_allclose(maps[1], [[0, 0], [0, 1]])


def test_layers_and_heads_can_be_chosen():
    weights = np.random.default_rng(0).dirichlet(np.ones(4), (3, 2, 5))
    chosen = word_maps(weights, [WordSpan("a", 1, 2)], (2, 2), Combine(layers=(2,), heads=(1,)))
    np.testing.assert_allclose(chosen[0].ravel(), weights[2, 1, 1], rtol=1e-5)


def test_load_refuses_an_unknown_dtype_and_device():
    with pytest.raises(CaptionerError, match="dtype"):
        captioner.load(BUILTIN, dtype="int8")
    with pytest.raises(CaptionerError, match="device"):
        captioner.load(BUILTIN, device="tpu9")
