"""The Folder tab's jobs, with a model that does nothing: whose turn it is, and when they end."""

import base64
import csv
import io
import json
import os
import threading
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from captioner.batch import Outcome
from captioner.batch.records import record
from captioner.caption import Caption
from captioner.generation import Search
from captioner.page import folder as module
from captioner.page.cache import new_id
from captioner.page.folder import BATCH, FolderService
from captioner.page.jobs import ABANDONED
from captioner.page.kept import GONE, KeptJobs
from captioner.page.uploads import Upload
from captioner.photos import Photo

from .conftest import wait_until


class Model:
    """What a job asks of a captioner."""

    model = SimpleNamespace(about={"name": "none"}, maps=("attention",))

    def search(self, request):
        return request.search(Search())


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def some(name: str, count: int = 4 * BATCH) -> list[Upload]:
        return [Upload(tmp_path / f"{name}{n}.jpg", f"{name}{n}.jpg") for n in range(count)]

    return some


@pytest.fixture
def gate(monkeypatch):
    """Lets one photo through for each `release`, and says which were begun."""
    gate = SimpleNamespace(permits=threading.Semaphore(0), begun=[], closed=0)
    gate.release = lambda n: gate.permits.release(n)
    photo = Photo(Image.fromarray(np.zeros((4, 4, 3), np.uint8)), 4, 4, "x")

    def caption_items(model, items, request, **options):
        try:
            for item in items:
                assert gate.permits.acquire(timeout=60)
                gate.begun.append(item.name)
                if "broken" in item.name:
                    yield Outcome(item, error=f"{item.path} is no photo.")
                else:
                    found = record(item, Caption(item.name, 0.5, [], photo=photo), Model())
                    yield Outcome(item, found, picture=b"jpeg")
        finally:
            gate.closed += 1

    monkeypatch.setattr(module, "caption_items", caption_items)
    return gate


@pytest.fixture
def service():
    return FolderService(SimpleNamespace(get=lambda name: Model()))


def begin(service, uploads, user=None) -> dict:
    return {"id": service.begin(uploads, None, user, new_id()).key, "from": 0}


def test_a_job_gives_what_is_done_and_what_failed(service, uploads, gate):
    files = uploads("a", 2) + uploads("broken", 1)
    gate.release(3)
    records = service.caption(files, None)
    assert [r.get("caption") or r["error"] for r in records] == [
        "a0.jpg", "a1.jpg", "broken0.jpg is no photo.",
    ]  # fmt: skip
    ask = begin(service, files)
    gate.release(3)
    assert wait_until(lambda: service.progress(ask, None)["state"] == "done")
    rows = service.progress(ask, None)["rows"]
    assert rows[1] == {"file": "a1.jpg", "caption": "a1.jpg", "confidence": 0.5}
    assert rows[2] == {"file": "broken0.jpg", "error": "broken0.jpg is no photo."}
    assert service.progress(ask | {"from": 2}, None)["rows"] == rows[2:]
    assert "error" in service.progress(ask | {"from": 9}, None)


def test_the_second_is_told_who_is_before_them(service, uploads, gate):
    first, second = begin(service, uploads("a")), begin(service, uploads("b"))
    assert wait_until(lambda: service.progress(first, None)["state"] == "running")
    assert service.progress(second, None)["before"] == 1
    gate.release(8 * BATCH)
    assert wait_until(lambda: service.progress(second, None)["state"] == "done")
    assert gate.begun == [f"{n}{i}.jpg" for n in "ab" for i in range(4 * BATCH)]


def test_who_is_gone_lets_the_others_go_first(service, uploads, gate):
    first, second = begin(service, uploads("a")), begin(service, uploads("b"))
    assert wait_until(lambda: service.progress(first, None)["state"] == "running")
    service.queue.find(first["id"]).seen -= 60
    assert service.progress(second, None)["before"] == 0
    gate.release(8 * BATCH)
    assert wait_until(lambda: len(gate.begun) == 8 * BATCH)
    assert gate.begun[:BATCH] == [f"a{i}.jpg" for i in range(BATCH)]
    assert gate.begun[BATCH : 5 * BATCH] == [f"b{i}.jpg" for i in range(4 * BATCH)]


