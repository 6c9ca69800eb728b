"""A job on a Ray cluster (the extra `ray`): Ray Data hands batches to actors with a model each.

The cluster is the one that RAY_ADDRESS names or that runs here, else one is started on this
machine. Planning, writing and the journal stay with the process that was started; photos must be
where every machine of the cluster can read them (a shared file system, or web addresses).
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from captioner.errors import CaptionerError

from .engine import EngineConfig, Outcome, Stop
from .items import Item
from .local_engine import LocalEngine
from .placement import Node, placed

if TYPE_CHECKING:
    from captioner.captioner import Captioner

T = TypeVar("T")

SILENCE = 60.0
"""Seconds without a result after which the person is told."""
TOKEN = (
    "Where the cluster wants its token, set RAY_AUTH_MODE=token and put the token (on its head, "
    "`ray get-auth-token` says it) into RAY_AUTH_TOKEN, or into the file that RAY_AUTH_TOKEN_PATH "
    "names."
)
BLOCK = 4
"""Batches that an actor is given at a time, so that it decodes ahead of its model."""


class RayEngine:
    """Models in a cluster, one for each GPU, or for each 4 CPUs of a node where there is none."""

    def __init__(self, config: EngineConfig, first: list[Item], *, workers: int | None = None):
        """Raises CaptionerError: the model cannot be loaded, a setting makes no sense, or there is
        no cluster to be had that the workers fit into."""
        import ray

        with LocalEngine(_here(config), first[:1]) as here:  # a mistake is told here and once
            self.settings, self.notes = here.settings, here.notes
            self.config = pinned(config, here.model)
        self.started = not ray.is_initialized()
        self._connect()
        try:
            gpus = None if config.device is None else config.device.startswith("cuda")
            self.placement = placed(_nodes(), workers, gpus=gpus)
        except BaseException:
            self._leave()
            raise

    def _connect(self) -> None:
        import ray

        if self.started:
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            except ray.exceptions.RayError as error:  # it wants a token, and there is none
                raise CaptionerError(f"Ray refuses the connection. {TOKEN}") from error
            except (ConnectionError, RuntimeError, ValueError) as error:
                hint = f" {TOKEN}" if "RAY_ADDRESS" in os.environ else ""
                raise CaptionerError(f"Ray cannot be reached or started: {error}.{hint}") from error
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    def _leave(self) -> None:
        import ray

        if self.started:
            ray.shutdown()

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def run(
        self, batches: Iterable[list[Item]], stop: Stop = lambda: False
    ) -> Iterator[list[Outcome]]:
        """The outcomes of batches as they come in, or in order. Once `stop()` is true it ends:
        what the cluster has in hand is not waited for."""
        import ray
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = self.config.ordered
        rows = [{"batch": pickle.dumps(batch)} for batch in batches]
        workers, cpus = self.placement.workers, self.placement.cpus
        blocks = max(min(2 * workers, len(rows)), len(rows) // BLOCK)
        outcomes = data.from_items(rows, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_args=(self.config, cpus, str(Path.cwd())),
            batch_size=BLOCK,
            compute=data.ActorPoolStrategy(min_size=workers, max_size=workers),
            num_cpus=cpus,
            num_gpus=self.placement.gpus or None,
        )
        try:
            for row in _watched(outcomes.iter_rows(), stop, self._silence):
                yield pickle.loads(row["outcomes"])  # from our own workers
        except ray.exceptions.RayError as error:
            raise CaptionerError(
                f"Ray could not go on: {str(error).strip().splitlines()[-1]} What has been written "
                "is safe; the same command continues."
            ) from error

    def _silence(self) -> None:
        import ray

        free = int(ray.available_resources().get("CPU", 0))
        typer.echo(
            f"No result has come from the cluster for {SILENCE:.0f} s. {self.placement} are asked "
            f"for, and {free} CPUs are free: `ray status` says what the cluster waits for. Ctrl-C "
            "stops.",
            err=True,
        )


def _nodes() -> list[Node]:
    """What the machines of the cluster have that are alive."""
    import ray

    have = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in have]


def _here(config: EngineConfig) -> EngineConfig:
    """For the machine that only plans and writes, and may have no GPU where the others have one."""
    import torch

    without = (config.device or "").startswith("cuda") and not torch.cuda.is_available()
    return replace(config, device="cpu") if without else config


def pinned(config: EngineConfig, model: Captioner) -> EngineConfig:
    """With the commit of a model of the hub that was found here, so that all workers load that."""
    from captioner.hub.base import HubModel

    if not isinstance(model.model, HubModel) or not model.model.checkpoint.revision:
        return config
    return replace(config, revision=model.model.checkpoint.revision)


def _watched(rows: Iterable[T], stop: Stop, silence: Callable[[], None]) -> Iterator[T]:
    """Rows as they come, until `stop()` is true, which is asked while none comes, too. What
    iterating raises is raised here. `silence()` is called when none has come for SILENCE."""
    come: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()

    def take() -> None:
        try:
            for row in rows:
                come.put(row)
            come.put(None)
        except BaseException as error:
            come.put(error)

    threading.Thread(target=take, daemon=True).start()
    last = time.monotonic()
    while not stop():
        try:
            row = come.get(timeout=0.2)
        except queue.Empty:
            if time.monotonic() - last > SILENCE:
                last = time.monotonic()
                silence()
            continue
        if row is None:
            return
        if isinstance(row, BaseException):
            raise row
        yield row
        last = time.monotonic()


class _Worker:
    """An actor: the engine of one machine, on its share of the cores. folder: where the command
    was started, which relative paths begin from; an actor is started elsewhere."""

    def __init__(self, config: EngineConfig, cores: int, folder: str):
        self.folder = folder
        model, skip = config.model, config.skip
        if model and (there := Path(folder, model)).is_dir():
            model = str(there)
        if skip and skip.folder:
            skip = replace(skip, folder=Path(folder, skip.folder))
        config = replace(config, ordered=True, model=model, skip=skip)
        self.engine = LocalEngine(config, cores=cores)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[bytes]]:
        batches = [pickle.loads(batch) for batch in rows["batch"]]
        absolute = [[at(item, self.folder) for item in batch] for batch in batches]
        done = zip(batches, self.engine.run(absolute), strict=True)
        return {"outcomes": [pickle.dumps(list(map(as_given, *pair))) for pair in done]}


def at(item: Item, folder: str) -> Item:
    """The item with an absolute path, where it has a path."""
    return replace(item, path=os.path.join(folder, item.path)) if item.path else item  # noqa: PTH118


def as_given(item: Item, outcome: Outcome) -> Outcome:
    """The outcome of an item that was made absolute, in the words of the one that was given."""
    error, path = outcome.error, outcome.item.path
    if error and path and item.path:
        error = error.replace(path, item.path)
    return replace(outcome, item=item, error=error)


def check_ray() -> None:
    """Raises CaptionerError when Ray is not installed."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise CaptionerError('--engine ray needs Ray: run pip install "captioner[ray]".')
