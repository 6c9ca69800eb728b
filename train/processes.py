"""Training in several processes, as `torchrun` starts them: who am I, sums, and sharing the work.

    torchrun --nproc-per-node 8 -m train --recipe coco-vit ...

Every process holds the whole model (DDP). With one process nothing here does anything. Where a
process is lost the others end with a sentence that names it, and do not wait for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from captioner.exits import Exit

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

LIMIT = timedelta(minutes=10)
"""How long processes wait within torch for one that lives, but does not come."""
SILENCE = 120.0
"""Seconds without a sign of life after which a process counts as frozen."""
PULSE = 1.0
"""Seconds between signs of life."""
PATIENCE = 5.0
"""Seconds within which an error between processes comes to all of them that live."""
DONE, FAILED = b"done", b"failed"
"""The last sign of life."""


class Peers:
    """The other processes of a run, watched in a thread: each gives signs of life in the store that
    torchrun keeps. Where one is lost this process ends, also while it waits for it within torch.
    """

    def __init__(self, rank: int, world: int, store: Store):
        self.rank = rank
        self.others = [r for r in range(world) if r != rank]
        self._store = store
        self._turns = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        # Process ids mean something to those that the same torchrun has started.
        node = os.environ.get("GROUP_RANK") or f"of-{rank}"
        store.set(f"who/{rank}", f"{node} {socket.gethostname()} {os.getpid()}")
        store.set(f"life/{rank}", "0")

    def watch(self) -> None:
        """Begin, once all have joined."""
        self._store.wait([f"life/{rank}" for rank in self.others], LIMIT)
        self._thread.start()

    def _watch(self) -> None:
        seen = dict.fromkeys(self.others, (b"", time.monotonic()))
        count = 0
        while not self._over.wait(PULSE):
            count += 1
            try:
                self._store.set(f"life/{self.rank}", str(count))
                sentence = self._look(seen, time.monotonic())
            except RuntimeError:
                sentence = "What keeps the processes together (torchrun) is gone"
            if sentence:
                return _end(sentence)

    def _look(self, seen: dict[int, tuple[bytes, float]], now: float) -> str:
        """Which process is lost, in a sentence; "" where all live. seen: the last sign of life of
        each, and when it came."""
        dead = {rank for rank in self.others if self._is_dead(rank)}
        lives = self._store.multi_get([f"life/{rank}" for rank in self.others])
        for rank, life in zip(self.others, lives, strict=True):
            if life != seen[rank][0]:
                seen[rank] = life, now
            if life == FAILED:
                return self._agreed(rank, "has ended with an error")
            if life != DONE and rank in dead:
                return self._agreed(rank, "has died")
            if life != DONE and now - seen[rank][1] > SILENCE:
                return self._agreed(rank, f"has given no sign of life for {SILENCE:.0f} s")
        return self._agreed() if self._store.check(["lost"]) else ""

    def _is_dead(self, rank: int) -> bool:
        node, _, pid = self._who(rank)
        if node != self._who(self.rank)[0]:
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def _who(self, rank: int) -> list[str]:
        return self._store.get(f"who/{rank}").decode().split()

    def _agreed(self, rank: int = -1, how: str = "") -> str:
        """The sentence for the process that was missed first, by whichever of the others."""
        said = self._store.compare_set("lost", "", f"{rank} {how}").decode()
        number, _, how = said.partition(" ")
        _, host, pid = self._who(int(number))
        return f"Process {number} of the run (pid {pid} on {host}) {how}"

    def look_for_the_reason(self, error: Exception) -> None:
        """Ends this process where an error came of another one; returns where it is our own."""
        if not isinstance(error, RuntimeError):
            return
        # torchrun asks those that are left to end: they do, and say why before.
        asked = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._over.wait(3 * PULSE)  # the thread ends us where it misses one
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            with contextlib.suppress(RuntimeError):
                self._store.set(f"waits/{self.rank}", "")
                self._over.wait(PATIENCE)
                for rank in self.others:
                    if not self._store.check([f"waits/{rank}"]):
                        _end(self._agreed(rank, "does not come to where the others wait for it"))
        signal.signal(signal.SIGTERM, asked)

    def turn(self, first: bool) -> None:
        """The first process says that its turn is over; the others wait for that, however long."""
        self._turns += 1
        key = f"turn/{self._turns}"
        if first:
            self._store.set(key, "")
        while not self._store.check([key]):
            time.sleep(PULSE / 10)

    def leave(self, last: bytes) -> None:
        """Say why no sign of life follows."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()  # its sign of life is not to come after
        with contextlib.suppress(RuntimeError):
            self._store.set(f"life/{self.rank}", last.decode())


def _end(sentence: str) -> None:
    """End this process as it is: its other threads may wait for what does not come."""
    print(
        f"Error: {sentence}: the others end, too. The same command goes on from the state saved "
        "last.",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    os._exit(Exit.MISTAKE)


@dataclass(frozen=True)
class Processes:
    """This process among all: rank of world, and its number on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0
    peers: Peers | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float, device: torch.device) -> list[float]:
        """Each value summed over the processes, in float64."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float32 if device.type == "mps" else torch.float64,
                             device=device)  # fmt: skip
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: Any) -> list[Any]:
        """What every process has, by rank; on every process."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def in_turn(self, work: Callable[[], T]) -> T:
        """`work()` in every process, the first one before the others: they find what it made."""
        if self.peers and not self.first:
            self.peers.turn(first=False)
        found = work()
        if self.peers and self.first:
            self.peers.turn(first=True)
        return found

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """In the group that torchrun started; alone where there is none. Where another process is lost
    this one ends."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(rendezvous("env://", timeout=LIMIT))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=LIMIT, rank=rank, world_size=world,
        store=PrefixStore("group", store),
    )  # fmt: skip
    peers = Peers(rank, world, PrefixStore("peers", store.clone()))
    peers.watch()
    last = DONE
    try:
        yield Processes(rank, world, int(os.environ.get("LOCAL_RANK", "0")), peers)
    except Exception as error:
        peers.look_for_the_reason(error)
        last = FAILED
        raise
    finally:
        peers.leave(last)
        dist.destroy_process_group()


def wrap(learner: nn.Module, device: torch.device, *, unused: bool) -> nn.Module:
    """DDP around the learner; `unused` where some weights get no gradient in a step."""
    from torch.nn.parallel import DistributedDataParallel

    ids = [device.index or 0] if device.type == "cuda" else None
    return DistributedDataParallel(
        learner, device_ids=ids, find_unused_parameters=unused, broadcast_buffers=False
    )
