"""How many models a cluster takes, and how large: an actor has its CPUs and GPU on one node.

All actors of a job ask for the same, so what they ask for is measured by the nodes that hold them
and not by the sum over the cluster, which no node may have in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from captioner.errors import CaptionerError, SettingError

CORES = 4
"""CPUs for a model where there is no GPU."""


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster has, and its name."""

    cpus: int
    gpus: int = 0
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        gpus = f" and {_number(self.gpus, 'GPU')}" if self.gpus else ""
        return _number(self.cpus, "CPU") + gpus


@dataclass(frozen=True)
class Placement:
    """So many workers, each with so many CPUs and such a part of a GPU."""

    workers: int
    cpus: int
    gpus: float = 0.0

    def __str__(self) -> str:
        gpu = f" and {'one GPU' if self.gpus == 1 else 'part of a GPU'}" if self.gpus else ""
        each = " each" if self.workers > 1 else ""
        return f"{_number(self.workers, 'worker')} of {_number(self.cpus, 'CPU')}{gpu}{each}"


def placed(nodes: Sequence[Node], workers: int | None, *, gpus: bool | None) -> Placement:
    """Where the workers fit, with as many CPUs each as can be.

    Args:
        workers: how many; None: one for each GPU, or for each 4 CPUs of a node where there is none.
        gpus: whether they need GPUs; None: where the cluster has some.

    Raises:
        CaptionerError: the cluster has not what they need.
        SettingError: they do not fit.
    """
    kinds = Counter(str(node) for node in nodes)
    has = ", ".join(f"{number} of {kind}" for kind, number in kinds.items()) or "none at all"
    total = sum(node.gpus for node in nodes)
    if gpus and not total:
        raise CaptionerError(f"The cluster has no GPU; its nodes: {has}.")
    share = 0
    if total and gpus is not False:
        share = -(-(workers or total) // total)  # workers on one GPU
    a_cpu = "a CPU beside its GPU" if share else "a CPU"
    most = _fitting(nodes, 1, share)
    if not most:
        raise CaptionerError(f"No node of the cluster has {a_cpu}; its nodes: {has}.")
    if workers and workers > most:
        raise SettingError(
            f"`workers` {workers} cannot be placed: each needs {a_cpu}, and {most} at most fit "
            f"into the nodes of the cluster: {has}."
        )
    usual = total if share else sum(max(1, node.cpus // CORES) for node in nodes if node.cpus)
    workers = workers or min(usual, most)
    cpus = max(
        c for c in range(1, max(n.cpus for n in nodes) + 1) if _fitting(nodes, c, share) >= workers
    )
    return Placement(workers, cpus, 1 / share if share else 0.0)


def _fitting(nodes: Sequence[Node], cpus: int, share: int) -> int:
    """How many workers of so many CPUs fit, with `share` of them on each GPU (0: without one)."""
    return sum(
        min(node.cpus // cpus, node.gpus * share) if share else node.cpus // cpus for node in nodes
    )


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
