"""Heatmaps land where they should, look as sure as they are, and the sheet clips nothing."""

import inspect

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from captioner.attention import WHOLE
from captioner.caption import OverlayOptions, SheetOptions
from captioner.render import FULL, colour, contact_sheet, overlay

FLAT = np.full((9, 9), 1 / 81, np.float32)


def planted(shape, row, column, share=1.0):
    """A map with `share` of its attention in one cell and the rest spread evenly."""
    heatmap = np.full(shape, (1 - share) / (shape[0] * shape[1]), np.float32)
    heatmap[row, column] += share
    return heatmap


def change(photo, heatmap, **options):
    """How far the overlay is from a flat map's, at each pixel: (H, W)."""
    flat = np.full(heatmap.shape, 1 / heatmap.size, np.float32)
    one, other = (overlay(photo, each, **options) for each in (heatmap, flat))
    return np.abs(np.asarray(one, float) - np.asarray(other, float)).sum(-1)


PHOTOS = {
    "landscape": Image.fromarray(data.rocket()),
    "portrait": Image.fromarray(data.rocket()).transpose(Image.Transpose.ROTATE_90),
    "grey": Image.new("RGB", (640, 427), (128, 128, 128)),
    "grey portrait": Image.new("RGB", (427, 640), (128, 128, 128)),
    "panorama": Image.new("RGB", (1000, 120), (90, 120, 90)),
}


@pytest.mark.parametrize("cell", [(0, 0), (0, 8), (8, 0), (2, 6), (6, 1), (5, 4)])
@pytest.mark.parametrize("photo", PHOTOS.values(), ids=PHOTOS)
@pytest.mark.parametrize("shape", [(9, 9), (9, 12), (12, 9)])
def test_a_planted_cell_lights_up_its_own_rectangle(photo, cell, shape):
    (row, column), (width, height) = cell, photo.size
    seen = change(photo, planted(shape, row, column))
    assert seen.shape == (height, width)
    top, bottom = row * height / shape[0], (row + 1) * height / shape[0]
    left, right = column * width / shape[1], (column + 1) * width / shape[1]
    ys, xs = np.mgrid[:height, :width]
    # What is in a real photo shifts the very maximum; the middle of the strongest stays.
    strongest = seen > 0.7 * seen.max()
    assert top <= np.median(ys[strongest]) < bottom
    assert left <= np.median(xs[strongest]) < right
    if len(set(photo.getextrema()[0])) == 1:  # a photo of one colour: exactly
        y, x = np.unravel_index(seen.argmax(), seen.shape)
        assert top <= y < bottom and left <= x < right
    # Beyond the cells around it nothing changes but what the flat map had.
    near = (abs(ys - (top + bottom) / 2) < 1.6 * (bottom - top)) & (
        abs(xs - (left + right) / 2) < 1.6 * (right - left)
    )
    assert seen[near].max() > 2.5 * seen[~near].max()


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (900, 100)])
def test_a_cell_is_centred_on_its_rectangle(size):
    """And not laid corner to corner, which moves it by up to half a cell."""
    width, height = size
    for row, column in [(1, 1), (1, 6), (7, 2), (4, 4)]:
        seen = change(Image.new("RGB", size, (128, 128, 128)), planted((9, 9), row, column))
        ys, xs = np.nonzero(seen > 0.5 * seen.max())
        assert ys.mean() + 0.5 == pytest.approx((row + 0.5) * height / 9, abs=0.05 * height / 9)
        assert xs.mean() + 0.5 == pytest.approx((column + 0.5) * width / 9, abs=0.05 * width / 9)


