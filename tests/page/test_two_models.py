"""A page over two models with random weights: both captions side by side; a photo from an address.

The page is served from this process, which takes its own addresses for public ones.
"""

from types import SimpleNamespace

import pytest

import captioner
from captioner.batch import fetch

from ..conftest import tiny_model
from .conftest import (
    ARTEFACTS,
    caption_text,
    free_port,
    heat,
    one_page,
    same_picture,
    shown,
    web_server,
)
from .test_for_everyone import serious


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    """Two models that say different things."""
    made = []
    for seed, name in enumerate(("first", "second")):
        model = tiny_model(seed)
        model.config.about = {"name": "tiny", "version": "1"}
        made.append(str(tmp_path_factory.mktemp("models") / name))
        model.save(made[-1])
    return made


@pytest.fixture(scope="module")
def address(folders, tmp_path_factory):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")
    from captioner.page.build import build, launch_options
    from captioner.page.middleware import Hosts
    from captioner.page.models import Models

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setattr(fetch, "is_public", lambda address: True)
        page = build(Models(folders))
        _, where, _ = page.launch(
            server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True,
            **launch_options(Hosts("127.0.0.1")),
        )  # fmt: skip
        yield where
        page.close()


@pytest.fixture(scope="module")
def page(browser, address):
    """One page for all tests here."""
    with one_page(browser, address) as opened:
        yield opened


@pytest.fixture(scope="module")
def elsewhere(photos):
    """A server with a cat, and what it was asked for."""

    asked = []

    def before(request):
        asked.append(request.path)
        if "cat" not in request.path:
            request.send_error(404)
        return "cat" not in request.path

    with web_server(photos[2], before) as port:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", asked=asked)


def test_a_photo_from_an_address_is_captioned_and_shown(page, elsewhere, folders, photos):
    field = page.get_by_label("The address of a photo")
    field.fill(f"{elsewhere.url}/no")
    page.get_by_role("button", name="Open the address").click()
    alert = page.wait_for_selector("#c-viewer [role=alert]:not([hidden])").inner_text()
    assert "the server answers 404" in alert
    field.fill(f"{elsewhere.url}/a%20cat.png")
    page.get_by_role("button", name="Open the address").click()
    shown(page)
    caption = captioner.load(folders[0]).caption(photos[2])
    assert caption_text(page) == caption.text
    assert same_picture(heat(page, first(page)), caption.overlay(first(page)))
    assert elsewhere.asked[-1] == "/a%20cat.png"
    with page.expect_download() as waiting:
        page.click("#c-viewer [data-do=text]")
    assert waiting.value.suggested_filename == "a cat.txt"


def test_two_models_stand_side_by_side(page, folders, photos):
    page.locator(".c-sample").nth(2).click()
    shown(page)
    page.get_by_role("button", name="Compare the models").click()
    cards = page.locator("#c-viewer .c-model")
    cards.nth(1).wait_for()
    captions = [captioner.load(folder).caption(photos[2]) for folder in folders]
    assert captions[0].text != captions[1].text
    for i, (folder, caption) in enumerate(zip(folders, captions, strict=True)):
        said = cards.nth(i).inner_text()
        assert folder in said and f"{caption.confidence:.0%}" in said
        assert cards.nth(i).locator("i").all_inner_texts() == [w.text for w in caption.words]
    left, right = (cards.nth(i).bounding_box() for i in range(2))
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    assert caption_text(page) == captions[0].text
    page.screenshot(path=ARTEFACTS / "models.png", full_page=True)
    assert not serious(page)
    for i in (1, 0):
        cards.nth(i).click()
        assert caption_text(page) == captions[i].text
        assert cards.nth(i).get_attribute("aria-pressed") == "true"
        assert cards.nth(1 - i).get_attribute("aria-pressed") == "false"
        rank = int(cards.nth(i).get_attribute("data-rank"))
        word = first(page)
        assert same_picture(heat(page, word, rank), captions[i].overlay(word))


def first(page) -> int:
    """The word that is looked at."""
    return int(page.get_attribute("#c-viewer .c-word[aria-pressed=true]", "data-word"))
