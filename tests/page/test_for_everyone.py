"""The page for who sees little, hears it, types, or has a phone; and over plain http."""

import pytest

from .conftest import caption_text, open_folder_tab, upload

axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")


def serious(page) -> list[str]:
    found = axe_playwright.Axe().run(page)
    return [
        f"{one['id']} ({one['impact']}): {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical") or one["id"] == "page-has-heading-one"
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_tab(open_page, photos, scheme):
    page = open_page(color_scheme=scheme)
    assert not serious(page), "before there is a photo"
    page.locator("#c-viewer .c-settings summary").click()
    upload(page, photos[2])
    page.locator(".c-sample:visible").nth(1).click()
    page.wait_for_selector("[data-visit='1']")
    page.click("[data-do=own]")
    assert not serious(page), "a photo, with settings and own words"
    open_folder_tab(page)
    assert not serious(page), "the empty Folder tab"
    page.set_input_files("#c-folder [data-part=files]", str(photos[3]))
    page.wait_for_selector(".c-folder[data-state=shown] .c-photo img[src]")
    assert not serious(page), "the gallery"
    for name in ("Score", "About"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(300)
        assert not serious(page), name


def test_forced_colours_keep_what_is_chosen_and_the_legend(open_page, photos):
    page = open_page(forced_colors="active")
    upload(page, photos[2])
    style = "(part, rule) => getComputedStyle(document.querySelector(part))[rule]"

    def ground(pressed: str) -> str:
        part = f".c-word[aria-pressed={pressed}]"
        return page.evaluate(f"part => ({style})(part, 'backgroundColor')", part)

    assert ground("true") != ground("false")
    assert "gradient" in page.evaluate(f"({style})('.c-legend i', 'backgroundImage')")
    assert page.evaluate(f"({style})('.c-legend i', 'forcedColorAdjust')") == "none"


def test_on_a_phone_a_tapped_thumbnail_brings_the_photo_into_view(open_page, photos):
    page = open_page(viewport={"width": 390, "height": 600}, has_touch=True)
    upload(page, photos[2])
    thumb = page.locator(".c-thumb").last
    thumb.scroll_into_view_if_needed()
    frame = page.locator("#c-viewer [data-part=frame]")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert not in_view(frame)
    thumb.tap()
    page.wait_for_function(
        "document.querySelector('#c-viewer [data-part=frame]').getBoundingClientRect().top >= 0"
    )
    assert in_view(frame)
    settings, again = page.locator("#c-viewer .c-settings"), page.locator("[data-do=again]")
    distance = settings.bounding_box()["y"] - again.bounding_box()["y"]
    assert 0 < distance < 200, "the settings stand where the button is that uses them"


def in_view(part) -> bool:
    box = part.bounding_box()
    return box["y"] >= -1 and box["y"] < 600


def test_over_plain_http_the_caption_is_copied_and_the_camera_is_explained(open_page, photos):
    page = open_page()
    page.evaluate(
        """() => {
          for (const name of ['clipboard', 'mediaDevices'])
            Object.defineProperty(navigator, name, { value: undefined, configurable: true });
          document.addEventListener('copy', () => { window.copied = String(getSelection()); });
        }"""
    )
    upload(page, photos[2])
    page.click("[data-do=copy]")
    page.wait_for_function("document.querySelector('[data-do=copy]').textContent === 'Copied'")
    assert page.evaluate("window.copied") == caption_text(page)
    page.click("#c-viewer .c-again [data-do=camera]")
    assert "https" in page.wait_for_selector("#c-viewer [role=alert]:not([hidden])").inner_text()
