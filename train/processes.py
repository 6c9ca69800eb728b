"""Training in several processes, as `torchrun` starts them: who am I, sums, and sharing the work.

    torchrun --nproc-per-node 8 -m train --recipe coco-vit ...

Every process holds the whole model (DDP). With one process nothing here does anything.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among all: rank of world, and its number on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

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
        if not self.first:
            self.wait()
        found = work()
        if self.first:
            self.wait()
        return found

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


def join(device: torch.device) -> Processes:
    """Join the group that torchrun started; alone where there is none."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    if not dist.is_initialized():
        # The first process may make a cache or a tokenizer while the others wait.
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=6)
        )
    return Processes(dist.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def wrap(learner: nn.Module, device: torch.device, *, unused: bool) -> nn.Module:
    """DDP around the learner; `unused` where some weights get no gradient in a step."""
    from torch.nn.parallel import DistributedDataParallel

    ids = [device.index or 0] if device.type == "cuda" else None
    return DistributedDataParallel(
        learner, device_ids=ids, find_unused_parameters=unused, broadcast_buffers=False
    )
