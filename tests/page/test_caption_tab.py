"""The Caption tab in a real browser."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from .conftest import ARTEFACTS, caption_text, heat, same_picture, shown, upload


def test_every_word_shows_what_the_library_shows(page, model, photos):
    """Click each word: the overlay changes, and is `Caption.overlay` to the last pixel."""
    upload(page, photos[2])
    caption = model.caption(photos[2])
    assert caption_text(page) == caption.text
    words = page.locator("#c-viewer .c-word")
    assert words.all_inner_texts() == [w.text for w in caption.words]
    before = None
    for i, word in enumerate(caption.words):
        words.nth(i).click()
        seen = heat(page, i)
        assert same_picture(seen, caption.overlay(i)), word.text
        assert before is None or (seen != before).any(), "the overlay did not change"
        before = seen
        label = page.get_attribute("#c-viewer .c-heat", "alt")
        assert word.text in label and caption.text in label
        assert words.nth(i).get_attribute("aria-pressed") == "true"
        percent = f"{round(100 * word.probability)}%"
        assert percent in words.nth(i).get_attribute("aria-label")
        assert page.locator("#c-viewer .c-word[aria-pressed=true]").count() == 1


def test_arrows_walk_through_the_words_and_the_strip(page, photos):
    upload(page, photos[0])
    page.locator("#c-viewer .c-word").first.click()
    heat(page, 0)
    page.keyboard.press("ArrowRight")
    heat(page, 1)
    assert page.evaluate("document.activeElement.className") == "c-word"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # from the first word to the last
    last = page.locator("#c-viewer .c-word").count() - 1
    heat(page, last)
    page.keyboard.press("Home")
    heat(page, 0)
    page.locator("#c-viewer .c-thumb").nth(2).click()
    heat(page, 2)
    page.keyboard.press("ArrowRight")
    heat(page, 3)
    assert "c-thumb" in page.evaluate("document.activeElement.className")


@contextlib.contextmanager
def all_overlays(page):
    """Wait at the end until as many answers have come as the caption has words, and no more are
    waited for: the page fetches the overlays ahead, one after the other."""
    open_ones, answers = set(), []
    own = "component_server"
    page.on("request", lambda r: own in r.url and open_ones.add(r))
    page.on("requestfinished", lambda r: own in r.url and (answers.append(r), open_ones.discard(r)))
    page.on("requestfailed", lambda r: open_ones.discard(r))
    yield
    before, calm = 0, 0
    while calm < 3:  # between two of them nothing is open for a moment
        page.wait_for_timeout(300)
        whole = not open_ones and len(answers) > page.locator("#c-viewer .c-word").count()
        calm = calm + 1 if whole and len(answers) == before else 0
        before = len(answers)


def test_walking_through_words_asks_the_server_nothing(page, photos):
    with all_overlays(page):
        upload(page, photos[3])
    asked = []
    page.on("request", lambda r: r.url.startswith("http") and asked.append(r.url))
    page.locator("#c-viewer .c-word").first.click()
    for i in range(1, page.locator("#c-viewer .c-word").count()):
        page.keyboard.press("ArrowRight")
        heat(page, i)
    assert not asked


def test_strength_and_the_bare_photo(page, model, photos):
    upload(page, photos[3])
    caption = model.caption(photos[3])
    page.locator("#c-viewer .c-word").nth(1).click()
    heat(page, 1)
    shown_first = page.get_attribute("#c-viewer .c-heat", "src")
    page.locator("[data-part=strength]").fill("90")
    page.wait_for_function("old => document.querySelector('.c-heat').src !== old", arg=shown_first)
    assert same_picture(heat(page, 1), caption.overlay(1, strength=0.9))
    page.locator("[data-part=heat-on]").uncheck()
    assert page.locator("#c-viewer .c-heat").is_hidden()
    bare = page.locator("#c-viewer [data-part=bare]")
    assert bare.get_attribute("alt") == caption.text
    box, photo = bare.bounding_box(), caption.photo
    assert box["width"] / box["height"] == pytest.approx(photo.width / photo.height, rel=0.01)


def test_alternatives_have_their_own_words_and_maps(page, model, photos):
    upload(page, photos[0])
    caption = model.caption(photos[0], alternatives=2)
    others = page.locator("#c-viewer .c-other")
    assert others.count() == 3
    others.nth(2).click()
    other = caption.alternatives[1]
    assert caption_text(page) == other.text
    page.locator("#c-viewer .c-word").last.click()
    last = len(other.words) - 1
    assert same_picture(heat(page, last, rank=2), other.overlay(last))
    others.nth(0).click()
    assert caption_text(page) == caption.text


def test_layers_and_heads(page, model, photos):
    upload(page, photos[2])
    page.click("#c-viewer [data-part=layers] summary")
    names = model.model.layers
    page.wait_for_selector(".c-heads img")
    assert page.locator(".c-chip").all_inner_texts() == names
    assert page.locator(".c-heads img").count() == model.model.config.decoder.heads + 1
    first = page.get_attribute(".c-heads img >> nth=0", "src")
    page.locator(".c-chip").nth(1).click()
    page.wait_for_function("old => document.querySelector('.c-heads img').src !== old", arg=first)
    assert page.locator(".c-chip[aria-pressed=true]").inner_text() == names[1]


def test_settings_change_the_caption(page, model, photos):
    form = page.locator("#c-viewer .c-settings")
    form.locator("summary").click()
    form.get_by_label("The caption begins with").fill("Two people")
    form.get_by_label("Words to do without").fill("man, building")
    upload(page, photos[0])
    wanted = model.caption(photos[0], prefix="Two people", without=["man", "building"])
    assert caption_text(page) == wanted.text
    form.get_by_label("Draw at random").check()
    form.get_by_label("Seed").fill("7")
    page.click("#c-viewer [data-do=again]")
    page.wait_for_selector(".c-viewer[data-state=busy]")
    shown(page)
    drawn = model.caption(
        photos[0], prefix="Two people", without=["man", "building"], sample=True, seed=7,
        alternatives=2,
    )  # fmt: skip
    assert caption_text(page) == drawn.text


def test_downloads(page, model, photos):
    upload(page, photos[2])
    caption = model.caption(photos[2], alternatives=2)

    def get(kind: str) -> tuple[str, bytes]:
        with page.expect_download() as waiting:
            page.click(f"#c-viewer [data-do={kind}]")
        found = waiting.value
        return found.suggested_filename, found.path().read_bytes()

    assert get("text") == ("chelsea.txt", f"{caption.text}\n".encode())
    name, content = get("json")
    record = json.loads(content)
    assert name == "chelsea.json" and record["caption"] == caption.text
    assert [w["text"] for w in record["words"]] == [w.text for w in caption.words]
    assert len(record["alternatives"]) == 2 and record["model"] == model.model.config.about["name"]
    name, content = get("sheet")
    sheet = Image.open(io.BytesIO(content))
    assert name == "chelsea-words.png" and sheet.format == "PNG"
    assert same_picture(np.asarray(sheet), caption.contact_sheet())


def test_a_photo_of_50_megapixels(page, tmp_path):
    big = tmp_path / "big.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (58, 87, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((8700, 5800), Image.Resampling.BICUBIC).save(big, quality=80)
    upload(page, big)
    assert page.inner_text("[data-part=size]") == "8700 × 5800"


def test_a_photo_that_browsers_cannot_show(page, photos, tmp_path, model):
    """A TIFF: the server's picture of it takes the place of the browser's own."""
    Image.open(photos[3]).save(tmp_path / "scan.tiff")
    upload(page, tmp_path / "scan.tiff")
    page.wait_for_function("document.querySelector('[data-part=bare]').naturalWidth > 0")
    assert page.is_hidden("[data-part=noview]")
    assert caption_text(page) == model.caption(photos[3]).text


def test_a_text_file_called_jpg_is_told_in_a_sentence(page, tmp_path, photos):
    fake = tmp_path / "holiday.jpg"
    fake.write_text("Dear diary, this is no photo.")
    page.set_input_files("#c-viewer [data-part=file]", str(fake))
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    assert alert.inner_text().startswith("holiday.jpg cannot be read as a photo: it is a text file")
    assert str(tmp_path) not in alert.inner_text() and "/tmp" not in alert.inner_text()
    assert page.is_visible("#c-viewer .c-drop"), "one can try again"
    upload(page, photos[1])
    assert page.is_hidden("#c-viewer [role=alert]")


def test_samples_paste_and_camera(page, photos):
    page.locator(".c-sample").nth(1).click()
    shown(page)
    first = caption_text(page)
    assert page.inner_text("[data-part=size]") == "512 × 512"
    page.evaluate(
        """async () => {
          const { src } = document.querySelectorAll('.c-sample img')[4];
          const blob = await (await fetch(src)).blob();
          const data = new DataTransfer();
          data.items.add(new File([blob], 'pasted.jpg', { type: 'image/jpeg' }));
          document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }));
        }"""
    )
    page.wait_for_function(
        "old => document.querySelector('[data-part=caption]').textContent !== old", arg=first
    )
    shown(page)
    page.click("#c-viewer .c-again [data-do=camera]")
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.click("[data-do=shoot]")
    page.wait_for_selector(".c-viewer[data-state=busy]")
    shown(page)
    assert page.is_hidden("dialog")


def test_a_photo_dropped_anywhere(page):
    page.evaluate(
        """async () => {
          const blob = await (await fetch(document.querySelector('.c-sample img').src)).blob();
          const data = new DataTransfer();
          data.items.add(new File([blob], 'dropped.jpg', { type: 'image/jpeg' }));
          for (const kind of ['dragenter', 'dragover', 'drop'])
            document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true }));
        }"""
    )
    shown(page)
    assert page.is_hidden(".c-veil >> nth=0")


def test_two_people_at_once_do_not_see_each_other(open_page, model, photos):
    one, two = open_page(), open_page()
    one.set_input_files("#c-viewer [data-part=file]", str(photos[0]))
    two.set_input_files("#c-viewer [data-part=file]", str(photos[3]))
    for page, photo in ((one, photos[0]), (two, photos[3])):
        shown(page)
        caption = model.caption(photo)
        assert caption_text(page) == caption.text
        page.locator("#c-viewer .c-word").nth(2).click()
        # Both may have been one batch of the model, whose last digits differ from a batch of one.
        seen, wanted = heat(page, 2).astype(int), np.asarray(caption.overlay(2)).astype(int)
        assert np.abs(seen - wanted).max() <= 3


WIDE = {"viewport": {"width": 1360, "height": 900}}


@pytest.mark.parametrize(
    "name, options",
    [
        pytest.param("light", WIDE, marks=pytest.mark.long),
        pytest.param("dark", {**WIDE, "color_scheme": "dark"}, marks=pytest.mark.long),
        ("phone", {"viewport": {"width": 390, "height": 844}, "has_touch": True}),
    ],
)
def test_pictures_of_the_page(open_page, photos, name, options):
    """Kept to be looked at: build/page/*.png."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page = open_page(**options)
    upload(page, photos[4])
    page.wait_for_timeout(300)
    page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.body.classList.contains('dark')") == (name == "dark")
