"""Evidence maps: they show where the photo makes a word more probable."""

import numpy as np
import pytest
import torch

from captioner.attention import Placement, View
from captioner.decoder import KeyValue
from captioner.errors import CaptionerError
from captioner.evidence import FINER, SHOWN, _gains, _shares, fade, word_evidence
from captioner.request import Request

from .planted import Planted


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in ((60, 90, 3), (90, 50, 3))]


def memory(rows: int = 2, cells: int = 6) -> list[KeyValue]:
    torch.manual_seed(0)
    return [(torch.randn(rows, 3, cells, 4), torch.randn(rows, 3, cells, 4)) for _ in range(2)]


def test_a_memory_is_faded_towards_its_mean():
    whole = memory()
    for before, after in zip(whole, fade(whole, torch.ones(2, 6)), strict=True):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True))
    for before, after in zip(whole, fade(whole, torch.zeros(2, 6)), strict=True):
        for a, b in zip(before, after, strict=True):
            assert torch.allclose(b, a.mean(dim=2, keepdim=True).expand_as(a))
    shown = torch.rand(2, 4)
    [(keys, _), _] = fade(whole, shown, first=1)  # a class token before, something after
    old = whole[0][0]
    assert torch.equal(keys[:, :, 0], old[:, :, 0]) and torch.equal(keys[:, :, 5], old[:, :, 5])
    mean = old[:, :, 1:5].mean(dim=2)
    expected = mean[1] + shown[1, 2] * (old[1, :, 3] - mean[1])
    assert torch.allclose(keys[1, :, 3], expected, atol=1e-6)


def test_the_gains_are_what_a_little_more_of_each_place_gives(small, photos):
    caption = small.caption(photos[0])
    model, words = small.model, small.model.tokenizer.words(caption.ids)
    seen = model.see([caption.photo], Request())
    gains = _gains(model, seen, 0, caption.ids, words, 9)
    assert gains.shape == (len(words), 9)
    step = 0.05
    with torch.inference_mode():
        for place in range(9):
            ends = []
            for sign in (1, -1):
                shown = torch.full((1, 9), SHOWN)
                shown[0, place] += sign * step
                ends.append(model.logprobs(model.faded(seen, shown), [caption.ids])[0])
            slope = (ends[0] - ends[1]) / (2 * step)
            for word, gain in zip(words, gains, strict=True):
                expected = float(slope[word.start : word.stop].sum())
                assert gain[place] == pytest.approx(expected, abs=2e-3 + 0.02 * abs(expected))


def test_the_map_peaks_where_the_word_is_planted():
    planted = Planted((6, 8))
    ids = [0, 19, 47, 26, 5, 8, 30, 13, 44, 22]  # more words than are computed together
    maps = word_evidence(planted, planted.memory(), 0, ids, planted.tokenizer.words(ids))
    for place, found in zip(ids, maps, strict=True):
        assert found.shape == (6 * FINER, 8 * FINER) and found.dtype == np.float32
        assert found.min() >= 0 and found.sum() == pytest.approx(1, abs=1e-5)
        row, column = np.unravel_index(found.argmax(), found.shape)
        assert (row // FINER, column // FINER) == divmod(place, 8)
        # Most of a Gaussian as wide as a cell lies within two cells.
        rows, columns = np.indices(found.shape) // FINER
        near = (abs(rows - place // 8) <= 2) & (abs(columns - place % 8) <= 2)
        assert found[near].sum() > 0.95


def test_what_makes_a_word_less_probable_is_no_evidence():
    gain = np.zeros(16)
    gain[5], gain[10] = 1, -1
    found = _shares(gain, Placement.whole((4, 4)))
    assert found[:8, :8].sum() > 0.7 and not found[8:12, 8:12].any()
    assert np.allclose(_shares(-np.ones(16), Placement.whole((4, 4))), 1 / 256)


def test_what_the_model_has_not_seen_has_no_evidence():
    placement = Placement((View(2, 2, (0.25, 0.0, 0.75, 1.0)),))
    for gain in (np.ones(4), np.zeros(4)):
        found = _shares(gain, placement)
        width = found.shape[1]
        assert found.sum() == pytest.approx(1, abs=1e-5)
        assert not found[:, : width // 4].any() and not found[:, -width // 4 :].any()
        assert found[:, width // 4 : -width // 4].min() > 0


def test_a_caption_has_the_heatmaps_that_are_asked_for(small, photos):
    attention, evidence = small.caption(photos), small.caption(photos, heatmaps="evidence")
    for a, b, photo in zip(attention, evidence, photos, strict=True):
        assert a == b and a.maps == "cross-attention" and b.maps == "evidence"
        alone = small.caption(photo, heatmaps="evidence")
        other = small.with_heatmaps(a, "evidence")
        assert other.maps == "evidence" and other.request.heatmaps == "evidence"
        rows, columns = small.model.grid
        for word, one, again in zip(b.words, alone.words, other.words, strict=True):
            assert word.heatmap.shape == (FINER * rows, FINER * columns)
            np.testing.assert_allclose(word.heatmap, one.heatmap, atol=1e-4)
            np.testing.assert_allclose(word.heatmap, again.heatmap, atol=1e-4)
        for word, again in zip(a.words, small.with_heatmaps(b, "attention").words, strict=True):
            np.testing.assert_allclose(word.heatmap, again.heatmap, atol=1e-5)
        assert b.overlay(0).size == a.overlay(0).size
        assert b.to_dict()["heatmaps"] == "evidence"
    assert all(p.grad is None for p in small.model.parameters())
    assert small.caption(photos[0], heatmaps=False).to_dict()["heatmaps"] == ""


def test_a_blank_picture_has_flat_maps_of_either_kind(small):
    caption = small.caption(np.full((40, 60, 3), 90, np.uint8))
    assert caption.blank
    other = small.with_heatmaps(caption, "evidence")
    assert other.maps == "evidence" and other.words == caption.words
    assert np.ptp(other.words[0].heatmap) == 0


def test_the_sheet_says_which_maps_it_shows(small, photos):
    attention = small.caption(photos[0])
    named = attention.contact_sheet()
    assert named.tobytes() == attention.contact_sheet(what="Cross-attention").tobytes()
    evidence = small.with_heatmaps(attention, "evidence")
    same = evidence.contact_sheet(what="Evidence")
    assert evidence.contact_sheet().tobytes() == same.tobytes()
    assert same.tobytes() != evidence.contact_sheet(what="Attention").tobytes()


def test_a_sentence_is_explained_by_evidence_too(small, photos):
    caption = small.explain(photos[0], "A dog in the snow", heatmaps="evidence")
    assert caption.maps == "evidence"
    assert all(word.heatmap.sum() == pytest.approx(1, abs=1e-5) for word in caption.words)


@pytest.mark.parametrize("kind", ["gradcam", "Attention", "x" * 30])
def test_another_kind_of_heatmap_is_a_sentence(small, photos, kind):
    with pytest.raises(CaptionerError, match="choose attention or evidence"):
        small.caption(photos[0], heatmaps=kind)
