"""The speed of a folder job, for `eval.batch`: beside a plain loop, by runtime, by cores."""

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from captioner.batch.engine import EngineConfig
from captioner.batch.items import chunks
from captioner.batch.local_engine import LocalEngine
from captioner.batch.sources import find_items
from captioner.captioner import RUNTIMES, Captioner
from captioner.errors import CaptionerError
from captioner.machine import cores, describe
from captioner.photos import Photo, load_photo
from captioner.request import Request

from .common import photos_of

SIZE = (4000, 3000)
PLAIN_BATCH = 32


def speed(options: argparse.Namespace, folder: Path) -> int:
    photos = options.photos or 1000
    files = make_large(options.keep or folder, photos, options.images)
    for file in files:
        file.read_bytes()  # into the page cache
    config = EngineConfig(
        batch_size=options.batch_size, steady=True, request=Request(beams=3, heatmaps=""),
        device=options.device, dtype=options.dtype, runtime=options.runtime,
    )  # fmt: skip
    plain, ours, streamed = _Clock(), _Clock(), _Clock()
    captions: dict[str, list[str]] = {"plain": [], "ours": []}
    with LocalEngine(config) as engine:
        clock = _Timed(engine.model)
        _plain(engine, files[:PLAIN_BATCH])  # warm up
        turn = -(-len(files) // options.rounds)
        for start in range(0, len(files), turn):
            part = files[start : start + turn]
            with plain.of(clock):
                captions["plain"] += _plain(engine, part)
            with ours.of(clock):
                captions["ours"] += _ours(engine, part)
            with streamed.of(clock):
                found = engine.model.stream(part, config.request, batch_size=options.batch_size)
                assert sum(1 for _ in found) == len(part)
        from captioner.batch.run import concurrency_for

        batches = concurrency_for(engine.model.device, engine.cores)
        name, dtype = engine.model.name, engine.settings["dtype"]
    # Decoding with a core to itself: one process that decodes, and the model on one core.
    alone = _Clock()
    with LocalEngine(config, cores=1) as engine:
        clock = _Timed(engine.model)
        _ours(engine, files[: options.batch_size])
        with alone.of(clock):
            _ours(engine, files[: min(len(files), 200)])
    same = sum(a == b for a, b in zip(captions["plain"], captions["ours"], strict=True))
    rate_plain, rate_ours, rate_streamed = (
        len(files) / clock.seconds for clock in (plain, ours, streamed)
    )
    size = sum(file.stat().st_size for file in files) / len(files) / 1e6
    print(f"{len(files)} JPEGs of {SIZE[0]}x{SIZE[1]} ({size:.1f} MB), {name}, {dtype}, beam 3")
    print(f"{'':<40}{'photos/s':>10}{'model at work':>16}{'waits':>8}")
    for label, rate, busy in (
        (f"plain loop, batch {PLAIN_BATCH}", rate_plain, plain.busy / plain.seconds),
        (f"captioner, batch {options.batch_size}", rate_ours, ours.busy / ours.seconds / batches),
        (f"Captioner.stream, batch {options.batch_size}", rate_streamed,
         streamed.busy / streamed.seconds / batches),
        ("captioner, a core each to decode and model", min(len(files), 200) / alone.seconds,
         alone.busy / alone.seconds),
    ):  # fmt: skip
        print(f"{label:<42}{rate:>8.2f}{busy:>16.0%}{1 - busy:>8.0%}")
    print(f"captioner is {rate_ours / rate_plain:.2f} times the plain loop")
    print(f"Captioner.stream is {rate_streamed / rate_ours:.2f} times the folder job")
    print(f"The same caption both ways: {same / len(files):.1%} (we decode at reduced scale)")
    print(f"Machine: {describe()}, load {os.getloadavg()[0]:.1f}")
    return 0


def by_runtimes(options: argparse.Namespace, folder: Path) -> int:
    """The folder job with each runtime of the encoder, in turns on the same files."""
    files = make_large(options.keep or folder, options.photos or 1000, options.images)
    clocks = {name: _Clock() for name in RUNTIMES}
    captions: dict[str, list[str]] = {name: [] for name in RUNTIMES}
    with contextlib.ExitStack() as stack:
        engines = {
            name: stack.enter_context(LocalEngine(EngineConfig(
                batch_size=options.batch_size, steady=True, runtime=name, dtype=options.dtype,
                device="cpu", request=Request(beams=3, heatmaps=""),
            )))
            for name in RUNTIMES
        }  # fmt: skip
        timed = {name: _Timed(engine.model) for name, engine in engines.items()}
        for engine in engines.values():
            _ours(engine, files[: options.batch_size])  # warm up
        turn = -(-len(files) // options.rounds)
        for start in range(0, len(files), turn):
            for name, engine in engines.items():
                with clocks[name].of(timed[name]):
                    captions[name] += _ours(engine, files[start : start + turn])
    for name, clock in clocks.items():
        print(f"{name:<10}{len(files) / clock.seconds:>8.2f} photos/s")
    torchs, others = (clocks[name].seconds for name in RUNTIMES)
    same = sum(a == b for a, b in zip(*captions.values(), strict=True))
    print(f"The folder job on OpenVINO is {torchs / others:.2f} times as quick.")
    print(f"The same caption both ways: {same / len(files):.1%}")
    print(f"Machine: {describe()}, load {os.getloadavg()[0]:.1f}")
    return 0


def by_cores(options: argparse.Namespace, folder: Path) -> int:
    """The folder job on some of the cores and on all of them, in turns on the same files."""
    if not hasattr(os, "sched_setaffinity"):
        raise CaptionerError("This system does not let a program choose its cores; Linux does.")
    files = make_large(options.keep or folder, options.photos or 1000, options.images)
    there = sorted(os.sched_getaffinity(0))
    counts = sorted({len(there), *(2**n for n in range(16) if 2**n < len(there))})
    clocks = {count: _Clock() for count in counts}
    with contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, there)
        engines, timed = {}, {}
        for count in counts:
            # Whatever begins from here on, processes and threads, has so many cores.
            os.sched_setaffinity(0, there[:count])
            engines[count] = stack.enter_context(LocalEngine(EngineConfig(
                batch_size=options.batch_size, steady=True, runtime=options.runtime,
                device="cpu", dtype=options.dtype, request=Request(beams=3, heatmaps=""),
            )))  # fmt: skip
            timed[count] = _Timed(engines[count].model)
            _ours(engines[count], files[: options.batch_size])  # warm up
        turn = -(-len(files) // options.rounds)
        for start in range(0, len(files), turn):
            for count, engine in engines.items():
                os.sched_setaffinity(0, there[:count])
                with clocks[count].of(timed[count]):
                    _ours(engine, files[start : start + turn])
    seconds = {count: clock.seconds / len(files) for count, clock in clocks.items()}
    print(f"{'cores':>5}{'photos/s':>10}{'times one core':>16}")
    for count, one in seconds.items():
        print(f"{count:>5}{1 / one:>10.2f}{seconds[1] / one:>16.2f}")
    if len(counts) > 1:
        serial, parallel = serial_and_parallel(seconds)
        print(f"Of the time on one core {serial / (serial + parallel):.0%} is serial; with more it "
              "would be, photos/s:")  # fmt: skip
        for count in (8, 32):
            print(f"{count:>5}{1 / (serial + parallel / count):>10.2f}")
    print(f"Machine: {describe()}, load {os.getloadavg()[0]:.1f}")
    return 0


def serial_and_parallel(seconds: dict[int, float]) -> tuple[float, float]:
    """s and p of s + p / cores (Amdahl 1967), which is nearest to the seconds of a photo by cores,
    relatively. Neither is below 0."""
    times = np.array(list(seconds.values()))
    rows = np.array([[1, 1 / count] for count in seconds]) / times[:, None]
    serial, parallel = np.linalg.lstsq(rows, np.ones(len(times)), rcond=None)[0]
    if serial < 0:
        serial, parallel = 0.0, 1 / float(np.mean(rows[:, 1]))
    if parallel < 0:
        serial, parallel = 1 / float(np.mean(rows[:, 0])), 0.0
    return float(serial), float(parallel)


def make_large(folder: Path, count: int, images: Path | None) -> list[Path]:
    """`count` JPEGs of 12 megapixels, each another cut of a real photo, with a sensor's noise."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = photos_of(images)
    chance = np.random.default_rng(0)
    noise = chance.normal(0, 3, (SIZE[1], SIZE[0], 1)).astype(np.int8)
    files = []
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        files.append(path)
        left, top, smaller = chance.uniform(0, 0.2, 3)
        if path.exists():
            continue
        photo = load_photo(sources[number % len(sources)]).image
        box = (left * photo.width, top * photo.height,
               (left + 0.8 - smaller / 2) * photo.width,
               (top + 0.8 - smaller / 2) * photo.height)  # fmt: skip
        large = photo.resize(SIZE, Image.Resampling.BICUBIC, box=box)
        pixels = (np.asarray(large).astype(np.int16) + noise).clip(0, 255).astype(np.uint8)
        part = path.with_suffix(".part")
        Image.fromarray(pixels).save(part, "JPEG", quality=90)
        part.replace(path)
    return files


class _Timed:
    """Adds up the time that a model spends on captions, in all threads together."""

    def __init__(self, model: Captioner):
        self.busy = 0.0
        inner = model.caption_pixels

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **options)
            finally:
                self.busy += time.perf_counter() - began

        model.caption_pixels = timed  # type: ignore[method-assign]


class _Clock:
    def __init__(self) -> None:
        self.seconds = self.busy = 0.0

    @contextlib.contextmanager
    def of(self, timed: _Timed) -> Iterator[None]:
        began, before = time.perf_counter(), timed.busy
        yield
        self.seconds += time.perf_counter() - began
        self.busy += timed.busy - before


def _plain(engine: LocalEngine, files: list[Path]) -> list[str]:
    """What one writes in ten lines."""
    torch.set_num_threads(cores())
    model, captions = engine.model, []
    for start in range(0, len(files), PLAIN_BATCH):
        photos, squares = [], []
        for file in files[start : start + PLAIN_BATCH]:
            image = Image.open(file).convert("RGB")
            squares.append(np.asarray(image.resize((model.size, model.size), Image.BICUBIC)))  # type: ignore[attr-defined]
            photos.append(Photo(Image.new("RGB", (1, 1)), image.width, image.height))
        found = model.caption_pixels(np.stack(squares), photos, engine.config.request)
        captions += [caption.text for caption in found]
    return captions


def _ours(engine: LocalEngine, files: list[Path]) -> list[str]:
    found = {}
    for batch in engine.run(chunks(find_items(files), engine.config.batch_size)):
        for one in batch:
            found[one.item.name] = one.record["caption"] if one.record else str(one.error)
    return [found[str(file)] for file in files]
