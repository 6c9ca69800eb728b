"""The encoder on OpenVINO: the same features and captions, converted once, and nobody is told."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import captioner
from captioner import openvino
from captioner.batch.journal import Journal
from captioner.errors import CaptionerError, SettingError

from .conftest import tiny_model

pytest.importorskip("openvino")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny model, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_model().save(tmp_path / "tiny")
    return tmp_path / "tiny"


def photos(count=6, side=96):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_features_and_captions_are_those_of_torch(folder):
    ours = captioner.load(folder, device="cpu")
    theirs = captioner.load(folder, device="cpu", runtime="openvino")
    pixels = photos()
    torch.testing.assert_close(theirs.encode(pixels), ours.encode(pixels), atol=1e-3, rtol=1e-3)
    assert torch.equal(theirs.encode(pixels)[2:3], theirs.encode(pixels[2:3]))
    images = list(photos(4, 130))
    assert [c.text for c in theirs.caption(images)] == [c.text for c in ours.caption(images)]


def test_threads_may_call_it_at_the_same_time(folder):
    model = captioner.load(folder, device="cpu", runtime="openvino")
    batches = [photos()[i : i + 2] for i in range(4)]
    alone = [model.encode(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.encode, batches * 5))
    assert all(torch.equal(found, alone[i % 4]) for i, found in enumerate(together))


def test_an_encoder_is_converted_once(folder, tmp_path, monkeypatch):
    captioner.load(folder, device="cpu", runtime="openvino")
    [kept] = (tmp_path / "cache" / "captioner").glob("*.xml")
    monkeypatch.setattr(openvino, "_convert", lambda *_: pytest.fail("converted again"))
    captioner.load(folder, device="cpu", runtime="openvino")
    captioner.load(folder, device="cpu", runtime="openvino", dtype="bfloat16")
    kept.with_suffix(".bin").unlink()
    with pytest.raises(pytest.fail.Exception):
        captioner.load(folder, device="cpu", runtime="openvino")


def test_other_weights_are_another_encoder(folder, tmp_path):
    captioner.load(folder, device="cpu", runtime="openvino")
    tiny_model(seed=1).save(tmp_path / "other")
    captioner.load(tmp_path / "other", device="cpu", runtime="openvino")
    assert len(list((tmp_path / "cache" / "captioner").glob("*.xml"))) == 2


def test_what_does_not_go_together_is_refused(folder, monkeypatch):
    with pytest.raises(SettingError, match="torch or openvino, not 'onnx'"):
        captioner.load(folder, runtime="onnx")
    with pytest.raises(SettingError, match="a model of ours, on the CPU"):
        captioner.load("owner/name", device="cpu", runtime="openvino")
    with pytest.raises(SettingError, match="a model of ours, on the CPU"):
        captioner.load("name", server="http://localhost:1/v1", runtime="openvino")
    with pytest.raises(CaptionerError, match="float32 or bfloat16"):
        captioner.load(folder, device="cpu", dtype="float16", runtime="openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(CaptionerError, match=r"pip install \"captioner\[openvino\]\""):
        captioner.load(folder, device="cpu", runtime="openvino")


def test_a_cache_that_cannot_be_written_is_a_sentence(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CaptionerError, match="XDG_CACHE_HOME names another place"):
        captioner.load(folder, device="cpu", runtime="openvino")


def test_a_job_says_what_ran_and_tells_nobody_else(folder, tmp_path):
    """In a process of its own: the makers' telemetry would leave an id in the home folder."""
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i, pixels in enumerate(photos(3)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    words = [sys.executable, "-m", "captioner.cli", "caption", str(tmp_path / "photos"),
             "--model", str(folder), "--runtime", "openvino", "--device", "cpu",
             "-o", str(tmp_path / "out.jsonl")]  # fmt: skip
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "HOME": str(home)}
    )
    assert done.returncode == 0, done.stderr
    settings = json.loads(Journal.run_file(tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert settings["runtime"] == "openvino"
    assert not list(home.iterdir())
