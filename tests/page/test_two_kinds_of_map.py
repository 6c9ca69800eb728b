"""The switch between the two kinds of map, and the mark of doubtful words."""

import re

import numpy as np
import pytest

from ..hub.checkpoints import git
from .conftest import ARTEFACTS, heat, same_picture, serving, shown, upload
from .test_hands import wait_for_caption


def choose(page, kind: str) -> None:
    page.get_by_role("radio", name=re.compile(kind)).check()
    page.wait_for_selector(f".c-heat[data-maps={kind.lower()}]:not([hidden])")
    ring = "part => getComputedStyle(part).borderTopWidth"
    seen = [page.get_by_role("radio", checked=on).evaluate(ring) for on in (True, False)]
    assert seen == ["6px", "2px"], "one sees which is chosen"


def near(seen: np.ndarray, image) -> bool:
    """The page's server sums with other threads than the test: last digits differ."""
    wanted = np.asarray(image.convert("RGB"))
    return seen.shape == wanted.shape and int(np.abs(seen.astype(int) - wanted).max()) <= 3


def test_the_switch_shows_what_speaks_for_each_word_and_back(page, model, photos):
    upload(page, photos[2])
    caption = model.caption(photos[2])
    evidence = model.with_heatmaps(caption, "evidence")
    words, thumb = page.locator("#c-viewer .c-word"), page.locator(".c-thumb img").first
    before = thumb.get_attribute("src")
    choose(page, "Evidence")
    page.wait_for_function("old => document.querySelector('.c-thumb img').src !== old", arg=before)
    assert thumb.get_attribute("alt") == "What speaks for"
    for i, word in enumerate(evidence.words):
        words.nth(i).click()
        seen = heat(page, i)
        assert near(seen, evidence.overlay(i)) and not near(seen, caption.overlay(i)), word.text
        assert f"What speaks for “{word.text}”" in page.get_attribute("#c-viewer .c-heat", "alt")
    page.screenshot(path=ARTEFACTS / "evidence.png", full_page=True)
    choose(page, "Attention")
    last = len(caption.words) - 1
    assert same_picture(heat(page, last), caption.overlay(last))
    assert thumb.get_attribute("src") == before
    choose(page, "Evidence")
    upload(page, photos[3])  # the kind stays, for the next photo too
    assert page.get_attribute("#c-viewer .c-heat", "data-maps") == "evidence"


def test_a_model_without_evidence_has_no_switch(open_page, tmp_path, photos):
    (tmp_path / "uploads").mkdir()
    for address in serving(tmp_path / "uploads", "--model", str(git(tmp_path / "git"))):
        page = open_page(address)
        upload(page, photos[2])
        assert page.is_visible("[data-part=tools]") and page.is_hidden("[data-part=kinds]")
        page.context.close()


@pytest.mark.parametrize("colours", ["none", "active"])
def test_doubtful_words_are_marked_without_colour_and_explained(open_page, model, photos, colours):
    page = open_page(forced_colors=colours)
    upload(page, photos[2])
    note = page.locator("[data-part=doubt]")
    doubted = any(word.doubtful for word in model.caption(photos[2]).words)
    assert note.is_visible() == doubted
    page.click("[data-do=own]")
    page.get_by_label("Your own words").fill("A zebra in the snow.")
    page.get_by_role("button", name="Show the heat").click()
    wait_for_caption(page, "A zebra in the snow.")
    shown(page)
    assert note.is_visible() and "may well not be on the photo" in note.inner_text()
    zebra = page.get_by_role("button", name=re.compile("^zebra, .*may not be on the photo$"))
    snow = page.get_by_role("button", name=re.compile("^snow, [^,]*$"))
    line = "part => getComputedStyle(part).textDecorationLine"
    assert zebra.evaluate(line) == "underline" and snow.evaluate(line) == "none"
    zebra.click()
    assert "may not be on the photo" in page.inner_text("[data-part=now]")
    assert "doubtful" in page.locator(".c-thumb", has_text="zebra").inner_text()
    page.screenshot(path=ARTEFACTS / f"doubt-{colours}.png", full_page=True)