def test_stop_keeps_what_is_done_and_begins_nothing_more(service, uploads, gate):
    ask = begin(service, uploads("a"))
    gate.release(BATCH + 3)
    assert wait_until(lambda: len(gate.begun) == BATCH + 3)
    assert service.stop(ask, None)["state"] == "stopped"
    gate.release(1)  # what is in work is finished
    assert wait_until(lambda: gate.closed == 1)
    found = service.progress(ask, None)
    assert found["state"] == "stopped" and len(found["rows"]) == BATCH + 4
    assert service.download(ask | {"kind": "jsonl"}, None)["name"] == "captions.jsonl"


def test_a_job_that_nobody_asks_for_stops(service, uploads, gate, monkeypatch):
    ask = begin(service, uploads("a"))
    assert wait_until(lambda: service.progress(ask, None)["state"] == "running")
    service.queue.find(ask["id"]).seen -= ABANDONED + 1
    gate.release(BATCH)
    assert wait_until(lambda: gate.closed == 1)
    assert len(gate.begun) == BATCH and service.progress(ask, None)["state"] == "stopped"


def test_what_breaks_ends_one_job_and_not_the_service(service, uploads, gate, monkeypatch, capsys):
    monkeypatch.setattr(module, "data_uri", lambda *_: 1 / 0)
    ask = begin(service, uploads("a"))
    gate.release(1)
    assert wait_until(lambda: service.progress(ask, None)["state"] == "failed")
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_folder_belongs_to_who_is_logged_in(service, uploads, gate):
    ask = begin(service, uploads("a"), "ann")
    assert "rows" in service.progress(ask, "ann")
    methods = (service.progress, service.stop, service.edit, service.thumb, service.download)
    for method in (*methods, service.sheets):
        assert method(ask | {"i": 0, "kind": "csv", "begin": True}, "bob") == {
            "error": "This folder is another person's."
        }


def test_files_that_were_not_uploaded_are_refused(service, uploads, gate):
    for files in (None, [], "x", [3], [{"path": "/etc/passwd", "name": "a.jpg"}], [{}]):
        assert "error" in service.start({"files": files}, None)
    assert not gate.begun


def test_an_edited_caption_says_so_in_the_exports(service, uploads, gate):
    ask = begin(service, uploads("a", 2) + uploads("broken", 1))
    gate.release(3)
    assert wait_until(lambda: service.progress(ask, None)["state"] == "done")
    row = service.edit(ask | {"i": 0, "text": "A dog,\nand a cat."}, None)
    assert row == {"file": "a0.jpg", "caption": "A dog, and a cat.", "edited": True}
    assert service.progress(ask, None)["rows"][0] == row

    def content(kind):
        _, _, data = service.download(ask | {"kind": kind}, None)["src"].partition(",")
        return base64.b64decode(data)

    lines = [json.loads(line) for line in content("jsonl").splitlines()]
    assert lines[0]["caption"] == "A dog, and a cat." and lines[0]["edited"] is True
    assert lines[0]["model_caption"] == "a0.jpg" and lines[0]["confidence"] is None
    assert "edited" not in lines[1] and lines[1]["confidence"] == 0.5
    rows = list(csv.DictReader(content("csv").decode().splitlines()))
    assert [r["edited"] for r in rows] != ["", "", ""] and rows[1]["edited"] == ""
    with zipfile.ZipFile(io.BytesIO(content("zip"))) as file:
        assert file.read("a0.txt").decode() == "A dog, and a cat.\n"
    assert "no caption to edit" in service.edit(ask | {"i": 2, "text": "x"}, None)["error"]
    assert "error" in service.edit(ask | {"i": 9, "text": "x"}, None)
    back = service.edit(ask | {"i": 0, "text": " "}, None)
    assert back == {"file": "a0.jpg", "caption": "a0.jpg", "confidence": 0.5}


# When there is no room for all --------------------------------------------------------------------


