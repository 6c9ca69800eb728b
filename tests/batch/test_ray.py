"""The same job on a local Ray of two workers: the same records, and it continues, too."""

import json

import pytest
from typer.testing import CliRunner

from captioner.cli import app

from .test_command import lines


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    pytest.importorskip("ray.data", reason="the extra `ray` is not installed")
    ray.init(
        num_cpus=2, object_store_memory=128 * 2**20, include_dashboard=False, log_to_driver=False
    )
    yield
    ray.shutdown()


def test_the_same_job_on_two_workers(cluster, tiny, forty, tmp_path):
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"

    def caption(*arguments):
        same = ["--model", str(tiny), "--batch-size", "4", "--quiet"]
        done = CliRunner().invoke(app, ["caption", *map(str, arguments), *same])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code

    (bad := tmp_path / "bad.jpg").write_bytes(b"no photo")
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
