"""Several processes (torchrun, gloo) compute what one computes; accumulation too; a kill -9 loses
nothing, and ends the others with a sentence. Each run is the real command in its own processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train import processes

from . import commands
from .test_train import recipe_words, squares  # noqa: F401 (a fixture)

TRAIN = "train.__main__"

SMALL = {
    "model.size": 32, "model.trunk_stages": 0, "model.dropout": 0.0,
    "data.features": "live", "data.workers": 0, "data.views": 2,
    "run.report_every": 1, "validation.previews": 0,
    "stage.captions.epochs": 2, "stage.captions.lr": 1e-3, "stage.captions.encoder_lr": 1e-4,
    "stage.captions.unfreeze_epoch": 1, "stage.scst.epochs": 1, "stage.scst.samples": 2,
}  # fmt: skip


def arguments(squares, out, changes=None):  # noqa: F811
    words = recipe_words(squares, {**SMALL, **(changes or {})})
    words += ["--out", out, "--images", squares]
    words += ["--annotations", squares / "captions.json", "--text", squares / "text.txt"]
    words += ["--val", "squares", squares, squares / "captions.json", "--device", "cpu"]
    return list(map(str, words))


def run(squares, out, processes=1, changes=None):  # noqa: F811
    words = arguments(squares, out, changes)
    if processes == 1:
        done = commands.run(*words, program=TRAIN)
    else:
        done = subprocess.run(
            torchrun("--nproc-per-node", processes, "-m", "train", *words),
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (out / "curves.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def torchrun(*words):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", *map(str, words)]


@pytest.fixture(scope="module")
def alone(squares, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("alone")
    return out, run(squares, out)


@pytest.mark.parametrize(
    "processes, changes",
    [(2, {}), (1, {"optimizer.accumulate": 2}), (1, {"run.checkpointing": True})],
    ids=["ddp", "accumulated", "checkpointed"],
)
def test_the_losses_are_those_of_one_process(alone, squares, tmp_path, processes, changes):  # noqa: F811
    out, expected = alone
    found = run(squares, tmp_path, processes, changes)
    curve = [(line["stage"], line["step"], line["loss"]) for line in expected if "loss" in line]
    other = [(line["stage"], line["step"], line["loss"]) for line in found if "loss" in line]
    assert [c[:2] for c in other] == [c[:2] for c in curve] and len(curve) == 8
    for (stage, step, loss), (_, _, same) in zip(curve, other, strict=True):
        assert same == pytest.approx(loss, rel=2e-4, abs=2e-4), (stage, step)
    assert captions(tmp_path / "log.txt") == captions(out / "log.txt")
    mine, theirs = (load_file(f / "last" / "model.safetensors") for f in (tmp_path, out))
    for name, value in theirs.items():
        assert torch.allclose(mine[name].float(), value.float(), atol=5e-3), name


def captions(log):
    """The validation lines: the same captions give the same scores."""
    return [line for line in log.read_text().splitlines() if "epoch" in line and "CIDEr-D" in line]


def test_a_killed_run_resumes_to_the_same_bits(squares, tmp_path):  # noqa: F811
    settings = {
        "model.dropout": 0.1,
        "run.save_every": 1,
        "stage.captions.epochs": 4,
        "stage.captions.unfreeze_epoch": 2,
    }
    run(squares, tmp_path / "whole", changes=settings)
    out = tmp_path / "killed"
    for at in (2, 7):  # steps after which the process is killed, at whatever it is doing
        process = commands.start(*arguments(squares, out, settings), program=TRAIN)
        while process.poll() is None and steps(out) < at:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    run(squares, out, changes=settings)
    for name in ("state.safetensors", "last/model.safetensors"):
        whole, resumed = load_file(tmp_path / "whole" / name), load_file(out / name)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole), name


def steps(out):
    try:
        return len((out / "curves.jsonl").read_text().splitlines())
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which process is which")
def test_a_process_that_is_killed_ends_the_others_with_a_sentence(squares, tmp_path):  # noqa: F811
    out, logs = tmp_path / "out", tmp_path / "logs"
    words = arguments(squares, out, {"stage.captions.epochs": 500})
    launcher = torchrun("--nproc-per-node", 2, "--redirects", 3, "--log-dir", logs)
    with subprocess.Popen(
        [*launcher, "-m", "train", *words], env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as group:  # fmt: skip
        while group.poll() is None and steps(out) < 2:
            time.sleep(0.05)
        children = f"/proc/{group.pid}/task/{group.pid}/children"
        (killed,) = (
            pid
            for pid in map(int, Path(children).read_text().split())
            if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
        )
        os.kill(killed, signal.SIGKILL)
        assert group.wait() == 1
    (left,) = (path.read_text() for path in logs.rglob("0/stderr.log"))
    assert f"Error: Process 1 of the run (pid {killed} on " in left and "has died" in left
    assert "Traceback" not in left


@pytest.fixture
def two(monkeypatch):
    """Two processes in this one, of which the first watches the other; and how it was ended."""
    monkeypatch.setattr(processes, "PULSE", 0.02)
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    monkeypatch.setattr(processes, "SILENCE", 0.3)
    ended = []
    monkeypatch.setattr(processes, "_end", ended.append)
    monkeypatch.setenv("GROUP_RANK", "0")
    store = torch.distributed.HashStore()
    peers = [processes.Peers(rank, 2, store) for rank in range(2)]
    peers[0].watch()
    yield *peers, ended
    peers[0].leave(processes.DONE)


def test_a_frozen_process_is_missed(two):
    _, _, ended = two
    while not ended:
        time.sleep(0.02)
    assert ended[0].startswith("Process 1 of the run (pid ")
    assert ended[0].endswith("has given no sign of life for 0 s")


def test_a_process_that_ends_by_itself_is_not_missed(two):
    one, other, ended = two
    other.leave(processes.DONE)
    one.look_for_the_reason(ZeroDivisionError())
    one.look_for_the_reason(RuntimeError("of our own"))
    time.sleep(0.5)
    assert not ended


def test_a_process_that_does_not_come_is_named(two):
    one, other, ended = two
    other.leave(processes.DONE)  # so that nothing but the error tells of it
    error = RuntimeError("[gloo/transport/tcp/pair.cc:547] Timed out waiting 600000ms")
    one.look_for_the_reason(error)
    assert "Process 1 " in ended[0] and "does not come" in ended[0]


def test_a_process_that_fails_is_named(two):
    _, other, ended = two
    other.leave(processes.FAILED)
    while not ended:
        time.sleep(0.02)
    assert ended[0].endswith("has ended with an error")