def test_a_job_at_work_is_never_pushed_out_and_what_is_says_so(
    uploads, gate, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "CACHE_BYTES", 3 * 40_000)
    models = SimpleNamespace(get=lambda name=None: Model())
    service = FolderService(models, KeptJobs(tmp_path / "state"))
    small = [begin(service, uploads(name, 1)) for name in "ab"]
    gate.release(2)
    assert all(wait_until(lambda ask=a: state(service, ask) == "done") for a in small)
    rows = service.progress(small[0], None)["rows"]

    large = begin(service, uploads("c", 2 * BATCH))  # larger than the whole cache
    gate.release(BATCH + 1)
    assert wait_until(lambda: len(service.progress(large, None)["rows"]) == BATCH + 1)
    found = service.progress(large, None)
    assert (found["state"], found["gone"]) == ("running", "")
    for ask in small:
        assert service.progress(ask, None)["gone"] == ""
    gate.release(BATCH)
    assert wait_until(lambda: state(service, large) == "done")
    assert service.progress(large, None)["gone"] == "" and "src" in service.thumb(
        large | {"i": 0}, None
    )

    found = service.progress(small[0], None)
    assert (found["state"], found["gone"], found["rows"]) == ("done", "crowded", rows)
    assert "src" in service.download(small[0] | {"kind": "csv"}, None)
    assert "no picture" in service.thumb(small[0] | {"i": 0}, None)["error"]


def state(service, ask) -> str:
    return service.progress(ask, None)["state"]


# After a restart ----------------------------------------------------------------------------------


def test_what_is_done_comes_back_after_a_restart(uploads, gate, tmp_path):
    models, where = SimpleNamespace(get=lambda name=None: Model()), tmp_path / "state"
    service = FolderService(models, KeptJobs(where))
    files = uploads("a", BATCH + 3)
    started = service.start(
        {"files": [{"path": str(f.path), "name": f.name} for f in files]}, "ann"
    )
    assert "error" in started, "there are no such files"
    for file in files:
        file.path.write_text("x")
    started = service.start(
        {"files": [{"path": str(f.path), "name": f.name} for f in files]}, "ann"
    )
    gate.release(BATCH + 1)
    ask = started | {"from": 0}
    assert wait_until(lambda: len(service.progress(ask, "ann")["rows"]) == BATCH + 1)
    service.edit(ask | {"i": 0, "text": "A dog."}, "ann")  # while it is at work
    gate.release(1)
    assert wait_until(lambda: len(service.progress(ask, "ann")["rows"]) == BATCH + 2)
    assert started["id"] not in " ".join(map(str, where.iterdir()))
    assert {path.stat().st_mode & 0o777 for path in where.iterdir()} == {0o600}
    assert where.stat().st_mode & 0o777 == 0o700

    anew = FolderService(
        models, KeptJobs(where)
    )  # the first is still at work, as if it were killed
    found = anew.progress(ask, "ann")
    assert (found["state"], found["gone"], found["total"]) == ("stopped", "restarted", BATCH + 3)
    assert found["rows"] == service.progress(ask, "ann")["rows"]
    assert anew.progress(ask, "bob") == {"error": "This folder is another person's."}
    assert "error" in anew.progress(ask, None)
    same = [s.download(ask | {"kind": "csv"}, "ann") for s in (service, anew)]
    assert same[0] == same[1] and same[0]["name"] == "captions.csv"
    assert anew.download(ask | {"kind": "zip"}, "ann")["name"] == "captions.zip"
    assert "no picture" in anew.thumb(ask | {"i": 0}, "ann")["error"]
    assert "no longer held" in anew.sheets(ask | {"begin": True}, "ann")["error"]
    assert anew.item({"folder": started["id"], "i": 0}, "ann").problem == GONE
    for wrong in ("", "x", None, 3, "../" + started["id"]):
        assert "no longer held" in anew.progress({"id": wrong, "from": 0}, "ann")["error"]

    assert anew.edit(ask | {"i": 1, "text": " A  cat. "}, "ann")["edited"]
    assert "error" in anew.edit(ask | {"i": 1, "text": "x"}, "bob")
    once_more = FolderService(models, KeptJobs(where)).progress(ask, "ann")["rows"]
    assert once_more[1] == {"file": "a1.jpg", "caption": "A cat.", "edited": True}
    assert once_more[2:] == found["rows"][2:]

    [file] = where.iterdir()
    yesterday = time.time() - 24 * 3600 - 60
    os.utime(file, (yesterday, yesterday))
    late = FolderService(models, KeptJobs(where))
    assert "no longer held" in late.progress(ask, "ann")["error"] and not list(where.iterdir())
