"""A person's own words about a photo, pictures to keep, and going back to earlier photos."""

import io

import numpy as np
from PIL import Image

from .conftest import ARTEFACTS, caption_text, heat, same_picture, shown, upload
from .test_hands import looks_like, wait_for_caption


def picture(page, kind: str) -> tuple[str, np.ndarray]:
    with page.expect_download() as waiting:
        page.click(f"#c-viewer [data-do={kind}]")
    content = waiting.value.path().read_bytes()
    return waiting.value.suggested_filename, np.asarray(Image.open(io.BytesIO(content)))


def test_a_person_s_own_caption_and_pictures_to_keep(page, model, photos):
    upload(page, photos[2])
    caption = model.caption(photos[2])
    page.get_by_role("button", name="Write a caption of your own").click()
    field = page.get_by_label("Your own words")
    assert field.input_value() == caption.text, "to be edited"
    field.fill("Two dogs sleep on a red sofa.")
    page.get_by_role("button", name="Show the heat").click()
    wait_for_caption(page, "Two dogs sleep on a red sofa.")
    own = model.explain(photos[2], "Two dogs sleep on a red sofa.")
    page.locator("#c-viewer .c-word").nth(1).click()
    assert same_picture(heat(page, 1, rank=3), own.overlay(1))
    assert "for the model" in page.inner_text("#c-viewer [data-part=now]")
    chosen = page.locator(".c-other[aria-pressed=true]")
    assert "yours" in chosen.inner_text() and page.locator(".c-other").count() == 4
    page.screenshot(path=ARTEFACTS / "own.png", full_page=True)
    page.locator(".c-other").first.click()
    assert caption_text(page) == caption.text, "beside the model's"

    page.locator("#c-viewer .c-word").nth(2).click()
    heat(page, 2)
    name, seen = picture(page, "overlay")
    assert name == "chelsea-word-03.png" and same_picture(seen, caption.overlay(2))
    before = page.get_attribute("#c-viewer .c-heat", "src")
    page.get_by_role("switch", name="Word").uncheck()
    page.wait_for_function("old => document.querySelector('.c-heat').src !== old", arg=before)
    assert same_picture(heat(page, 2), caption.overlay(2, label=None))
    assert same_picture(picture(page, "overlay")[1], caption.overlay(2, label=None))
    page.get_by_role("switch", name="Heat").uncheck()
    bare = caption.overlay(2, label=None, strength=0)
    assert same_picture(picture(page, "overlay")[1], bare)


def test_back_to_an_earlier_photo_asks_for_no_new_caption(page, model, photos):
    upload(page, photos[2])
    assert page.is_hidden("[data-part=visit-box]")
    upload(page, photos[3])
    first, second = (model.caption(photos[i]).text for i in (2, 3))
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("request", lambda r: asked.append(r.post_data or ""))
    page.locator("[data-visit='1']").click()
    wait_for_caption(page, first)
    assert looks_like(page, photos[2])
    page.locator("#c-viewer .c-word").first.click()
    heat(page, 0)
    page.locator("[data-visit='0']").click()
    wait_for_caption(page, second)
    assert looks_like(page, photos[3])
    page.wait_for_load_state("networkidle")
    assert asked and not any('"ask"' in body for body in asked)
    page.evaluate(  # in the midst of a question, however quick the answer
        """() => {
          document.querySelector(".c-sample[data-sample='5']").click();
          document.querySelector("[data-visit='1']").click();
        }"""
    )
    wait_for_caption(page, first)
    page.wait_for_load_state("networkidle")
    assert caption_text(page) == first and looks_like(page, photos[2])


def test_the_words_that_were_given_are_marked(page, model, photos):
    form = page.locator("#c-viewer .c-settings")
    form.locator("summary").click()
    form.get_by_label("The caption begins with").fill("Two people")
    upload(page, photos[0])
    caption = model.caption(photos[0], prefix="Two people")
    word = page.locator("#c-viewer .c-word").first
    assert "given by you" in word.get_attribute("aria-label")
    assert "100%" not in word.get_attribute("aria-label")
    assert page.locator(".c-given").count() == 2
    assert page.inner_text("[data-part=confidence]") == f"{caption.confidence:.0%}"
    page.screenshot(path=ARTEFACTS / "given.png", full_page=True)


def test_an_address_that_leads_nowhere_is_told(page, server):
    field = page.get_by_label("The address of a photo")
    field.fill(f"{server}theme.css")
    page.keyboard.press("Enter")
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    assert "not public" in alert.inner_text() and page.is_visible("#c-viewer .c-drop")
    page.screenshot(path=ARTEFACTS / "address.png", full_page=True)
    page.locator(".c-sample").first.click()
    shown(page)
