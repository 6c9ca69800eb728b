"""The endpoints for programs, and what the server refuses."""

import json
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ..conftest import ROOT
from .conftest import same_picture, serving

gradio_client = pytest.importorskip("gradio_client", reason="needs the extra demo")


@pytest.fixture(scope="module")
def client(server):
    return gradio_client.Client(server, verbose=False)


def get(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_example_of_the_page_runs(server, photos, tmp_path, monkeypatch, capsys, model):
    [example] = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/page.md").read_text(), re.S | re.M
    )
    shutil.copy(photos[2], tmp_path / "photo.jpg")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as file:
        file.write(photos[0], "one.png")
        file.writestr("two.jpg", "no photo")
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(2)]
    lines = ["A cat looks up.", "A cup of coffee."]
    annotations = [{"id": i, "image_id": i, "caption": line} for i, line in enumerate(lines)]
    (tmp_path / "captions.json").write_text(
        json.dumps({"images": images, "annotations": annotations})
    )
    results = [{"image_id": i, "caption": "A cat on a table."} for i in range(2)]
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("http://127.0.0.1:7860/", server), "docs/page.md", "exec"), {})
    printed = capsys.readouterr().out
    assert model.caption(photos[2], beams=5).text in printed
    assert "more.zip/two.jpg cannot be read as a photo" in printed
    assert "CIDEr-D(n=4" in printed


def test_heatmaps_are_the_library_s(client, photos, model):
    file = gradio_client.handle_file(str(photos[3]))
    found, overlays, sheet = client.predict(file, api_name="/heatmaps")
    caption = model.caption(photos[3])
    assert found["caption"] == caption.text and len(overlays) == len(caption.words)
    for i, path in enumerate(overlays):
        assert same_picture(np.asarray(Image.open(path)), caption.overlay(i))
    assert same_picture(np.asarray(Image.open(sheet)), caption.contact_sheet())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"beams": 10_000}, "beams is a number from 1 to 10"),
        ({"beams": "many"}, "beams is a number"),
        ({"sample": 1}, "sample is true or false"),
        ({"limits": None, "device": "cuda"}, "There is no option 'device'"),
        ({"model": "/etc"}, "There is no model"),
        ({"without": "man"}, "without is a list"),
        ({"prefix": "x" * 1000}, "prefix is a text"),
        ({"alternatives": 5, "beams": 2}, "need a beam of at least 6"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(client, photos, options, sentence):
    file = gradio_client.handle_file(str(photos[2]))
    with pytest.raises(gradio_client.exceptions.AppError, match=sentence):
        client.predict(file, options, api_name="/caption")


def call(server: str, name: str, *data) -> str:
    """An endpoint by bare HTTP, as a stranger would: the events that it answers with."""
    body = json.dumps({"data": data}).encode()
    request = urllib.request.Request(
        f"{server}gradio_api/call/{name}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{server}gradio_api/call/{name}/{event}") as answer:
        return answer.read().decode()


def test_no_file_outside_the_upload_folder_can_be_reached(server, photos):
    inside = (ROOT / "README.md", ROOT / "captioner/builtin/config.json", photos[0])
    for path in ("/etc/passwd", *inside):
        assert get(f"{server}gradio_api/file={path}") == 403, path
        for more in ({"meta": {"_type": "gradio.FileData"}}, {}, {"url": f"file://{path}"}):
            file = {"path": str(path), **more}
            for name, data in {
                "caption": [file, None],
                "heatmaps": [file, None],
                "batch": [[file], None],
                "score": [file, file, None],
            }.items():
                answer = call(server, name, *data)
                assert answer.startswith("event: error"), answer
                assert "not uploaded" in answer, answer
    for path in ("file:///etc/passwd", "x", "/work"):  # nor is it told where the server is
        file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
        answer = call(server, "caption", file, None)
        assert "not uploaded" in answer and str(ROOT) not in answer, answer
    assert get(f"{server}gradio_api/file=/etc") == 403
    assert get(f"{server}gradio_api/file=../../etc/passwd") in (403, 404)
    for way in ("file=", "file/"):  # nor is the web fetched for anybody
        assert get(f"{server}gradio_api/{way}https://example.com/") == 403


def test_the_page_s_own_questions_are_checked_too(page):
    """What the page's script sends can be forged: other paths, other people's pictures."""
    page.evaluate(
        """() => {
          const viewer = document.querySelector('#c-viewer .c-viewer');
          viewer.querySelector('.c-sample').dataset.sample = '99';
          viewer.querySelector('.c-sample').click();
        }"""
    )
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    assert "was not uploaded here" in alert.inner_text()


def test_a_busy_server_says_so(builtin, tmp_path, photos):
    """A queue of one: of many at once some are served and the others are told."""
    for address in serving(tmp_path, "--queue", "1"):
        client = gradio_client.Client(address, verbose=False)
        file = gradio_client.handle_file(str(photos[4]))

        def ask(_, client=client, file=file):
            try:
                return client.predict(file, {"beams": 6}, api_name="/caption")["caption"]
            except Exception as error:
                return str(error)

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(16)))
        served = [a for a in answers if a.endswith(".") and "Queue" not in a]
        assert served and len(set(served)) == 1
        refused = [a for a in answers if a not in served]
        assert refused and all("Queue is full" in a for a in refused), refused


def test_the_page_says_when_the_server_is_busy(open_page):
    page = open_page()
    page.route(
        "**/component_server/",
        lambda route: route.fulfill(
            json={"error": "The server is busy: 40 photos are before yours."}
        ),
    )
    page.locator(".c-sample").first.click()
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])")
    assert "busy" in alert.inner_text()
    assert page.is_visible("#c-viewer .c-drop")
