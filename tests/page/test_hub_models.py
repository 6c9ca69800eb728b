"""The page over models that are not ours: one that never sees the edges of a photo, and one behind
a server, which has no heatmaps."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner import server
from captioner.errors import SettingError

from ..hub.checkpoints import git
from ..test_server import Stub
from .conftest import free_port, one_page, shown

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from captioner.page.caption import CaptionService
from captioner.page.models import Models
from captioner.page.settings import useless
from captioner.page.uploads import Upload


@pytest.fixture(scope="module")
def cropping(tmp_path_factory) -> Models:
    """A model that sees a square in the middle of a photo, and another that is not loaded."""
    folders = []
    for name in ("crops", "other"):
        folder = git(tmp_path_factory.mktemp("hub") / name, seed=2)
        card = f"---\nlicense: mit\n---\n# {name}\n\nA card of its own."
        (folder / "README.md").write_text(card)
        folders.append(str(folder))
    return Models(folders, device="cpu")


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    made = Stub()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(server.KEY, raising=False)
        yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A photo three times as wide as high, bright everywhere, with more pixels than are drawn."""
    path = tmp_path_factory.mktemp("photos") / "wide.png"
    grain = np.random.default_rng(0).integers(150, 256, (10, 30, 3)).astype(np.uint8)
    Image.fromarray(grain).resize((1500, 500), Image.Resampling.NEAREST).save(path)
    return path


def columns(source: str) -> np.ndarray:
    """How bright the columns of a picture are, which is a `data:` address: left, middle, right."""
    data = base64.b64decode(source.partition(",")[2])
    grey = np.asarray(Image.open(io.BytesIO(data)).convert("L"), float)
    third = grey.shape[1] // 3
    return np.array([grey[:, at + 2 : at + third - 2].mean() for at in (0, third, 2 * third)])


def test_what_a_model_never_saw_is_dark_on_every_picture(cropping, wide):
    service = CaptionService(cropping)
    answer = service.show(Upload(wide, "wide.png").item, {"beams": 2, "max_length": 5})
    ask = {"id": answer["id"], "rank": 0, "word": 0, "layer": 0}
    heads = service.heads(ask)
    drawn = [*service.thumbs(ask)["thumbs"], heads["average"], *heads["heads"]]
    drawn.append(service.overlay(ask | {"band": False})["src"])
    assert len(drawn) > 5 and answer["captions"][0]["unseen"]
    for source in drawn:
        left, middle, right = columns(source)
        assert left < 85 and right < 85 < 110 < middle
    assert columns(service.photo(ask)["src"]).min() > 180  # the photo itself is not


def test_each_model_has_its_own_card_with_the_licence_first(cropping):
    for name in cropping.names:
        card = cropping.card(name)
        own = Path(name).name
        assert card.startswith(f"**Licence of {own}: mit**") and card.endswith("A card of its own.")
    assert list(cropping._loaded) == cropping.names[:1], "a card loads no model"


def test_a_model_behind_a_server_is_not_asked_before_there_is_a_photo(stub, wide):
    models = Models(server=stub.url)
    models.warm()
    assert models.names == ["seer"] and not stub.asked
    assert set(useless(models)) == {"beams", "min_length", "prefix", "without"}
    assert "no card" in models.card("seer")
    with pytest.raises(SettingError, match="computes elsewhere"):
        Models(["seer"], server=stub.url, device="cpu")
    answer = CaptionService(models).show(Upload(wide, "wide.png").item, None)
    assert answer["heatmaps"] == [] and answer["captions"][0]["words"][0]["thumb"] == ""
    assert not answer["captions"][0]["unseen"] and len(stub.asked) == 1


@contextmanager
def opened(browser, models: Models, folder: Path) -> Iterator:
    """A browser's page over the models, served from this process."""
    from captioner.page.build import build, launch_options
    from captioner.page.middleware import Hosts

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        served = build(models)
        _, address, _ = served.launch(
            server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True,
            **launch_options(Hosts("127.0.0.1")),
        )  # fmt: skip
        with one_page(browser, address) as page:
            yield page
        served.close()


def test_a_sentence_says_what_was_not_seen_and_that_there_are_no_heatmaps(
    browser, cropping, stub, wide, tmp_path
):
    unseen, no_maps = (f"#c-viewer [data-part={part}]" for part in ("unseen", "nomaps"))
    with opened(browser, cropping, tmp_path / "cropping") as page:
        page.set_input_files("#c-viewer [data-part=file]", str(wide))
        shown(page)
        assert "cut off" in page.locator(unseen).inner_text()
        assert page.locator(no_maps).is_hidden()
        page.get_by_role("tab", name="About").click()
        cards = page.locator(".c-card-text").all_inner_texts()
        heads = dict.fromkeys(card.split(":")[0] for card in cards)
        assert list(heads) == ["Licence of crops", "Licence of other"]
    with opened(browser, Models(server=stub.url), tmp_path / "served") as page:
        page.set_input_files("#c-viewer [data-part=file]", str(wide))
        page.wait_for_selector(".c-viewer[data-state=shown]")
        assert page.locator(no_maps).inner_text().startswith("This model gives no heatmaps")
        assert page.locator(unseen).is_hidden() and page.locator(".c-heat").is_hidden()
