"""Folder jobs with hub models: batches as large as fit, and a kill that changes no byte."""

import dataclasses
import json
import os
import signal
import time

import numpy as np
import pytest
import torch

from captioner.batch.decode import Decoded
from captioner.batch.engine import EngineConfig
from captioner.batch.items import Item
from captioner.batch.job import run_job
from captioner.batch.local_engine import LocalEngine
from captioner.batch.progress import Progress, Tally
from captioner.batch.run import Batch, answers
from captioner.batch.spec import JobSpec
from captioner.caption import Caption
from captioner.errors import PhotoError
from captioner.photos import Photo
from captioner.request import Request
from eval import coco

from ..commands import start
from .checkpoints import photos

ASKED = Request(max_length=5, heatmaps=False)


def batch(count: int) -> Batch:
    images = photos(count)
    items = [Item(f"{i}.png", path=f"{i}.png") for i in range(count)]
    return Batch(items, [Decoded(None, Photo(i, *i.size)) for i in images], 0)


@pytest.fixture
def model(loaded, monkeypatch):
    model = loaded("blip", 0)
    monkeypatch.setattr(model, "fits", 1 << 30)
    return model


def test_a_batch_that_does_not_fit_is_halved_until_it_does(model, monkeypatch):
    whole = [one.text for one in answers(model, batch(12), ASKED)]
    tried: list[int] = []
    inner = model.caption_pixels

    def crowded(pixels, images, request):
        tried.append(len(images))
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inner(pixels, images, request)

    monkeypatch.setattr(model, "caption_pixels", crowded)
    assert [one.text for one in answers(model, batch(12), ASKED)] == whole
    assert model.fits == 3 and tried == [12, 6, 3, 3, 3, 3]
    tried.clear()
    answers(model, batch(12), ASKED)
    assert tried == [3, 3, 3, 3]  # it has learnt
    monkeypatch.setattr(
        model, "caption_pixels", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory"))
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        answers(model, batch(3), ASKED)


def test_a_photo_that_is_refused_is_the_only_one_without_a_caption(model, monkeypatch):
    bad = batch(5)
    inner = model.caption_pixels

    def picky(pixels, images, request):
        if any(photo is bad.decoded[3].photo for photo in images):
            raise PhotoError("3.png was refused.")
        return inner(pixels, images, request)

    monkeypatch.setattr(model, "caption_pixels", picky)
    found = answers(model, bad, ASKED)
    assert [one for one in found if not isinstance(one, Caption)] == [found[3]]
    assert str(found[3]) == "3.png was refused."


def test_workers_of_a_cluster_load_the_commit_that_was_found_first(loaded, monkeypatch):
    from captioner.batch.ray_engine import pinned

    config, model = EngineConfig(model="owner/model"), loaded("blip", 0)
    assert pinned(config, model) == config  # a folder has none
    commit = dataclasses.replace(model.model.checkpoint, revision="c" * 40)
    monkeypatch.setattr(model.model, "checkpoint", commit)
    assert pinned(config, model).revision == "c" * 40


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


def test_a_hub_model_is_scored_on_a_caption_set(made, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    names = [f"{i}.png" for i in range(5)]
    for name, image in zip(names, photos(5, 8), strict=True):
        image.save(tmp_path / "images" / name)
    annotations = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": 5 * n + i, "image_id": i, "caption": f"A dog number {n} in the snow."}
            for i in range(5) for n in range(2)
        ],
    }  # fmt: skip
    (tmp_path / "captions.json").write_text(json.dumps(annotations))
    status = coco.main([
        "--model", str(made("blip", 1)), "--images", str(tmp_path / "images"), "--annotations",
        str(tmp_path / "captions.json"), "--out", str(tmp_path / "out"), "--bootstrap", "10",
        "--beams", "3", "--min-length", "4", "--max-length", "6", "--prompt", "a black dog",
        "--device", "cpu",
    ])  # fmt: skip
    assert not status and "CIDEr-D" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "scores.json").read_text())["settings"]
    assert (told["beams"], told["max_length"], told["prompt"]) == (3, 6, "a black dog")
    assert told["model"].startswith("blip") and len(told["weights_sha256"]) == 64
