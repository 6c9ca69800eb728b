"""The page under real hands: quick clicks, lost connections, reloads, what is refused."""

import json
import shutil

import pytest
from PIL import Image

from .conftest import caption_text, open_folder_tab, shown, upload

IN_VIEW = "document.querySelector('#c-viewer [data-part=bare]').src"


def caption_of(model, photo) -> str:
    return model.caption(photo).text


def wait_for_caption(page, text: str) -> None:
    """Wait until the page is at rest with this caption."""
    page.wait_for_function(
        """text => document.querySelector('.c-viewer').dataset.state === 'shown'
        && document.querySelector('#c-viewer [data-part=caption]').textContent === text""",
        arg=text,
    )


def looks_like(page, photo) -> bool:
    """Whether the picture in view is this photo, by its size and its colours. It is looked at in
    one go: the browser's picture of it may give way to the server's at any time."""
    looked = page.wait_for_function(
        """() => {
          const image = document.querySelector('#c-viewer [data-part=bare]');
          if (!image.complete || !image.naturalWidth) return null;
          const canvas = document.createElement('canvas');
          canvas.width = canvas.height = 1;
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0, 1, 1);
          return [image.naturalWidth, image.naturalHeight,
                  [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)];
        }"""
    )
    width, height, colour = looked.json_value()
    with Image.open(photo) as image:
        mean = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        ratio = image.width / image.height
    near = all(abs(a - b) < 40 for a, b in zip(colour, mean, strict=True))
    return near and abs(width / height - ratio) < 0.02


# The last question wins ---------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, 300])
def test_the_last_sample_clicked_wins(page, model, photos, wait):
    page.locator(".c-sample").nth(0).click()
    page.wait_for_timeout(wait)  # in the midst of the first
    page.locator(".c-sample").nth(2).click()
    wait_for_caption(page, caption_of(model, photos[2]))
    assert looks_like(page, photos[2])


def test_many_clicks_end_with_the_last(page, model, photos):
    for i in (0, 1, 2, 3, 4, 5, 1, 3):
        page.locator(".c-sample").nth(i).click()
    wait_for_caption(page, caption_of(model, photos[3]))
    page.wait_for_load_state("networkidle")  # whatever else is answered changes nothing
    assert caption_text(page) == caption_of(model, photos[3]) and looks_like(page, photos[3])


def test_a_double_click_and_a_photo_chosen_at_once(page, model, photos):
    upload(page, photos[2])
    page.dblclick("#c-viewer [data-do=again]")
    wait_for_caption(page, caption_of(model, photos[2]))
    page.click("#c-viewer [data-do=again]")
    page.set_input_files("#c-viewer [data-part=file]", str(photos[3]))
    page.set_input_files("#c-viewer [data-part=file]", str(photos[5]))
    wait_for_caption(page, caption_of(model, photos[5]))
    assert looks_like(page, photos[5])


def test_two_photos_of_the_gallery_opened_quickly(page, model, photos):
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", [str(photos[2]), str(photos[3])])
    page.wait_for_selector(".c-folder[data-state=shown]")
    page.wait_for_function("[...document.querySelectorAll('.c-photo img')].every(i => i.src)")
    page.evaluate("document.querySelectorAll('.c-photo-open').forEach(card => card.click())")
    wait_for_caption(page, caption_of(model, photos[3]))
    assert looks_like(page, photos[3])


# Refusals and lost connections --------------------------------------------------------------------


