"""A server that is killed in the midst of a folder, and started again."""

import json
import os
import signal
import zipfile

from eval.page_load import server

from .conftest import PATIENCE, free_port, open_folder_tab


def test_what_a_killed_server_captioned_comes_back(browser, tiny, photos, tmp_path):
    names = [f"{n:03}.png" for n in range(400)]
    with zipfile.ZipFile(tmp_path / "trip.zip", "w") as file:
        for name in names:
            file.write(photos[2], name)
    folders = {"GRADIO_TEMP_DIR": tmp_path / "uploads", "XDG_STATE_HOME": tmp_path / "state"}
    for folder in folders.values():
        folder.mkdir()
    options = ["--port", str(free_port()), "--model", str(tiny)]
    environment = {name: str(folder) for name, folder in folders.items()}
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    with server(*options, **environment) as first:
        page.goto(first.address)
        page.wait_for_selector("#c-viewer .c-drop")
        open_folder_tab(page)
        page.set_input_files("#c-folder [data-part=files]", str(tmp_path / "trip.zip"))
        page.wait_for_selector(".c-photo")
        os.kill(first.process, signal.SIGKILL)
        page.get_by_text("The server cannot be reached; trying again").wait_for()
        seen = page.locator(".c-photo b").all_inner_texts()
    assert 0 < len(seen) < len(names)
    with server(*options, **environment) as second:
        alert = page.locator("#c-folder [role=alert]", has_text="started anew")
        alert.wait_for()  # without a reload, too
        page.reload()
        open_folder_tab(page, ".c-photo")
        alert.wait_for()
        back = page.locator(".c-photo b").all_inner_texts()
        assert back[: len(seen)] == seen and len(back) < len(names)
        status = page.inner_text("#c-folder [data-part=status]")
        assert status == f"Stopped: {len(back)} of {len(names)} done"
        with page.expect_download() as waiting:
            page.click("#c-folder [data-do=jsonl]")
        lines = [json.loads(line) for line in waiting.value.path().read_text().splitlines()]
        assert [line["caption"] for line in lines] == back
        assert [line["file"] for line in lines] == [
            f"trip.zip/{name}" for name in names[: len(back)]
        ]
        left = [*folders["GRADIO_TEMP_DIR"].iterdir()]
        assert len(left) == 1, "the uploads of the killed server are swept"
    context.close()
    assert not any("Traceback" in line for line in second.lines)
