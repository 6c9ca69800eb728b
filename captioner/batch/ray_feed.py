"""Batches on their way to a Ray cluster, while they are still being planned.

Ray Data reads what it works on by tasks that give blocks. Here one such task, on the driver's
machine, gives what the driver puts into a queue: so the work begins with the first batch, an input
need not have an end, and the plan is never held as a whole.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .items import Item

if TYPE_CHECKING:
    import ray.data

BLOCK = 4
"""Batches that an actor is given at a time, so that it decodes ahead of its model."""
AHEAD = 4 * BLOCK
"""Batches that wait in the queue, at most."""
LATE = 0.5
"""Seconds after which a block goes as it is, where no further batch comes."""


class Feed:
    """Batches put into a queue as they are planned, in a thread. given: how many so far."""

    def __init__(self, batches: Iterable[list[Item]], workers: int):
        """workers: for how many models; the first blocks are small, so that each has some."""
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = ray.get_runtime_context().get_node_id()
        self._here = {
            "num_cpus": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }
        self._queue: Any = Queue(AHEAD, actor_options=self._here)
        self._small = 2 * workers
        self._over = threading.Event()
        self._error: BaseException | None = None
        self.given = 0
        threading.Thread(target=self._give, args=(batches,), daemon=True).start()

    def dataset(self) -> ray.data.Dataset:
        """Rows of one `batch` each, pickled; a block is what an actor is to be given."""
        from ray import data

        source = _source(self._queue, self._small)
        read: ray.data.Dataset = data.read_datasource(
            source, override_num_blocks=1, ray_remote_args=self._here
        )
        return read

    def _give(self, batches: Iterable[list[Item]]) -> None:
        try:
            for batch in batches:
                self._put(pickle.dumps(batch))
                self.given += 1
                if self._over.is_set():
                    return
        except BaseException as error:
            self._error = error
        finally:
            with contextlib.suppress(Exception):  # the cluster is gone, which is told elsewhere
                self._put(None)

    def _put(self, row: bytes | None) -> None:
        from ray.util.queue import Full

        while not self._over.is_set():
            try:
                self._queue.put(row, timeout=0.5)
                return
            except Full:
                continue

    def check(self) -> None:
        """Raises what planning the batches has raised."""
        if self._error:
            raise self._error

    def close(self) -> None:
        """End what reads the queue, whatever still waits in it."""
        self._over.set()
        with contextlib.suppress(Exception):
            self._queue.get_nowait_batch(self._queue.qsize())
            self._queue.put_nowait(None)


def _source(queue: Any, small: int) -> ray.data.Datasource:
    """What Ray Data reads a queue by: a class that can only be made where Ray is installed."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class Batches(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
            about = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(lambda: _blocks(queue, small), about)]

    return Batches()  # type: ignore[no-untyped-call]


def _blocks(queue: Any, small: int) -> Iterator[Any]:
    """Tables of the rows in a queue, until None comes: the first `small` have one row, others at
    most BLOCK."""
    import pyarrow
    from ray.util.queue import Empty

    number, ended = 0, False
    while not ended:
        rows, most = [queue.get()], 1 if number < small else BLOCK
        with contextlib.suppress(Empty):
            while rows[-1] is not None and len(rows) < most:
                rows.append(queue.get(timeout=LATE))
        if ended := rows[-1] is None:
            rows.pop()
        if rows:
            yield pyarrow.table({"batch": pyarrow.array(rows, pyarrow.large_binary())})
        number += 1