def test_without_a_connection_the_old_photo_stays_with_its_caption(page, model, photos):
    page.expected = "ERR_INTERNET_DISCONNECTED"
    upload(page, photos[2])
    page.wait_for_function(f"{IN_VIEW}.startsWith('data:')")
    caption, photo = caption_text(page), page.evaluate(IN_VIEW)
    page.context.set_offline(True)
    page.set_input_files("#c-viewer [data-part=file]", str(photos[3]))
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    assert "cannot be reached" in alert.inner_text()
    assert (caption_text(page), page.evaluate(IN_VIEW)) == (caption, photo)
    assert page.is_visible("#c-viewer .c-heat")
    page.locator(".c-sample").nth(4).click()
    page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    page.wait_for_selector(".c-viewer[data-state=shown]")
    assert (caption_text(page), page.evaluate(IN_VIEW)) == (caption, photo)
    page.context.set_offline(False)
    page.click("#c-viewer [data-do=again]")
    wait_for_caption(page, caption)
    assert page.is_hidden("#c-viewer [role=alert]") and looks_like(page, photos[2])
    page.locator(".c-sample").nth(4).click()
    wait_for_caption(page, caption_of(model, photos[4]))


def test_after_a_refusal_the_photo_in_view_is_captioned_again(page, photos, tmp_path):
    upload(page, photos[2])
    page.wait_for_function(f"{IN_VIEW}.startsWith('data:')")
    caption, photo = caption_text(page), page.evaluate(IN_VIEW)
    (tmp_path / "holiday.jpg").write_text("Dear diary, this is no photo.")
    page.set_input_files("#c-viewer [data-part=file]", str(tmp_path / "holiday.jpg"))
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    assert "holiday.jpg" in alert.inner_text()
    page.wait_for_selector(".c-viewer[data-state=shown]")
    assert (caption_text(page), page.evaluate(IN_VIEW)) == (caption, photo)
    page.click("#c-viewer [data-do=again]")
    page.wait_for_selector("#c-viewer [role=alert]", state="hidden")
    wait_for_caption(page, caption)
    assert page.is_hidden("#c-viewer [role=alert]"), "the refused file was asked for again"


# The folder ---------------------------------------------------------------------------------------


@pytest.fixture
def many(photos, tmp_path) -> list[str]:
    for n in range(200):  # more than a quick machine has done before the hand comes
        shutil.copy(photos[2], tmp_path / f"{n:03}.png")
    return sorted(map(str, tmp_path.iterdir()))


def jsonl(page) -> list[dict]:
    with page.expect_download() as waiting:
        page.click("#c-folder [data-do=jsonl]")
    return [json.loads(line) for line in waiting.value.path().read_text().splitlines()]


def test_what_was_done_before_stop_stays(page, many):
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", many)
    page.wait_for_selector(".c-photo")
    with page.expect_response("**/component_server/") as stopping:
        page.click("#c-folder [data-do=stop]")
    stopping.value.finished()
    page.wait_for_load_state("networkidle")
    status = page.inner_text("#c-folder [data-part=status]")
    done = page.locator(".c-photo").count()
    assert status == f"Stopped: {done} of {len(many)} done" and 0 < done < len(many)
    assert page.is_hidden("#c-folder [role=alert]")
    assert 0 <= len(jsonl(page)) - done <= 1, "one more may have been in work"


def test_a_folder_goes_on_over_a_reload(page, many):
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", many)
    page.wait_for_selector(".c-photo")
    warned = []
    page.on("dialog", lambda dialog: (warned.append(dialog.type), dialog.accept()))
    page.reload()
    assert warned == ["beforeunload"]
    page.wait_for_selector(".c-photo")
    assert page.get_by_role("tab", name="Folder").get_attribute("aria-selected") == "true"
    before = page.locator(".c-photo").count()
    assert before < len(many)
    page.wait_for_function(f"document.querySelectorAll('.c-photo').length > {before}")
    page.click("#c-folder [data-do=stop]")
    assert len(jsonl(page)) >= before
    page.reload()  # what is over is there too, and warns of nothing
    open_folder_tab(page, ".c-photo")
    assert page.locator(".c-photo").count() >= before and len(warned) == 1


