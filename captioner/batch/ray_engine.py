"""A job on a Ray cluster (the extra `ray`): Ray Data hands batches to actors with a model each.

The cluster is the one that RAY_ADDRESS names or that runs here, else one is started on this
machine. Planning, writing and the journal stay with the process that was started; photos must be
where every machine of the cluster can read them (a shared file system, or web addresses).
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import typer

from captioner.errors import CaptionerError

from . import ray_cluster
from .engine import EngineConfig, Outcome, Stop
from .items import Item
from .local_engine import LocalEngine
from .placement import Placement, placed
from .ray_feed import Feed

if TYPE_CHECKING:
    from captioner.captioner import Captioner

T = TypeVar("T")

SILENCE = 60.0
"""Seconds without a result after which the person is told."""
RESTARTS = 3
"""How often an actor is started again, and a block given out again, where it is lost."""


class Answer(NamedTuple):
    """What an actor gives for a batch.

    outcomes: empty where it only says that it has begun. unseen: the names of those that cannot be
    read on its machine. node: the id of that.
    """

    outcomes: list[Outcome]
    unseen: frozenset[str]
    node: str


class RayEngine:
    """Models in a cluster, one for each GPU, or for each 4 CPUs of a node where there is none."""

    def __init__(self, config: EngineConfig, first: list[Item], *, workers: int | None = None):
        """Raises CaptionerError: the model cannot be loaded, a setting makes no sense, or there is
        no cluster to be had that the workers fit into."""
        import ray

        with LocalEngine(_here(config), first[:1]) as here:  # a mistake is told here and once
            self.settings, self.notes = here.settings, [*here.notes]
            self.config = pinned(config, here.model)
        self.started = not ray.is_initialized()
        if self.started:
            ray_cluster.connect()
        try:
            self.nodes = ray_cluster.nodes()
            paths = [item.path for item in first if item.path]
            self.avoided = ray_cluster.blind(
                self.nodes, [*map(os.path.abspath, [*filter(None, [config.model]), *paths])]
            )
            whys = [f"The node {self._name(n)} is left out: {w}." for n, w in self.avoided.items()]
            if not self.nodes.keys() - self.avoided.keys():
                raise CaptionerError(" ".join(["No machine can do the work.", *whys]))
            self.notes += whys
            self.placement = self._placed(workers)
        except BaseException:
            self._leave()
            raise

    def _name(self, node: str) -> str:
        return self.nodes[node].name if node in self.nodes else node

    def _placed(self, workers: int | None) -> Placement:
        gpus = None if self.config.device is None else self.config.device.startswith("cuda")
        usable = [have for node, have in self.nodes.items() if node not in self.avoided]
        return placed(usable, workers, gpus=gpus)

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
        what the cluster has in hand is not waited for.

        What a machine does not see and this one does is no fault of the photo: it is done at the
        end, on the others.
        """
        hidden: list[tuple[Answer, list[Outcome]]] = []
        for answer in self._answers(batches, stop):
            here = [one for one in answer.outcomes if _is_hidden(one, answer)]
            if here:
                self._avoid(answer.node, here[0].item)
                hidden.append((answer, here))
            yield [one for one in answer.outcomes if one not in here]
        if not hidden or stop():
            return
        try:
            self.placement = self._placed(None)
        except CaptionerError:  # there is no other machine
            yield from ([self._named(one, answer) for one in ones] for answer, ones in hidden)
            return
        again = [[one.item for one in ones] for _, ones in hidden]
        for answer in self._answers(again, stop):
            yield [self._named(one, answer) for one in answer.outcomes]

    def _avoid(self, node: str, item: Item) -> None:
        if node not in self.avoided:
            self.avoided[node] = f"it does not see {item.path}"
            typer.echo(
                f"The node {self._name(node)} does not see {item.path}, which is here: others do "
                "at the end what it does not see.",
                err=True,
            )

    def _named(self, one: Outcome, answer: Answer) -> Outcome:
        """The outcome, which says where a photo is missing that others see."""
        if not _is_hidden(one, answer):
            return one
        return replace(one, error=f"{one.error} That says the node {self._name(answer.node)}.")

    def _answers(self, batches: Iterable[list[Item]], stop: Stop) -> Iterator[Answer]:
        import ray
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = self.config.ordered
        context.target_max_block_size = 1  # an actor's answers leave it one by one
        workers, cpus = self.placement.workers, self.placement.cpus
        feed, done = Feed(batches, workers), 0
        elsewhere = {"ray.io/node-id": f"!in({','.join(self.avoided)})"}
        answers = feed.dataset().map_batches(
            _Worker,
            fn_constructor_args=(self.config, cpus, str(Path.cwd())),
            batch_size=None,  # a block at a time, as the feed gives them
            compute=data.ActorPoolStrategy(min_size=workers, max_size=workers),
            num_cpus=cpus,
            num_gpus=self.placement.gpus or None,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
            label_selector=elsewhere if self.avoided else None,
        )

        def silence() -> None:
            if feed.given > done:  # else there is nothing to do: a list may come slowly
                self._silence()

        try:
            # With prefetching, a block would wait for the one after it.
            blocks = answers.iter_batches(batch_size=None, prefetch_batches=0)
            for block in _watched(blocks, stop, silence):
                for row in block["answer"]:
                    answer: Answer = pickle.loads(row)  # from our own workers
                    done += bool(answer.outcomes)
                    yield answer
            feed.check()
        except ray.exceptions.RayError as error:
            raise CaptionerError(
                f"Ray could not go on: {str(error).strip().splitlines()[-1]} What has been written "
                "is safe; the same command continues."
            ) from error
        finally:
            feed.close()

    def _silence(self) -> None:
        import ray

        free = int(ray.available_resources().get("CPU", 0))
        typer.echo(
            f"No result has come from the cluster for {SILENCE:.0f} s. {self.placement} are asked "
            f"for, and {free} CPUs are free: `ray status` says what the cluster waits for. Ctrl-C "
            "stops.",
            err=True,
        )


def _is_hidden(one: Outcome, answer: Answer) -> bool:
    """Whether a photo that failed is seen on this machine and not on that of the actor."""
    path = one.item.path
    return bool(path) and one.item.name in answer.unseen and not ray_cluster.unseen([str(path)])


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
        import ray

        self.folder = folder
        model, skip = config.model, config.skip
        if model and (there := Path(folder, model)).is_dir():
            model = str(there)
        if skip and skip.folder:
            skip = replace(skip, folder=Path(folder, skip.folder))
        config = replace(config, ordered=True, model=model, skip=skip)
        self.engine = LocalEngine(config, cores=cores)

        self.node = ray.get_runtime_context().get_node_id()
        self.begun = False

    def __call__(self, rows: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        if not self.begun:
            self.begun = True
            yield _row(Answer([], frozenset(), self.node))
        batches = [pickle.loads(batch) for batch in rows["batch"]]
        absolute = [[at(item, self.folder) for item in batch] for batch in batches]
        for batch, outcomes in zip(batches, self.engine.run(absolute), strict=True):
            unseen = frozenset(o.item.name for o in outcomes if o.error and _cannot_see(o.item))
            yield _row(Answer(list(map(as_given, batch, outcomes)), unseen, self.node))


def _row(answer: Answer) -> dict[str, list[bytes]]:
    return {"answer": [pickle.dumps(answer)]}


def _cannot_see(item: Item) -> bool:
    return bool(item.path) and bool(ray_cluster.unseen([str(item.path)]))


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
