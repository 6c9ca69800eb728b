"""What was made quick stays quick: ratios of processor time, which gross regressions break.

Each bound leaves room of a third at least above what was measured on two busy cores. Of a few
tries the first within it is enough: another program on the machine may slow one of two things that
are compared, but not always the same.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch

import captioner
from captioner.decoder import DecoderConfig, TextDecoder
from captioner.model import CachedStep
from captioner.request import Request
from captioner.samples import sample_photos
from eval.speed import parts

from .conftest import ROOT

TRIES = 4
PHOTOS = 8


def below(bound: float, ratio: Callable[[], float]) -> None:
    found: list[float] = []
    while len(found) < TRIES:
        found.append(ratio())
        if found[-1] < bound:
            return
    pytest.fail(f"always above {bound}: {', '.join(f'{one:.2f}' for one in found)}")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for one another would count as work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def spent(builtin):
    """Seconds of each part of captioning the same photos: in one batch, or each alone."""
    pytest.importorskip("skimage")
    model = captioner.load(builtin, device="cpu", dtype="float32")
    samples = sample_photos()
    files = [samples[i % len(samples)] for i in range(PHOTOS)]

    def measured(beams: int = 3, alone: bool = False) -> dict[str, float]:
        groups = [[file] for file in files] if alone else [files]
        return parts(model, groups, model.search(Request(beams=beams)), time.process_time)

    measured()  # what is set up once
    return measured


def total(spent: dict[str, float]) -> float:
    return spent["read"] + spent["encode"] + spent["decode"]


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory differs between systems")
def test_the_first_caption_costs_little_more_than_importing_torch(builtin):
    pytest.importorskip("skimage")

    found: list[dict[str, float]] = []

    def processor_time() -> float:
        done = subprocess.run(
            [sys.executable, "-m", "eval", "startup", "--rounds", "1", "--json"],
            capture_output=True, text=True, check=True, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        torch_alone, caption, ratio = json.loads(done.stdout).values()
        for part, multiple in ratio.items():
            assert multiple == pytest.approx(caption[part] / torch_alone[part])
        found.append(ratio)
        return found[-1]["cpu"]

    below(2.4, processor_time)
    assert found[-1]["peak"] < 1.4


def test_five_beams_cost_little_more_than_one(spent):
    below(1.6, lambda: total(spent(beams=5)) / total(spent(beams=1)))


def test_heatmaps_cost_little_beside_the_caption(spent):
    def share() -> float:
        one = spent()
        return one["look"] / total(one)

    below(0.15, share)


def test_photos_written_of_together_cost_less_than_each_alone(spent):
    below(0.6, lambda: spent()["decode"] / spent(alone=True)["decode"])


@torch.inference_mode()
def test_a_step_costs_less_than_reading_the_caption_again():
    """The cache of keys and values, at the sizes of the model in the box."""
    torch.manual_seed(0)
    config = DecoderConfig()
    decoder = TextDecoder(config).eval()
    memory = decoder.photo_memory(torch.randn(4, 100, config.width))
    ids = torch.randint(config.vocab_size, (12, 16))

    def cached() -> torch.Tensor:
        step = CachedStep(decoder, memory)
        logits = step(ids[::3, :1], None)
        parents = torch.arange(4).repeat_interleave(3)
        for t in range(1, ids.shape[1]):
            logits = step(ids[:, t : t + 1], parents)
            parents = torch.arange(12)
        return logits

    def read_again() -> torch.Tensor:
        for t in range(ids.shape[1]):
            logits, _ = decoder(ids[:, : t + 1], memory)
        return logits[:, -1]

    def seconds(call: Callable[[], torch.Tensor]) -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    for call in (cached, read_again):
        call()
    below(0.7, lambda: seconds(cached) / seconds(read_again))
