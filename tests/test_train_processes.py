"""Several processes (torchrun, gloo) compute what one computes; accumulation too; a kill -9 loses
nothing. Each run is the real command in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

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
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        done = subprocess.run(
            [sys.executable, *launcher, str(processes), "-m", "train", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (out / "curves.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


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
