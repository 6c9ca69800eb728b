"""The measure of whether heatmaps point: planted maps score what they must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.pointing import average_precision, score_map

RNG = np.random.default_rng(0)


def thing(rows: slice, columns: slice, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def test_a_perfect_map_scores_one():
    mask = thing(slice(40, 80), slice(32, 64))
    scores = score_map(mask.astype(np.float32) / mask.sum(), mask, mask)
    assert scores.pointing == scores.boxes == 1
    assert scores.mass == pytest.approx(1) and scores.ap == pytest.approx(1)
    assert scores.area == pytest.approx(mask.mean(), abs=0.01)


def test_a_uniform_map_scores_the_share_of_the_photo():
    mask = thing(slice(40, 80), slice(32, 64))
    scores = score_map(np.full((10, 10), 0.01), mask, thing(slice(0, 60), slice(0, 160)))
    assert scores.pointing == pytest.approx(mask.mean())
    assert scores.boxes == 0.5
    assert scores.mass == pytest.approx(scores.area) and scores.ap == pytest.approx(scores.area)


def test_a_map_that_looks_elsewhere_scores_nothing():
    mask = thing(slice(0, 24), slice(0, 32))
    elsewhere = np.zeros((10, 10))
    elsewhere[7, 7] = 1
    scores = score_map(elsewhere, mask, mask)
    assert scores.pointing == scores.boxes == scores.mass == 0
    assert scores.ap == pytest.approx(scores.area)  # all of the mask comes last, and in one piece


def test_the_cell_of_a_map_lies_where_it_is_drawn():
    """Rows are rows, also of a photo that is not square: the peak is the middle of the cell."""
    for row, column in [(0, 0), (2, 7), (9, 4), (5, 9)]:
        heatmap = np.full((10, 10), 0.001)
        heatmap[row, column] = 0.9
        mask = thing(slice(row * 12, row * 12 + 12), slice(column * 16, column * 16 + 16))
        assert score_map(heatmap, mask, mask).pointing == 1


def test_the_box_is_more_than_the_mask():
    mask = thing(slice(0, 120), slice(0, 8))
    mask |= thing(slice(0, 6), slice(0, 160))
    middle = np.zeros((3, 3))
    middle[1, 1] = 1
    scores = score_map(middle, mask, np.ones_like(mask))
    assert scores.pointing == 0 and scores.boxes == 1


def test_a_thing_smaller_than_the_points_between_which_it_lies_is_measured():
    mask = thing(slice(501, 502), slice(500, 501), (1000, 1000))
    scores = score_map(np.full((10, 10), 0.01), mask, mask)
    assert scores.area == pytest.approx(1e-6) and scores.mass == pytest.approx(1e-6)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12))
def test_average_precision_is_its_definition(pairs):
    scores = np.array([s for s, _ in pairs], dtype=float)
    positive = np.array([p for _, p in pairs])
    if not positive.any():
        return
    each = [positive[scores >= s].mean() for s, p in zip(scores, positive, strict=True) if p]
    assert average_precision(scores, positive) == pytest.approx(np.mean(each))
