"""How quick the captioner is on this machine.

    python -m eval speed                     # the model in the box, scikit-image's photographs
    python -m eval speed --images ~/Pictures --photos 64 --dtype bfloat16
    python -m eval speed --peers --batch-size 8    # hub models beside transformers' generate

Measured: one photograph from process start to the printed caption, with the peak memory of that
process; and, in one process after loading, a batch of photographs: reading and resizing, encoding,
decoding, and the second look that makes the heatmaps (drawing apart). The parts of a batch take
turns, round after round, and medians count.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captioner.captioner import Captioner, load
from captioner.errors import SettingError
from captioner.exits import run
from captioner.generation import Search
from captioner.machine import describe
from captioner.photos import load_photo, to_square
from captioner.request import Request

from .common import add_json, add_machine, add_photos, parser, photos_of, print_json
from .startup import cost_of


def main(arguments: list[str] | None = None) -> int:
    made = parser("speed", __doc__)
    made.add_argument("--model", help="default: the model in the box")
    add_photos(made)
    made.add_argument("--photos", type=int, default=64, help="of the batch (photos may repeat)")
    made.add_argument("--batch-size", type=int, default=16)
    made.add_argument("--beams", type=int, default=3)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument(
        "--peers", action="store_true",
        help="hub models of real sizes beside transformers' generate, in float32 on the CPU",
    )  # fmt: skip
    made.add_argument("--only", help="with --peers: one family, such as blip or vit")
    add_machine(made)
    add_json(made)
    options = made.parse_args(arguments)
    return run(lambda: _speed(options))


def _speed(options: argparse.Namespace) -> None:
    if options.only and not options.peers:
        raise SettingError("--only goes with --peers.")
    if options.peers:
        from . import peers

        beside = peers.measure(photos_of(options.images), options)
        print_json(beside) if options.json else peers.show(beside)
        return
    figures = measure(photos_of(options.images), options)
    if options.json:
        print_json(figures)
        return
    batch = figures["batch"]
    print(f"One photo, process start to caption   {figures['one_photo_seconds']:.2f} s")
    print(f"  peak memory of that process         {figures['one_photo_peak_mb']:.0f} MB")
    print(f"{options.photos} photos after load                 {batch['photos_per_second']:.1f}"
          f" photos/s ({figures['dtype']}, beam {options.beams})")  # fmt: skip
    for part in ("read", "encode", "decode"):
        print(f"  {part:<36}{100 * batch[part] / batch['total']:.0f}% of the time")
    print(f"Heatmaps of all words add             {100 * batch['heatmaps_share']:.1f}%")
    print(f"Machine: {figures['machine']}")


def measure(files: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    runs = [_one_photo(files[0], options) for _ in range(options.rounds)]
    seconds, peak = zip(*runs, strict=True)
    model = load(options.model, device=options.device, dtype=options.dtype, runtime=options.runtime)
    search = model.search(Request(beams=options.beams))
    many = [files[i % len(files)] for i in range(options.photos)]
    groups = [many[i : i + options.batch_size] for i in range(0, len(many), options.batch_size)]
    # The first round warms up and is dropped.
    rounds = [parts(model, groups, search) for _ in range(options.rounds + 1)]
    middle = {k: statistics.median(r[k] for r in rounds[1:]) for k in rounds[0]}
    total = middle["read"] + middle["encode"] + middle["decode"]
    return {
        "one_photo_seconds": statistics.median(seconds),
        "one_photo_peak_mb": max(peak),
        "batch": {
            **middle,
            "total": total,
            "photos": len(many),
            "photos_per_second": len(many) / total,
            "heatmaps_share": middle["look"] / total,
        },
        "model": model.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "machine": describe(),
    }


def parts(
    model: Captioner,
    groups: Sequence[Sequence[Path]],
    search: Search,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Seconds by `clock` of each part of captioning the photos of `groups`, a batch each: "read",
    "encode", "decode", and "look", the second look that makes the heatmaps."""
    spent = dict.fromkeys(("read", "encode", "decode", "look"), 0.0)

    def lap(part: str, since: float) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = clock()
        spent[part] += now - since
        return now

    for group in groups:
        at = clock()
        photos = [load_photo(f, min_side=model.size) for f in group]
        pixels = np.stack([to_square(p, model.size) for p in photos])
        at = lap("read", at)
        features = model.encode(pixels)
        at = lap("encode", at)
        with torch.inference_mode():
            memory = model.own.memory_of(features)
            found = model.model.write(memory, search)
            at = lap("decode", at)
            model.model.look(memory, [row[0].ids for row in found])
        lap("look", at)
    return spent


def _one_photo(file: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds and peak memory (MB) of `captioner caption FILE` as a process of its own."""
    command = [sys.executable, "-m", "captioner.cli", "caption", str(file)]
    for name in ("model", "device", "dtype"):
        if value := getattr(options, name):
            command += [f"--{name}", str(value)]
    cost = cost_of(command)
    return cost.wall, cost.peak
