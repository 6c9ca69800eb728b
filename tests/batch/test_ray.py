"""The same job on a local Ray of two workers: the same records, and it continues, too."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from captioner.cli import app

from ..hub.checkpoints import blip
from .test_command import lines


@pytest.mark.long
def test_two_nodes_of_a_cpu_each_have_a_model_each(tiny, forty, tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        nodes.add_node(**node)
        ray.init(address=nodes.address, log_to_driver=False)
        same = ["--model", str(tiny), "--batch-size", "4", "--engine", "ray"]
        out = tmp_path / "captions.jsonl"
        command = ["caption", str(forty), "-o", str(out), *same]
        refused = CliRunner().invoke(app, [*command, "--workers", "3"])
        assert "cannot be placed" in str(refused.exception) and not lines(out)
        assert CliRunner().invoke(app, command).exit_code == 0 and len(lines(out)) == 40
    finally:
        ray.shutdown()
        nodes.shutdown()


@pytest.mark.long
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can hide a folder"
)
def test_a_node_that_does_not_see_the_photos_is_left_out(tiny, forty, tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    start = f"{Path(sys.executable).with_name('ray')} start --address={nodes.address} --num-cpus=1"
    script = f"mount -t tmpfs none {forty} && exec {start} --object-store-memory=80000000 --block"
    hidden = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ray.init(address=nodes.address, log_to_driver=False)
        while sum(one["Alive"] for one in ray.nodes()) < 2:
            assert hidden.poll() is None
            time.sleep(0.5)
        out = tmp_path / "captions.jsonl"
        command = ["caption", forty, "-o", out, "--model", tiny, "--engine", "ray"]
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == 0 and len(lines(out)) == 40, done.output
        assert (
            f"The node {socket.gethostname()} is left out: it does not see {forty}" in done.output
        )
    finally:
        ray.shutdown()
        hidden.terminate()
        hidden.wait()
        nodes.shutdown()


def test_the_same_job_on_two_workers(cluster, tiny, forty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # actors are started elsewhere
    forty = os.path.relpath(forty)
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"

    def caption(*arguments):
        same = ["--model", str(tiny), "--batch-size", "4", "--quiet"]
        done = CliRunner().invoke(app, ["caption", *map(str, arguments), *same])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code

    (tmp_path / (bad := "bad.jpg")).write_bytes(b"no photo")
    assert caption(forty, bad, "-o", here) == 1
    begun = lines(here)[:10]
    there.write_bytes(b"".join(line + b"\n" for line in begun))
    assert caption(forty, bad, "-o", there, "--engine", "ray", "--workers", "2", "--ordered") == 1
    assert lines(there)[:10] == begun and len(lines(there)) == 40

    def captions(path):
        return sorted((r["file"], r["caption"]) for r in map(json.loads, lines(path)))

    assert captions(here) == captions(there)
    errors = [lines(p.with_suffix(".errors.jsonl")) for p in (here, there)]
    assert errors[0] == errors[1] and len(errors[0]) == 1


def test_the_work_begins_while_photos_are_still_being_found(cluster, tiny, forty):
    from captioner.batch.engine import EngineConfig
    from captioner.batch.items import Item, chunks
    from captioner.batch.ray_engine import RayEngine
    from captioner.errors import CaptionerError

    batches = list(chunks([Item(str(p), path=str(p)) for p in sorted(forty.rglob("*.jpg"))], 4))
    first_is_back = threading.Event()

    def found():
        yield batches[0]
        assert first_is_back.wait(240)
        yield from batches[1:]
        raise CaptionerError("The list has no end that can be read.")

    names = []
    with (
        RayEngine(EngineConfig(model=str(tiny), ordered=True), batches[0], workers=2) as engine,
        pytest.raises(CaptionerError, match="has no end"),
    ):
        for outcomes in engine.run(found()):
            names += [one.item.name for one in outcomes]
            if names:
                first_is_back.set()
    assert names == [item.name for batch in batches for item in batch]  # before the error, all


@pytest.mark.long
def test_a_hub_model_in_each_of_two_workers(cluster, forty, tmp_path):
    checkpoint = blip(tmp_path / "blip", 0)
    found = []
    for name, more in (("here", ()), ("there", ("--engine", "ray", "--workers", "2"))):
        out = tmp_path / f"{name}.jsonl"
        done = CliRunner().invoke(app, [
            "caption", str(forty), "-o", str(out), "--model", str(checkpoint), "--device", "cpu",
            "--batch-size", "4", "--max-length", "6", "--ordered", "--quiet", *more,
        ])  # fmt: skip
        assert done.exit_code == 0, done.exception
        found.append(lines(out))
    here, there = ([json.loads(line) for line in one] for one in found)
    assert len(here) == 40 and len({record["caption"] for record in here}) > 5
    assert [(r["file"], r["caption"]) for r in here] == [(r["file"], r["caption"]) for r in there]
