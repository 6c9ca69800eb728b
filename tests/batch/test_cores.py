"""How many cores a job takes, and how its speed follows from them."""

import os
import sys
import threading
import types

import pytest
import torch

from captioner import machine
from captioner.batch.engine import EngineConfig
from captioner.batch.items import Item
from captioner.batch.local_engine import LocalEngine
from captioner.samples import sample_photos
from eval import batch, batch_speed


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads, used", [(None, 4), (1, 1), (3, 3), (9, 4)])
def test_threads_are_what_the_model_and_the_decoders_take(tiny, threads, used):
    with LocalEngine(EngineConfig(model=str(tiny), device="cpu", threads=threads)) as engine:
        assert engine.cores == len(engine.pool) == torch.get_num_threads() == used


@pytest.mark.parametrize("steady", [False, True])
def test_no_thread_of_a_job_takes_more(tiny, steady, monkeypatch):
    """A photo alone, which all cores share, and batches side by side."""
    pytest.importorskip("skimage")
    config = EngineConfig(model=str(tiny), device="cpu", threads=2, steady=steady, batch_size=2)
    items = [Item(str(file), path=str(file)) for file in sample_photos()[: 4 if steady else 1]]
    taken: dict[int, int] = {}
    with LocalEngine(config, items[:2]) as engine:
        caption = engine.model.caption_pixels

        def spied(*given, **settings):
            taken[threading.get_ident()] = torch.get_num_threads()
            return caption(*given, **settings)

        monkeypatch.setattr(engine.model, "caption_pixels", spied)
        batches = [items[:2], items[2:]] if steady else [items]
        found = [one for part in engine.run(batches) for one in part]
    assert all(one.record for one in found) and len(found) == len(items)
    assert set(taken.values()) == {1 if steady else 2} and sum(taken.values()) <= 2


def test_openvino_takes_as_many_cores_as_torch_has_threads(tiny, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: dict[str, object] = {}
    core = openvino.Core()
    compile_model = core.compile_model

    def spied(graph, device, settings):
        asked.update(settings)
        return compile_model(graph, device, settings)

    fake = types.SimpleNamespace(read_model=core.read_model, compile_model=spied)
    monkeypatch.setattr(openvino, "Core", lambda: fake)
    config = EngineConfig(model=str(tiny), device="cpu", runtime="openvino", threads=3)
    with LocalEngine(config):
        assert asked["NUM_STREAMS"] == asked["INFERENCE_NUM_THREADS"] == 3


def test_the_serial_part_is_found():
    serial, parallel = batch_speed.serial_and_parallel({1: 0.12, 2: 0.07, 4: 0.045})
    assert (serial, parallel) == pytest.approx((0.02, 0.1))
    # More than twice as quick on two cores: no part is below nothing.
    serial, parallel = batch_speed.serial_and_parallel({1: 0.1, 2: 0.04})
    assert serial == 0 and 0.08 < parallel < 0.1
    serial, parallel = batch_speed.serial_and_parallel({1: 0.1, 2: 0.11})
    assert parallel == 0 and 0.1 < serial < 0.11


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a program choose its cores")
def test_the_job_is_measured_on_some_of_the_cores(builtin, tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage")
    monkeypatch.setattr(batch_speed, "SIZE", (80, 60))
    monkeypatch.setattr(machine, "cores", lambda: len(os.sched_getaffinity(0)))
    there = os.sched_getaffinity(0)
    assert batch.main(["cores", "--photos", "4", "--rounds", "1", "--batch-size", "2"]) == 0
    assert os.sched_getaffinity(0) == there
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [int(line[0]) for line in lines if line[0].isdigit() and len(line) == 3]
    assert rows[0] == 1 and rows[-1] == len(there)
