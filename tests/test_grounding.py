"""The measure of whether heatmaps point: planted maps score what they must."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner.attention import Placement, View
from eval import grounding
from eval.deletion import CHANCE, at_cells, drops
from eval.grounding import Pointing
from eval.grounding_figures import figures, table
from eval.instances import Instances
from eval.pointing import Scores, average_precision, score_map

from .planted import Planted

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


# Deletion -----------------------------------------------------------------------------------------


def peak(grid: tuple[int, int], place: int) -> np.ndarray:
    found = np.full(grid[0] * grid[1], 0.001)
    found[place] = 1
    return found.reshape(grid)


def test_hiding_what_a_word_hangs_on_takes_its_probability():
    planted = Planted((5, 4))
    maps = {"true": peak((5, 4), 7), "false": 1 - peak((5, 4), 7)}
    lost = drops(planted, planted.memory(), [3, 7, 11], [1], maps, np.random.default_rng(0))
    assert lost["true"] == pytest.approx(planted.sure - 0.01, abs=1e-4)
    assert lost["false"] == pytest.approx(0, abs=1e-6)
    # A fifth of the patches is hidden, so of many random draws a fifth take it all.
    chances = [
        drops(planted, planted.memory(), [3, 7, 11], [1], {}, np.random.default_rng(seed))[CHANCE]
        for seed in range(60)
    ]
    assert np.mean(chances) == pytest.approx(0.2 * (planted.sure - 0.01), abs=0.05)


def test_a_map_is_read_where_the_cells_lie():
    fine = np.kron(np.arange(12).reshape(3, 4), np.ones((4, 4)))
    assert np.array_equal(at_cells(fine, Placement.whole((3, 4))), np.arange(12))
    # A view of the left half, and one that is padded above and below.
    left = Placement((View(3, 2, (0.0, 0.0, 0.5, 1.0)),))
    assert np.array_equal(at_cells(fine, left), [0, 1, 4, 5, 8, 9])
    padded = Placement((View(2, 4, (0.0, -1.0, 1.0, 1.0)),))
    assert np.array_equal(at_cells(fine, padded), [0, 0, 0, 0, 4, 5, 6, 7])


# The figures --------------------------------------------------------------------------------------


def pointing(photo: int, area: float, drops: dict, **hits: float) -> Pointing:
    scores = {n: Scores(hit, hit, (1 + hit) * area, area, hit / 2) for n, hit in hits.items()}
    return Pointing(photo, Path(), "A dog.", "dog", ("dog",), 0.5, {}, scores, drops)


def test_the_figures_are_means_over_words_with_intervals_over_photos():
    words = [
        pointing(1, 0.1, {"attention": 0.4, CHANCE: 0.1}, attention=1, uniform=0.1),
        pointing(1, 0.5, {"attention": 0.2, CHANCE: 0.2}, attention=1, uniform=0.5),
        pointing(2, 0.1, {"attention": 0.0, CHANCE: 0.0}, attention=0, uniform=0.1),
        pointing(3, 0.02, {"attention": 0.0, CHANCE: 0.0}, attention=0, uniform=0.02),
    ]
    found = figures(words, ["attention"], 500)
    attention = found["attention"]
    assert attention["pointing"] == 0.5 and attention["pointing_small"] == pytest.approx(
        1 / 3, abs=1e-4
    )
    assert attention["words"] == 4 and attention["small_words"] == 3
    assert attention["mass_ratio"] == pytest.approx((0.2 + 1.0 + 0.1 + 0.02) / 0.72, abs=1e-4)
    assert attention["ap"] == 0.25
    low, high = attention["intervals"]["pointing"]
    assert low == 0 and high >= 0.8  # with photo 1 twice, or without it
    assert attention["deletion"]["ratio"] == 2.0 and "deletion" not in found["uniform"]
    assert attention["by_size"]["under 5%"] == {"words": 1, "pointing": 0.0}
    assert attention["by_category"] == {"dog": {"words": 4, "pointing": 0.5}}
    assert "2.00 times as much" in table(found) and figures([], ["attention"], 10) == {}


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """Two photos, a dog on the left of each, and what people said."""
    (tmp_path / "images").mkdir()
    images, captions, things = [], [], []
    rng = np.random.default_rng(0)
    for i in (1, 2):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 80, "height": 60})
        captions.append({"id": i, "image_id": i, "caption": "A dog & its <b>cat</b> in the snow"})
        square = [0, 0, 40, 0, 40, 60, 0, 60]
        things.append(
            {"id": i, "image_id": i, "category_id": 18, "bbox": [0, 0, 40, 60], "iscrowd": 0,
             "segmentation": [square], "area": 2400}
        )  # fmt: skip
    categories = [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}]
    content = {"images": images, "annotations": things, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return tmp_path


@pytest.fixture(scope="module")
def tiny(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    model.save(path)
    return path


def run(photos: Path, tiny: Path, *more: str) -> int:
    return grounding.main(
        ["--model", str(tiny), "--images", str(photos / "images"), "--device", "cpu",
         "--instances", str(photos / "instances.json"), "--captions", str(photos / "captions.json"),
         "--bootstrap", "20", *more]
    )  # fmt: skip


def test_the_things_are_read_from_the_instances(photos):
    instances = Instances(photos / "instances.json")
    assert instances.photos() == {1: "1.png", 2: "2.png"} and instances.categories(1) == {"dog"}
    thing = instances.thing(1, ("dog", "cat"))
    assert (
        thing.mask.shape == (60, 80) and thing.mask[:, :39].all() and not thing.mask[:, 41:].any()
    )
    assert thing.boxes.mean() == 0.5 and instances.thing(1, ("cat",)) is None


def test_the_command_scores_both_kinds_of_map(photos, tiny, capsys):
    out, page = photos / "out.json", photos / "page.html"
    assert run(
        photos, tiny, "--maps", "attention,evidence", "--json", str(out), "--pictures", str(page)
    ) == 0  # fmt: skip
    human = json.loads(out.read_text())["human"]
    assert {"attention", "evidence", "centre", "uniform"} <= set(human)
    assert human["uniform"]["words"] == 2  # "dog" on each photo; there is no cat
    assert human["uniform"]["pointing"] == pytest.approx(0.5, abs=0.02)
    assert human["uniform"]["mass_ratio"] == pytest.approx(1, abs=0.02)
    for kind in ("attention", "evidence"):
        assert {"pointing", "pointing_small", "mass_ratio", "ap", "deletion"} <= set(human[kind])
    told = capsys.readouterr().out
    assert "2 words" in told and "of another word" in told and "times that" in told
    html = page.read_text()
    assert "A dog &amp; its" in html and "<b>cat" not in html and html.count("<figure>") >= 6


@pytest.mark.parametrize(
    "option, value, sentence",
    [
        ("--maps", "gradcam", "--maps takes attention and evidence"),
        ("--images", "nowhere", "is not a folder"),
        ("--instances", "captions.json", "has no instances"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence(photos, tiny, capsys, option, value, sentence):
    path = str(photos / value) if option != "--maps" else value
    assert run(photos, tiny, option, path) == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
