"""Photos that hang or kill their decoder cost themselves and nothing else."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from captioner.batch.pool import Pool
from captioner.errors import CaptionerError, PhotoError


@dataclass(frozen=True)
class Job:
    name: str


def behave(job):
    """What decoders do; the name says which."""
    if job.name == "hang":
        time.sleep(60)
    if job.name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.name == "eaten":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name == "memory":
        raise MemoryError
    if job.name == "bad":
        raise PhotoError("bad is bad.")
    if job.name == "odd":
        raise RuntimeError("what")
    if job.name == "library":
        raise ImportError("libheif.so: failed to map segment from shared object")
    return job.name, os.getpid()


def outcomes(names, *, processes=True, limit=10.0):
    jobs = [Job(name) for name in names]
    with Pool(2, processes=processes) as pool:
        return dict(pool.map(behave, jobs, window=4, limit=lambda job: limit))


@pytest.mark.slow
def test_every_kind_of_death_is_one_error_and_the_rest_goes_on():
    names = ["a", "crash", "b", "hang", "eaten", "c", "memory", "bad", "odd", "d"]
    began = time.monotonic()
    got = outcomes(names, limit=4.0)
    assert time.monotonic() - began < 50
    assert sorted(got) == list(range(len(names)))
    told = {name: str(got[i]) for i, name in enumerate(names) if isinstance(got[i], PhotoError)}
    assert set(told) == {"crash", "hang", "eaten", "memory", "bad", "odd"}
    assert "SIGSEGV" in told["crash"] and "longer than 4 s" in told["hang"]
    assert "more memory" in told["eaten"] and "more memory" in told["memory"]
    assert told["bad"] == "bad is bad." and "what" in told["odd"]
    assert all(got[i][0] == n and got[i][1] != os.getpid() for i, n in enumerate(names)
               if n not in told)  # fmt: skip


def test_a_library_that_cannot_be_loaded_is_no_failure_of_the_photo():
    with pytest.raises(CaptionerError, match=r"libheif\.so.*ulimit -v") as raised:
        outcomes(["a", "library", "b"], processes=False)
    assert not isinstance(raised.value, PhotoError)


def test_threads_do_the_same_for_few():
    got = outcomes(["a", "bad", "hang", "b"], processes=False, limit=1.0)
    assert got[0] == ("a", os.getpid()) and "longer than 1 s" in str(got[2])
    assert str(got[1]) == "bad is bad." and got[3][0] == "b"


def test_no_more_is_taken_than_the_window_holds():
    taken = []

    def jobs():
        for i in range(50):
            taken.append(i)
            yield Job(str(i))

    with Pool(2, processes=False) as pool:
        results = pool.map(behave, jobs(), window=4, limit=lambda job: 10.0)
        for n, _ in enumerate(results, 1):
            time.sleep(0.002)
            assert len(taken) <= n + 4
    assert len(taken) == 50


def test_what_the_items_raise_is_raised_and_stopping_stops():
    def broken():
        yield Job("a")
        raise PhotoError("The list is broken.")

    with Pool(1, processes=False) as pool, pytest.raises(PhotoError, match="list is broken"):
        list(pool.map(behave, broken(), window=4, limit=lambda job: 10.0))
    with Pool(1, processes=False) as pool:
        many = (Job(str(i)) for i in range(10**9))
        got = []
        for one in pool.map(behave, many, window=4, limit=lambda j: 9.0, stop=lambda: len(got) > 5):
            got.append(one)
        assert 5 < len(got) < 20


def test_workers_import_no_torch_and_end_with_their_parent(tmp_path):
    code = (
        "import sys, time\n"
        "from captioner.batch.decode import Decoder\n"
        "from captioner.batch.pool import Pool\n"
        "from captioner.batch.items import Item\n"
        "pool = Pool(1)\n"
        "list(pool.map(Decoder(8), [Item('x', path='x')], window=1, limit=lambda i: 9.0))\n"
        "assert 'torch' not in sys.modules, 'the parent would pass it on'\n"
        "print(pool._workers[0].process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    maps = f"/proc/{worker}/maps"
    if os.path.exists(maps):  # noqa: PTH110
        with open(maps) as stream:  # noqa: PTH123
            assert "libtorch" not in stream.read()
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        state = open(f"/proc/{worker}/stat").read().split()[2]  # noqa: PTH123, SIM115
        if state == "Z":  # ended; whoever adopted it has not asked yet
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")
