"""What is asked of a cluster fits into its nodes, or is refused in a sentence."""

import itertools
import os
import queue
import sys
import time
import types

import pytest

from captioner.batch import placement
from captioner.batch.engine import EngineConfig, Outcome
from captioner.batch.items import Item
from captioner.batch.placement import Node, Placement, placed
from captioner.batch.ray_cluster import TOKEN, connect
from captioner.batch.ray_engine import Answer, RayEngine, _watched, as_given, at
from captioner.errors import CaptionerError, SettingError


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([Node(1), Node(1)], None, Placement(2, 1)),
        ([Node(3)] * 3, None, Placement(3, 3)),
        ([Node(2)], 2, Placement(2, 1)),
        ([Node(6)], None, Placement(1, 6)),
        ([Node(64)], None, Placement(16, 4)),
        ([Node(64), Node(0)], 5, Placement(5, 12)),
        ([Node(3), Node(3)], 3, Placement(3, 1)),
        ([Node(4), Node(8, 1), Node(8, 1)], None, Placement(2, 8, 1.0)),
        ([Node(4), Node(8, 1), Node(8, 1)], 4, Placement(4, 4, 0.5)),
        ([Node(2, 4)], None, Placement(2, 1, 1.0)),
        ([Node(96, 8)] * 2 + [Node(4)], None, Placement(16, 12, 1.0)),
    ],
)
def test_workers_are_as_large_as_the_nodes_allow(nodes, workers, expected):
    assert placed(nodes, workers, gpus=None) == expected


def test_whatever_is_placed_fits():
    """Every small cluster, packed node by node."""
    for sizes in itertools.product(range(5), range(3), range(5), range(3)):
        nodes = [Node(*sizes[:2]), Node(*sizes[2:])]
        for workers in (None, 1, 2, 3, 5):
            try:
                found = placed(nodes, workers, gpus=None)
            except CaptionerError:
                continue
            assert workers in (None, found.workers)
            fit = 0
            for node in nodes:
                cpus, gpus = node.cpus, float(node.gpus)
                while cpus >= found.cpus and gpus >= found.gpus - 1e-9:
                    cpus, gpus, fit = cpus - found.cpus, gpus - found.gpus, fit + 1
            assert fit >= found.workers, (nodes, workers, found)


def test_what_cannot_be_placed_is_refused():
    with pytest.raises(SettingError, match=r"workers 3 cannot.*2 at most.*2 of 1 CPU"):
        placed([Node(1), Node(1)], 3, gpus=None)
    with pytest.raises(CaptionerError, match=r"no GPU; its nodes: 1 of 4 CPUs"):
        placed([Node(4)], None, gpus=True)
    with pytest.raises(CaptionerError, match="No node of the cluster has a CPU"):
        placed([Node(0)], None, gpus=None)
    assert placed([Node(4, 1)], None, gpus=False) == Placement(1, 4)
    assert str(placement.Placement(2, 1, 0.5)) == "2 workers of 1 CPU and part of a GPU each"


def test_relative_paths_are_absolute_there_and_relative_here():
    item = Item("photos/a.jpg", path="photos/a.jpg", place="a.jpg")
    away = at(item, "/home/me")
    assert away.path == "/home/me/photos/a.jpg" and away.name == item.name
    back = as_given(item, Outcome(away, error="/home/me/photos/a.jpg does not exist."))
    assert back == Outcome(item, error="photos/a.jpg does not exist.")
    url = Item("https://example.org/a.jpg", url="https://example.org/a.jpg")
    assert at(url, "/home/me") is url and at(Item("/a.jpg", path="/a.jpg"), "/x").path == "/a.jpg"


def test_a_stop_ends_while_nothing_comes_and_silence_is_told(monkeypatch):
    monkeypatch.setattr("captioner.batch.ray_engine.SILENCE", 0.3)
    never: queue.SimpleQueue[int] = queue.SimpleQueue()
    told = []
    rows = _watched(iter(never.get, None), lambda: len(told) == 2, lambda: told.append(1))
    assert list(rows) == [] and told == [1, 1]
    assert list(_watched([1, 2], lambda: False, lambda: None)) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        list(_watched((1 // n for n in (1, 0)), lambda: False, lambda: None))


class Hiding(RayEngine):
    """An engine whose machines answer at once: `seeing` is what each does not see."""

    def __init__(self, unseen):
        self.unseen = unseen
        self.config = EngineConfig()
        self.avoided = {}
        self.nodes = {name: Node(1, 0, name) for name in unseen}
        self.placement = Placement(len(unseen), 1)

    def _answers(self, batches, stop):
        asked = itertools.cycle(n for n in sorted(self.unseen) if n not in self.avoided)
        for batch, node in zip(batches, asked, strict=False):
            gone = {i.name for i in batch if i.name in self.unseen[node]}
            outcomes = [
                Outcome(i, error=f"{i.name} does not exist." if i.name in gone else "No photo.")
                for i in batch
            ]
            yield Answer(outcomes, frozenset(gone), node)


def errors_of(engine, items):
    return {
        one.item.name: one.error for ones in engine.run([[item] for item in items]) for one in ones
    }


def test_what_a_machine_does_not_see_is_done_by_another(tmp_path, capsys):
    there = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    for path in there:
        path.write_bytes(b"no photo")
    names = [*map(str, there), str(tmp_path / "gone.jpg")]
    items = [Item(name, path=name) for name in names]
    found = errors_of(Hiding({"one": set(names), "two": {names[4]}}), items)
    assert found == {
        **dict.fromkeys(names[:4], "No photo."),
        names[4]: f"{names[4]} does not exist.",
    }
    told = capsys.readouterr().err
    assert told.count("The node one does not see") == 1 and "two" not in told
    found = errors_of(Hiding({"one": set(names)}), items)
    assert found[names[0]] == f"{names[0]} does not exist. That says the node one."


def test_a_wrong_token_is_a_sentence_at_once(monkeypatch):
    def init(**_):
        os.write(2, b"W gcs_client.cc:210: Unauthenticated: RPC error: InvalidAuthToken: ...")
        time.sleep(30)

    class AuthenticationError(Exception):
        pass

    exceptions = types.SimpleNamespace(AuthenticationError=AuthenticationError)
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init, exceptions=exceptions))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    began = time.monotonic()
    with pytest.raises(CaptionerError) as error:
        connect()
    assert str(error.value) == TOKEN and time.monotonic() - began < 10

    def refuse(**_):
        raise AuthenticationError("no token was found")

    sys.modules["ray"].init = refuse
    with pytest.raises(CaptionerError, match="wants its token"):
        connect()
