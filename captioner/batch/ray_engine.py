"""A job on a Ray cluster (the extra `ray`): Ray Data hands batches to actors with a model each.

The cluster is the one that RAY_ADDRESS names or that runs here, else one is started on this
machine. Planning, writing and the journal stay with the process that was started; photos must be
where every machine of the cluster can read them (a shared file system, or web addresses).
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from captioner.errors import CaptionerError

from .engine import EngineConfig, Outcome, Stop
from .items import Item
from .local_engine import LocalEngine

BLOCK = 4
"""Batches that an actor is given at a time, so that it decodes ahead of its model."""


class RayEngine:
    """Models in a cluster, one for each GPU, or for each 4 cores where there is none."""

    def __init__(self, config: EngineConfig, first: list[Item], *, workers: int | None = None):
        """Raises CaptionerError: the model cannot be loaded, a setting makes no sense, or there is
        no cluster to be had."""
        import ray

        with LocalEngine(config, first[:1]) as here:  # a mistake is told here, not by every worker
            self.settings, self.notes = here.settings, here.notes
        self.config = config
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if not ray.is_initialized():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise CaptionerError(f"Ray cannot be reached or started: {error}") from error
        have = ray.cluster_resources()
        self.gpus = int(have.get("GPU", 0)) if config.device != "cpu" else 0
        cpus = int(have.get("CPU", 1))
        self.workers = workers or self.gpus or max(1, cpus // 4)
        self.cpus = max(1, cpus // self.workers)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(
        self, batches: Iterable[list[Item]], stop: Stop = lambda: False
    ) -> Iterator[list[Outcome]]:
        """The outcomes of batches as they come in, or in order."""
        import ray
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = self.config.ordered
        rows = [{"batch": pickle.dumps(batch)} for batch in batches]
        blocks = max(min(2 * self.workers, len(rows)), len(rows) // BLOCK)
        outcomes = data.from_items(rows, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_args=(self.config, self.cpus),
            batch_size=BLOCK,
            concurrency=self.workers,
            num_cpus=self.cpus,
            num_gpus=self.gpus / self.workers if self.gpus else None,
        )
        try:
            for row in outcomes.iter_rows():
                yield pickle.loads(row["outcomes"])  # from our own workers
                if stop():
                    return
        except ray.exceptions.RayError as error:
            raise CaptionerError(
                f"Ray could not go on: {str(error).strip().splitlines()[-1]} What has been written "
                "is safe; the same command continues."
            ) from error


class _Worker:
    """An actor: the engine of one machine, on its share of the cores."""

    def __init__(self, config: EngineConfig, cores: int):
        self.engine = LocalEngine(replace(config, ordered=True), cores=cores)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[bytes]]:
        batches = [pickle.loads(batch) for batch in rows["batch"]]
        return {"outcomes": [pickle.dumps(done) for done in self.engine.run(batches)]}


def check_ray() -> None:
    """Raises CaptionerError when Ray is not installed."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise CaptionerError('--engine ray needs Ray: run pip install "captioner[ray]".')
