"""The Folder, Score and About tabs in a real browser."""

import csv
import io
import json
import shutil
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from .conftest import ARTEFACTS, caption_text, open_folder_tab, same_picture, shown


@pytest.fixture
def folder(photos, tmp_path):
    """Three photos, and a text file that calls itself one."""
    for photo in photos[:3]:
        shutil.copy(photo, tmp_path / photo.name)
    (tmp_path / "broken.jpg").write_text("no photo at all")
    return tmp_path


def download(page, kind: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(f"#c-folder [data-do={kind}]")
    return waiting.value.path().read_bytes()


def test_a_folder_with_a_broken_file(page, model, photos, folder):
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", sorted(map(str, folder.iterdir())))
    page.wait_for_selector(".c-folder[data-state=shown]")
    wanted = {p.name: model.caption(p, heatmaps=False).text for p in photos[:3]}
    names = sorted([*wanted, "broken.jpg"])
    assert page.locator(".c-photo b").all_inner_texts() == [wanted[n] for n in names if n in wanted]
    assert page.locator(".c-photo img").first.get_attribute("alt") == wanted["astronaut.png"]
    failure = page.inner_text("#c-folder [data-part=failures]")
    assert "broken.jpg cannot be read as a photo" in failure and str(folder) not in failure
    assert "3 photos captioned" in page.inner_text("#c-folder [data-part=status]")

    rows = list(csv.DictReader(io.StringIO(download(page, "csv").decode())))
    assert [r["file"] for r in rows] == names
    assert {r["file"]: r["caption"] for r in rows} == wanted | {"broken.jpg": ""}
    reasons = {r["file"]: r["error"] for r in rows if r["error"]}
    assert list(reasons) == ["broken.jpg"] and "cannot be read" in reasons["broken.jpg"]
    lines = [json.loads(line) for line in download(page, "jsonl").decode().splitlines()]
    assert {r["file"]: r["caption"] for r in lines if "caption" in r} == wanted
    assert [r["file"] for r in lines] == names and "broken.jpg cannot be" in str(lines)
    with zipfile.ZipFile(io.BytesIO(download(page, "zip"))) as file:
        assert file.read("chelsea.txt").decode().strip() == wanted["chelsea.png"]
        assert "captions.csv" in file.namelist()
        assert "broken.jpg cannot be read" in file.read("failed.txt").decode()
    page.get_by_role("switch", name="Sheets of heatmaps in the zip").check()
    with zipfile.ZipFile(io.BytesIO(download(page, "zip"))) as file:
        sheets = sorted(name for name in file.namelist() if name.startswith("sheets/"))
        assert sheets == [f"sheets/{name.removesuffix('.png')}.png" for name in sorted(wanted)]
        sheet = np.asarray(Image.open(file.open("sheets/chelsea.png")))
        wanted_sheet = model.caption(photos[2]).contact_sheet()
        assert sheet.shape[1] == 1200 and same_picture(sheet, wanted_sheet)
    assert "3 photos captioned" in page.inner_text("#c-folder [data-part=status]")

    page.locator(".c-photo").nth(1).click()  # opens in the first tab
    page.wait_for_selector("#c-viewer [data-part=caption]")
    shown(page)
    assert caption_text(page) == wanted["camera.png"]


def test_captions_are_edited_sorted_and_filtered_in_the_gallery(page, photos):
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", [str(photo) for photo in photos[:4]])
    page.wait_for_selector(".c-folder[data-state=shown]")
    sure = lambda: [float(s[:-1]) for s in page.locator(".c-sure:visible").all_inner_texts()]  # noqa: E731
    given = sure()
    page.get_by_label("Order").select_option("unsure")
    assert sure() == sorted(given) != given or given == sorted(given)
    page.get_by_label("Confidence up to").fill("60")
    assert sure() == sorted(n for n in given if n <= 60)
    page.get_by_label("Confidence up to").fill("100")
    page.get_by_role("button", name=f"Edit the caption of {photos[1].name}").click()
    page.get_by_role("textbox", name="The caption").fill("My own words.")
    page.get_by_role("button", name="Save").click()
    card = page.locator(".c-photo", has_text=photos[1].name)
    card.locator("text=edited").wait_for()
    assert card.locator("b").inner_text() == "My own words."
    page.screenshot(path=ARTEFACTS / "gallery.png", full_page=True)
    lines = [json.loads(line) for line in download(page, "jsonl").decode().splitlines()]
    edited = [r for r in lines if r.get("edited")]
    assert [(r["file"], r["caption"]) for r in edited] == [(photos[1].name, "My own words.")]
    page.reload()
    open_folder_tab(page, ".c-photo")
    card.locator("text=edited").wait_for()


def test_a_zip_with_folders_and_foreign_paths(page, model, photos, tmp_path):
    archive = tmp_path / "trip.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(photos[2], "day one/cat.png")
        file.write(photos[3], "../../outside.png")
        file.writestr("notes.txt", "not a photo, and passed over")
        file.writestr("day one/empty.jpg", "")
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", str(archive))
    page.wait_for_selector(".c-folder[data-state=shown]")
    assert page.locator(".c-photo").count() == 2
    assert "trip.zip/day one/empty.jpg is empty" in page.inner_text(
        "#c-folder [data-part=failures]"
    )
    with zipfile.ZipFile(io.BytesIO(download(page, "zip"))) as file:
        assert {"trip.zip/day one/cat.txt", "trip.zip/outside.txt"} <= set(file.namelist())
    page.locator(".c-photo").first.click()
    page.wait_for_selector("#c-viewer [data-part=caption]")
    shown(page)
    assert caption_text(page) == model.caption(photos[2]).text


def test_who_leaves_stops_the_work(open_page, photos, tmp_path):
    """One folder is captioned at a time: the second person waits only until the first has left."""
    many = []
    for n in range(400):
        many.append(tmp_path / f"{n:03}.png")
        shutil.copy(photos[2], many[-1])
    first = open_page()
    open_folder_tab(first)
    first.set_input_files("#c-folder [data-part=files]", list(map(str, many)))
    first.wait_for_selector(".c-photo")
    began = time.monotonic()
    first.wait_for_function("document.querySelectorAll('.c-photo').length >= 24")
    left = (time.monotonic() - began) / 16 * (400 - 24)  # seconds that the rest would take
    first.context.close()
    second = open_page()
    open_folder_tab(second)
    began = time.monotonic()
    second.set_input_files("#c-folder [data-part=files]", str(photos[0]))
    second.wait_for_selector(".c-folder[data-state=shown]")
    assert time.monotonic() - began < left / 2


def test_who_edits_is_left_alone_until_a_stop(page, photos, tmp_path):
    for n in range(200):
        shutil.copy(photos[2 + n % 2], tmp_path / f"{n:03}.png")
    open_folder_tab(page)
    page.set_input_files("#c-folder [data-part=files]", sorted(map(str, tmp_path.iterdir())))
    page.wait_for_selector(".c-photo")
    page.locator(".c-photo [data-edit]").first.click()
    page.get_by_label("Order").select_option("sure")
    page.locator(".c-photo textarea").focus()
    before = page.locator(".c-photo").count()
    page.wait_for_function(f"document.querySelectorAll('.c-photo').length > {before}")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.click("#c-folder [data-do=stop]")
    assert "Stopped" in page.inner_text("#c-folder [data-part=status]")
    count = page.locator(".c-photo").count()
    assert 0 < count < 200
    assert len(download(page, "jsonl").splitlines()) >= count


def test_scores(page, tmp_path):
    """The numbers are those of the library; the best caption comes before the worst."""
    from captioner.metrics import score

    references = [
        ["A dog runs on the beach.", "A brown dog running."],
        ["Two people ride bikes.", "A couple on bicycles."],
        ["A plate of food.", "Food on a white plate."],
    ]
    candidates = ["A dog runs on the beach.", "A man with a hat.", "A plate of food on a table."]
    annotations = [
        {"id": 10 * i + k, "image_id": i, "caption": line}
        for i, lines in enumerate(references)
        for k, line in enumerate(lines)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)]
    (tmp_path / "refs.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    results = [{"image_id": i, "caption": line} for i, line in enumerate(candidates)]
    (tmp_path / "results.json").write_text(json.dumps(results))

    page.get_by_role("tab", name="Score").click()
    page.get_by_role("button", name="Score the captions").click()
    assert "Give both files" in page.wait_for_selector("#c-score [role=alert]").inner_text()
    for place, name in ((1, "refs.json"), (0, "results.json")):
        inputs = page.locator("input[data-testid=file-upload]")
        inputs.nth(place).set_input_files(str(tmp_path / name))
        # The text "refs.json" is there only while it uploads; what it becomes has it as a label.
        page.get_by_label(name, exact=True).wait_for()
    page.get_by_role("button", name="Score the captions").click()
    page.wait_for_selector(".c-table")
    wanted = score(candidates, references)["CIDEr-D"]
    row = page.locator(".c-table tr").nth(1).inner_text()
    assert "CIDEr-D" in row and f"{100 * wanted.value:.1f}" in row
    assert f"{100 * wanted.low:.1f} to {100 * wanted.high:.1f}" in row
    ends = page.locator(".c-ends section")
    assert "A dog runs on the beach." in ends.nth(0).locator("b").first.inner_text()
    assert "A man with a hat." in ends.nth(1).locator("b").first.inner_text()


def test_about_is_the_card(page, builtin):
    card = (builtin / "MODEL_CARD.md").read_text(encoding="utf-8")
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector(".c-card-text h1:visible")
    text = page.inner_text(".c-card-text")
    for heading in ("Trained on", "Scores", "What it is bad at"):
        assert heading in card and heading in text
