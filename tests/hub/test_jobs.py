"""Folder jobs with hub models: batches as large as fit, and a kill that changes no byte."""

import os
import signal
import time

import numpy as np
import pytest
import torch

from captioner.batch.decode import Decoded
from captioner.batch.items import Item
from captioner.batch.job import run_job
from captioner.batch.local_engine import LocalEngine
from captioner.batch.progress import Progress, Tally
from captioner.batch.run import _Batch, _caption
from captioner.batch.spec import JobSpec
from captioner.errors import PhotoError
from captioner.photos import Photo
from captioner.request import Request

from ..commands import start
from .checkpoints import photos

ASKED = Request(max_length=5, heatmaps=False)


def batch(count: int) -> _Batch:
    images = photos(count)
    items = [Item(f"{i}.png", path=f"{i}.png") for i in range(count)]
    return _Batch(items, [Decoded(None, Photo(i, *i.size)) for i in images], 0)


@pytest.fixture
def model(loaded, monkeypatch):
    model = loaded("blip", 0)
    monkeypatch.setattr(model, "fits", 1 << 30)
    return model


def test_a_batch_that_does_not_fit_is_halved_until_it_does(model, monkeypatch):
    whole = [one.record["caption"] for one in _caption(model, batch(12), ASKED, None)]
    tried: list[int] = []
    inner = model.caption_pixels

    def crowded(pixels, images, request):
        tried.append(len(images))
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inner(pixels, images, request)

    monkeypatch.setattr(model, "caption_pixels", crowded)
    assert [one.record["caption"] for one in _caption(model, batch(12), ASKED, None)] == whole
    assert model.fits == 3 and tried == [12, 6, 3, 3, 3, 3]
    tried.clear()
    _caption(model, batch(12), ASKED, None)
    assert tried == [3, 3, 3, 3]  # it has learnt
    monkeypatch.setattr(
        model, "caption_pixels", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory"))
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        _caption(model, batch(3), ASKED, None)


def test_a_photo_that_is_refused_is_the_only_one_without_a_caption(model, monkeypatch):
    bad = batch(5)
    inner = model.caption_pixels

    def picky(pixels, images, request):
        if any(photo is bad.decoded[3].photo for photo in images):
            raise PhotoError("3.png was refused.")
        return inner(pixels, images, request)

    monkeypatch.setattr(model, "caption_pixels", picky)
    found = _caption(model, bad, ASKED, None)
    assert [one.error for one in found] == [None, None, None, "3.png was refused.", None]
    assert all(one.record for one in found if not one.error)


@pytest.mark.long
def test_a_job_with_a_hub_model_that_is_killed_continues_and_its_bytes_are_the_same(made, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i, image in enumerate(photos(40, 4)):
        image.resize((int(rng.integers(40, 200)), 60)).save(folder / f"{i:03}.jpg")
    job = {"paths": (str(folder),), "model": str(made("blip", 0)), "device": "cpu",
           "batch_size": 2, "request": Request(beams=3), "ordered": True}  # fmt: skip
    here(JobSpec(**job, output=tmp_path / "whole.jsonl"))
    torn = tmp_path / "torn.jsonl"
    killed = start(
        "caption", folder, "--model", job["model"], "--device", "cpu", "--batch-size", "2",
        "--beams", "3", "--ordered", "-q", "-o", torn,
    )  # fmt: skip
    while not torn.exists() or torn.read_bytes().count(b"\n") < 6:
        time.sleep(0.01)
        assert killed.poll() is None
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert torn.read_bytes().count(b"\n") < 40
    here(JobSpec(**job, output=torn))
    assert torn.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def here(spec: JobSpec) -> None:
    """Run a job in this process, which has the library imported."""
    tally = Tally()
    progress = Progress(tally, quiet=True, bar=False)
    run_job(spec, spec.check(), LocalEngine, tally, progress, lambda: False)
