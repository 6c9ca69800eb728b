"""A folder's zip with a sheet of heatmaps for each photo, drawn by a model with random weights."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

import captioner
from captioner.outputs import is_sheet
from captioner.page import uploads
from captioner.page.folder import FolderService
from captioner.page.models import Models

from .conftest import wait_until


@pytest.fixture(scope="module")
def service(tiny):
    return FolderService(Models([str(tiny)]))


@pytest.fixture
def photos(tmp_path, monkeypatch) -> list[Path]:
    """Three uploads, of which the second is no photo."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = [tmp_path / f"{name}.png" for name in ("a", "broken", "b")]
    random = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    paths[1].write_text("no photo")
    return paths


def begin(service, photos) -> dict:
    """Caption the photos; what to ask for their sheets by."""
    files = [{"path": str(p), "name": f"trip/{p.name}"} for p in photos]
    ask = service.start({"files": files, "settings": {"alternatives": 1}}, None) | {"from": 0}
    assert wait_until(lambda: service.progress(ask, None)["state"] == "done")
    return ask


def drawn(service, ask) -> Path:
    """The zip with the sheets, once it is made."""
    assert service.sheets(ask | {"begin": True}, None)["state"] != "failed"
    assert wait_until(lambda: service.sheets(ask, None)["state"] == "done")
    return Path(service.sheets(ask, None)["path"])


def same(png: bytes, wanted: Image.Image) -> bool:
    return np.array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(wanted))


def test_the_zip_has_a_sheet_of_every_caption_as_it_stands(service, photos, tiny, tmp_path):
    ask = begin(service, photos)
    text = "A dog on a sofa."
    service.edit(ask | {"i": 2, "text": text}, None)
    path = drawn(service, ask)
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    assert set(content) == {
        "captions.csv", "captions.jsonl", "failed.txt", "trip/a.txt", "trip/b.txt",
        "sheets/trip/a.png", "sheets/trip/b.png",
    }  # fmt: skip
    model = captioner.load(tiny)
    records = [json.loads(line) for line in content["captions.jsonl"].splitlines()]
    assert records[2]["caption"] == text
    for i, name in ((0, "a"), (2, "b")):
        said = records[i]["caption"]
        assert content[f"trip/{name}.txt"].decode() == f"{said}\n"
        others = [other["caption"] for other in records[i]["alternatives"]]
        wanted = model.explain(photos[i], said).contact_sheet(title=said, others=others)
        assert same(content[f"sheets/trip/{name}.png"], wanted)
    (tmp_path / "sheet.png").write_bytes(content["sheets/trip/a.png"])
    assert is_sheet(tmp_path / "sheet.png")

    photos[0].unlink()
    again = drawn(service, ask)
    assert again != path and not path.exists(), "one zip of a folder at a time"
    with zipfile.ZipFile(again) as file:
        assert "sheets/trip/a.png" not in file.namelist()
        assert file.read("sheets/failed.txt").decode().startswith("trip/a.png\t")
        assert str(tmp_path) not in file.read("sheets/failed.txt").decode()


def test_sheets_are_drawn_one_at_a_time_and_a_stop_leaves_nothing(service, photos, tmp_path):
    ask = begin(service, [photos[0], photos[2]])
    assert "ask for the zip again" in service.sheets(ask, None)["error"]
    before = set(tmp_path.iterdir())
    job = service._draw(service._job(ask, None))
    service.queue._open.clear()  # the steps are done here
    assert job.count == 2 and job.done == 0
    job.step()
    assert job.done == 1 and len(set(tmp_path.iterdir()) - before) == 1
    job.end("stopped")
    job.close()
    assert set(tmp_path.iterdir()) == before and job.path is None


def test_why_there_are_no_sheets_is_told(service, photos, monkeypatch):
    ask = begin(service, [photos[0]])
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "MAX_HELD", 0)
        assert "too many files" in service.sheets(ask | {"begin": True}, None)["error"]
    with monkeypatch.context() as patch:
        patch.setattr(service.models.get().model, "maps", ())
        assert "no heatmaps" in service.sheets(ask | {"begin": True}, None)["error"]
    photos[0].unlink()
    assert "upload them again" in service.sheets(ask | {"begin": True}, None)["error"]