def test_several_photos_dropped_on_the_caption_tab_may_all_be_captioned(page, model, photos):
    page.evaluate(
        """async () => {
          const data = new DataTransfer();
          for (const i of [2, 4]) {
            const { src } = document.querySelectorAll('.c-sample img')[i];
            const blob = await (await fetch(src)).blob();
            data.items.add(new File([blob], `${i}.jpg`, { type: 'image/jpeg' }));
          }
          for (const kind of ['dragenter', 'dragover', 'drop'])
            document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true }));
        }"""
    )
    page.get_by_role("button", name="Caption all of them in the Folder tab").click()
    page.wait_for_selector(".c-folder[data-state=shown]")
    assert page.locator(".c-photo:visible").count() == 2


# Settings -----------------------------------------------------------------------------------------


def test_settings_that_make_no_sense_are_called_what_the_form_calls_them(page, photos):
    upload(page, photos[2])
    form = page.locator("#c-viewer .c-settings")
    form.locator("summary").click()
    form.get_by_label("Other captions to show").fill("9")
    page.click("#c-viewer [data-do=again]")
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])").inner_text()
    assert "“Other captions to show” is 9" in alert and "“Beams” is 3" in alert
    form.get_by_label("Other captions to show").fill("0")
    form.get_by_label("Shortest, in tokens").fill("40")
    page.click("#c-viewer [data-do=again]")
    page.wait_for_function(
        "document.querySelector('#c-viewer [role=alert]').textContent.includes('Shortest')"
    )
    alert = page.inner_text("#c-viewer [role=alert]")
    assert "--" not in alert and "_" not in alert and "“Longest, in tokens”" in alert


def test_drawing_another(page, model, photos):
    form = page.locator("#c-viewer .c-settings")
    form.locator("summary").click()
    form.get_by_label("Draw at random").check()
    upload(page, photos[2])
    assert page.inner_text("[data-part=others-title]") == "Captions drawn at random"
    drawn = model.caption(photos[2], sample=True, alternatives=2, seed=1).text
    page.click("#c-viewer [data-do=draw]")
    wait_for_caption(page, drawn)
    assert form.get_by_label("Seed").input_value() == "1"


def test_settings_are_those_of_both_tabs_and_are_said(page, model, photos):
    form = page.locator("#c-viewer .c-settings")
    form.locator("summary").click()
    form.get_by_label("The caption begins with").fill("Two people")
    open_folder_tab(page)
    folder = page.locator("#c-folder .c-settings")
    assert folder.locator("summary").inner_text().endswith("The caption begins with: Two people")
    folder.locator("summary").click()
    folder.get_by_label("Beams").fill("1")
    page.set_input_files("#c-folder [data-part=files]", str(photos[0]))
    page.wait_for_selector(".c-folder[data-state=shown]")
    wanted = model.caption(photos[0], prefix="Two people", beams=1, heatmaps=False).text
    assert page.inner_text(".c-photo b") == wanted
    page.get_by_role("tab", name="Caption").click()
    assert form.get_by_label("Beams").input_value() == "1"
    form.get_by_role("button", name="As the model has it").click()
    assert form.get_by_label("The caption begins with").input_value() == ""
    assert folder.get_by_label("Beams").input_value() == "3"


# For everyone -------------------------------------------------------------------------------------


def test_the_caption_is_announced_and_the_focus_is_kept(page, photos):
    # The page may be seen before its scripts have taken hold of it.
    page.wait_for_load_state("networkidle")
    button = page.locator("#c-viewer .c-drop [data-do=choose]")
    with page.expect_file_chooser() as chooser:
        button.press("Enter")
    chooser.value.set_files(str(photos[2]))
    shown(page)
    assert page.inner_text("#c-viewer [role=status]") == caption_text(page)
    assert page.evaluate("document.activeElement.dataset.do") == "choose"
    page.click("[data-do=home]")
    page.wait_for_selector("#c-viewer .c-drop")
    assert page.is_hidden("#c-viewer [data-part=result]")