def test_a_reduced_overlay_keeps_the_aspect_ratio_and_the_place():
    photo = Image.new("RGB", (4000, 1000), (128, 128, 128))
    picture = overlay(photo, planted((10, 20), 3, 15), max_side=512)
    assert picture.size == (512, 128) and picture.mode == "RGB"
    seen = change(photo, planted((10, 20), 3, 15), max_side=512)
    y, x = np.unravel_index(seen.argmax(), seen.shape)
    assert (y * 10 // 128, x * 20 // 512) == (3, 15)
    assert overlay(photo, FLAT, max_side=None).size == (4000, 1000)
    assert overlay(Image.new("RGB", (30, 20)), FLAT).size == (30, 20)  # never enlarged


def test_a_flat_map_looks_flat_and_weak():
    grey = Image.new("RGB", (200, 100), (128, 128, 128))
    picture = np.asarray(overlay(grey, FLAT), float)
    assert picture.std(axis=(0, 1)).max() == 0
    assert np.abs(picture - 128).max() < 30
    jitter = FLAT * np.random.default_rng(0).uniform(0.95, 1.05, FLAT.shape)
    nearly = np.asarray(overlay(grey, (jitter / jitter.sum()).astype(np.float32)), float)
    assert nearly.std(axis=(0, 1)).max() < 3  # not stretched to full contrast


def test_maps_of_different_words_share_one_scale():
    black = Image.new("RGB", (99, 99))  # an odd number of pixels a cell: one is its centre

    def seen(times, **options):  # the colour of a cell with `times` the attention of an even spread
        share = (times - 1) / 80
        return np.asarray(overlay(black, planted((9, 9), 4, 4, share), **options), int)[49, 49]

    brightness = [seen(times).sum() for times in (1, 2, 3, 4, 5, 6)]
    assert (np.diff(brightness) > 20).all()
    assert (seen(FULL, strength=1) == colour(np.array(1.0))).all()
    assert (seen(40) == seen(FULL)).all()
    assert (seen(3, scale=3) == seen(FULL)).all()


def test_strength_zero_is_the_photo_itself():
    photo = PHOTOS["landscape"]
    assert (np.asarray(overlay(photo, FLAT, strength=0)) == np.asarray(photo)).all()


def test_the_colours_rise_evenly_in_lightness():
    """So that they keep their order for every kind of colour vision, and in grey print."""
    linear = (colour(np.linspace(0, 1, 101)) / 255.0) ** 2.2
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = np.diff(lightness)
    assert steps.min() > 0.3 and steps.max() < 1.6
    assert lightness[0] < 20 and lightness[-1] > 80


def luminance(pixel):
    channels = np.asarray(pixel, float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("background", ["white", "yellow", "black"])
def test_the_label_is_printed_in_contrast_to_any_photo(background):
    photo = Image.new("RGB", (400, 300), background)
    bare = np.asarray(overlay(photo, planted((9, 9), 8, 4)), int)
    bar = np.asarray(overlay(photo, planted((9, 9), 8, 4), label="elephant"), int)[-12:, -20:]
    with_label = np.asarray(overlay(photo, planted((9, 9), 8, 4), label="elephant"), int)
    brightest = max(luminance(pixel) for pixel in bar.reshape(-1, 3))
    assert (1.0 + 0.05) / (brightest + 0.05) >= 4.5  # WCAG AA
    assert (with_label.min(-1) > 250)[-40:].sum() > 40 or background == "white"
    assert (bare[:240] == with_label[:240]).all()  # the bar covers the bottom only


@pytest.mark.parametrize(
    "heatmap",
    [
        np.zeros((9, 9)),
        np.ones((9, 9)),
        FLAT[None],
        np.zeros((0, 9)),
        np.full((2, 2), np.nan),
        np.array([[1.5, -0.5]]),
    ],
)
def test_what_is_no_distribution_over_a_grid_is_refused(heatmap):
    with pytest.raises(ValueError, match="heatmap"):
        overlay(PHOTOS["grey"], heatmap)


def test_settings_out_of_range_are_refused():
    for options in ({"strength": 1.5}, {"strength": float("nan")}, {"scale": 0}):
        with pytest.raises(ValueError, match="overlay"):
            overlay(PHOTOS["grey"], FLAT, **options)
    for options in ({"width": 100}, {"columns": 0}):
        with pytest.raises(ValueError, match="contact sheet"):
            contact_sheet(PHOTOS["grey"], [], **options)


# The sheet ----------------------------------------------------------------------------------------


def margins_are_empty(sheet):
    pixels = np.asarray(sheet)
    edge = max(12, round(sheet.width * 0.03))
    sides = [pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]]
    return all((side == 255).all() for side in sides)


def test_the_sheet_shows_the_photo_and_every_word_in_order():
    photo = Image.new("RGB", (640, 427), (128, 128, 128))
    words = [(f"w{i}", 0.5, planted((9, 9), i, 8 - i)) for i in range(5)]
    sheet = contact_sheet(photo, words, title="Five words.", columns=5, width=1100)
    assert sheet.size[0] == 1100 and sheet.mode == "RGB" and margins_are_empty(sheet)
    pixels = np.asarray(sheet, int)
    saturation = pixels.max(-1) - pixels.min(-1)
    saturation = saturation[-(33 + 154) :]  # the row of cards, without the header and its legend
    step, across = 209, 194  # (1100 - 2 * 33 - 4 * 15) / 5, and the gap of 15
    tops = []
    for place in range(5):
        left = 33 + place * step
        card = saturation[:, left : left + across]
        y, x = np.unravel_index(card.argmax(), card.shape)
        assert abs(x / across - (8.5 - place) / 9) < 0.12
        tops.append(y)
    assert (np.diff(tops) > 5).all()


LONG = "A woman in a red coat and a man with a small brown dog on a leash are walking along a path"
TEXTS = [
    "dog",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "北京 コーヒー",
    "שלום 🐈",
    "",
    "two\nlines\tand a\0null",
    "\udce4",
    "’",
]


@pytest.mark.parametrize(
    "size", [(640, 427), (300, 900), (3000, 300), (1, 1), (3000, 2), (2, 3000), (40, 30)]
)
@pytest.mark.parametrize("width", [240, 1200])
def test_nothing_leaves_the_sheet(size, width):
    photo = Image.new("RGB", size, (128, 128, 128))
    words = [(text, p, FLAT) for text, p in zip(TEXTS, [0, 1, 0.5, 0.001, 2, 1, 1, 1], strict=True)]
    words.append(("nan", float("nan"), FLAT))
    title = f"{LONG} {TEXTS[1]} {' '.join(TEXTS[2:])}"
    sheet = contact_sheet(photo, words, title=title, width=width)
    assert sheet.width == width and margins_are_empty(sheet)
    assert sheet.height < 8 * width  # a very tall photo does not make a very tall sheet
    for text in TEXTS:
        assert overlay(photo, FLAT, label=text).size[0] <= 1024


def test_what_the_model_has_not_seen_is_dark():
    photo = Image.new("RGB", (80, 40), (200, 180, 160))
    whole = np.asarray(overlay(photo, FLAT))
    part = np.asarray(overlay(photo, FLAT, seen=(0.25, 0.0, 0.75, 1.0)))
    assert np.array_equal(part[:, 20:60], whole[:, 20:60])
    assert (part[:, :20] < 0.4 * np.array((200, 180, 160))).all()
    assert (part[:, 60:] < 0.4 * np.array((200, 180, 160))).all()
    words = [("word", 0.5, FLAT)]
    sheets = [contact_sheet(photo, words, what=what, seen=seen) for what, seen in (
        ("Attention", WHOLE), ("Evidence", WHOLE), ("Attention", (0.25, 0.0, 0.75, 1.0)),
    )]  # fmt: skip
    assert len({sheet.tobytes() for sheet in sheets}) == 3


def test_a_sheet_without_words_or_title_is_the_photo_with_its_legend():
    assert margins_are_empty(contact_sheet(PHOTOS["portrait"], []))


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(0, 20),
    width=st.integers(240, 900),
    columns=st.none() | st.integers(1, 9),
    size=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    title=st.text(max_size=60),
)
@example(count=9, width=240, columns=8, size=(1, 1), title="ab")
def test_any_sheet_keeps_its_margins(count, width, columns, size, title):
    words = [(title[i : i + 9], i / 40, FLAT) for i in range(count)]
    sheet = contact_sheet(Image.new("RGB", size), words, title=title, columns=columns, width=width)
    assert sheet.width == width and margins_are_empty(sheet)


def test_a_caption_takes_the_options_of_its_pictures():
    for function, options in ((overlay, OverlayOptions), (contact_sheet, SheetOptions)):
        parameters = inspect.signature(function).parameters.values()
        assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == set(
            options.__annotations__
        )
